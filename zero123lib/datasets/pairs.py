"""Open a data set of pairs, and share it out to the workers of a DataLoader."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import IterableDataset, get_worker_info

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import Encoding

from .batches import Batch, PairSource, check_numbers, check_whole
from .drawing import Part
from .folder import FolderPairs
from .grouping import GroupedPairs
from .shards import BUFFER_OBJECTS, ShardPairs
from .tars import is_shards

__all__ = ["Batch", "PairDataset", "PairSource", "Part", "open_pairs"]


def open_pairs(
    path: str | Path,
    size: int,
    *,
    encoding: Encoding = "zero123",
    seed: int = 0,
    buffer_objects: int = BUFFER_OBJECTS,
    held_out: float = 0.0,
    part: Part = "all",
    groups: int = 1,
    group_pairs: int = 8,
) -> FolderPairs | ShardPairs | GroupedPairs:
    """Return the pairs of a data set.

    Args:
        path: a folder in the official layout; or shards: a folder of `.tar` files, one of them, or
            text as webdataset takes it, such as "https://host/{000..127}.tar".
        size: pixels of the images.
        encoding: of the poses, as the checkpoint expects them.
        seed: of all that is drawn.
        buffer_objects: how many objects of shards are shuffled at a time.
        held_out: share of the objects, by their names, that `part` tells from the others.
        part: which objects are drawn from.
        groups: of shards, see `grouping.GroupedPairs`; a folder has none.
        group_pairs: pairs in a row of one group.

    Raises:
        ValueError: there is no data set, or an argument is out of range.
        MissingExtraError: URLs or braces, and webdataset is not installed.
    """
    check_whole("groups", groups, 1)
    check_whole("group_pairs", group_pairs, 1)
    if is_shards(path):
        opened = [
            ShardPairs(
                path,
                size,
                encoding=encoding,
                seed=seed,
                buffer_objects=buffer_objects,
                held_out=held_out,
                part=part,
                group=(index, groups),
            )
            for index in range(groups)
        ]
        return opened[0] if groups == 1 else GroupedPairs(opened, group_pairs)
    if groups > 1:
        raise ArgumentError("shard_groups", "1 of a folder, whose files all can read", str(groups))
    return FolderPairs(path, size, encoding=encoding, seed=seed, held_out=held_out, part=part)


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
        self._log = SkipLog()

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what could not be used, by this process or a worker of its loader."""
        return {**self.source.skipped, **self._log.read()}

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is None:
            return self.source.batches(self.first, self.step, self.batch_size)
        torch.set_num_threads(1)
        first = self.first + worker.id * self.step
        return self._logged(first, worker.num_workers * self.step)

    def _logged(self, first: int, step: int) -> Iterator[Batch]:
        """Yield the source's batches; what it skips is told to the process that owns the loader."""
        told = len(self.source.skipped)
        for batch in self.source.batches(first, step, self.batch_size):
            if len(self.source.skipped) > told:
                self._log.add(dict(islice(self.source.skipped.items(), told, None)))
                told = len(self.source.skipped)
            yield batch


class SkipLog:
    """Collects what several processes skipped: a temporary file to which each adds lines.

    The file goes with the object in the process that made it. A queue would do less well: one that
    nobody reads blocks the workers, or keeps them from ending.
    """

    def __init__(self) -> None:
        handle, name = tempfile.mkstemp(prefix="zero123-skipped-", suffix=".jsonl")
        os.close(handle)
        self.path = name
        self._read, self._found = 0, dict[str, str]()
        weakref.finalize(self, _remove_in, os.getpid(), name)

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_read": 0, "_found": {}}

    def add(self, skipped: Mapping[str, str]) -> None:
        """Add names and reasons, in one write, so that lines of two processes do not mix."""
        lines = "".join(f"{json.dumps(item)}\n" for item in skipped.items())
        with suppress(FileNotFoundError):  # the owner is gone, and nobody asks any more
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(handle, lines.encode())
            finally:
                os.close(handle)

    def read(self) -> dict[str, str]:
        """Return all names and reasons so far; only what is new is read."""
        whole = b""
        # Where something has cleared the temporary files away, that is no reason to end a run.
        with suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._read)
            # Whatever follows the last newline is still being written.
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._read += len(whole) + 1
            self._found.update(json.loads(line) for line in whole.split(b"\n"))
        return self._found


def _remove_in(process: int, path: str) -> None:
    """Remove a file, in this process alone: a worker has a copy of the object that owns it."""
    if os.getpid() == process:
        with suppress(OSError):
            os.remove(path)
