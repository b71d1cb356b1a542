"""Open a data set of pairs, and share it out to the workers of a DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import IterableDataset, get_worker_info

from zero123lib.views.poses import Encoding

from .batches import Batch, PairSource, check_numbers
from .folder import FolderPairs

__all__ = ["Batch", "PairDataset", "PairSource", "open_pairs"]


def open_pairs(
    path: str | Path, size: int, *, encoding: Encoding = "zero123", seed: int = 0
) -> PairSource:
    """The pairs of a data set.

    Args:
        path: a folder in the official layout.
        size: pixels of the pictures.
        encoding: of the poses, as the checkpoint expects them.
        seed: of all that is drawn.

    Raises:
        ValueError: there is no data set, or an argument is out of range.
    """
    return FolderPairs(path, size, encoding=encoding, seed=seed)


class PairDataset(IterableDataset):
    """A source's batches for `DataLoader(dataset, batch_size=None, num_workers=W)`.

    The batches and their order are the same for every W: of the W workers, worker w makes every
    W-th batch, from the w-th on, on one thread, and the loader takes from them in turn.

    Args:
        source: where pairs come from.
        first, step, batch_size: as for `PairSource.batches`; process r of W takes its share of a
            run resumed at step k by first = k * W + r and step = W.
    """

    def __init__(self, source: PairSource, first: int, step: int, batch_size: int) -> None:
        check_numbers(first, step, batch_size)
        self.source = source
        self.first, self.step, self.batch_size = first, step, batch_size

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self.source.batches(self.first, self.step, self.batch_size)
        torch.set_num_threads(1)
        first = self.first + worker.id * self.step
        return self.source.batches(first, worker.num_workers * self.step, self.batch_size)
