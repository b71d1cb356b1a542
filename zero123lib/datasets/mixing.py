"""Sources made of others: several mixed in every batch, and targets seen by the input's camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import Encoding

from .batches import Batch, PairSource, check_numbers
from .drawing import SAME_CAMERA, generator


class MixedPairs:
    """Several sources mixed, a `PairSource`: every batch has its share of pairs from each.

    The shares of a batch are rounded to whole pairs, so that they depend on the batch's size.

    Args:
        sources: at least one.
        weights: of each, above 0.
    """

    def __init__(self, sources: Sequence[PairSource], weights: Sequence[float]) -> None:
        self.sources, self.weights = sources, weights

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what all sources could not use."""
        return {name: why for one in self.sources for name, why in one.skipped.items()}

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches; see `PairSource.batches`.

        Raises:
            ValueError: an argument is out of range, or a batch has no room for a source.
        """
        check_numbers(first, step, batch_size)
        counts = shares(self.weights, batch_size)
        if 0 in counts:
            raise ArgumentError(
                "batch_size",
                f"room for a pair of each of {len(counts)} sources with weights "
                f"{', '.join(f'{weight:g}' for weight in self.weights)}",
                str(batch_size),
            )
        streams = [
            source.batches(first, step, count)
            for source, count in zip(self.sources, counts, strict=True)
        ]
        return (_joined(parts) for parts in zip(*streams, strict=True))


class SameCamera:
    """A source of whose pairs some have the condition itself as their target, a `PairSource`.

    A model that is asked for the input's own camera should give the input back.

    Args:
        source: of the pairs.
        share: of the pairs, in [0, 1]; which ones follows from the seed and their numbers.
        seed: of the choice.
        encoding: of the source's poses.
    """

    def __init__(self, source: PairSource, share: float, seed: int, encoding: Encoding) -> None:
        self.source, self.share, self.seed, self.encoding = source, share, seed, encoding

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what the source could not use."""
        return self.source.skipped

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches; see `PairSource.batches`."""
        for index, batch in enumerate(self.source.batches(first, step, batch_size)):
            number = first + index * step
            yield self._changed(batch, number * batch_size)

    def _changed(self, batch: Batch, first_pair: int) -> Batch:
        numbers = range(first_pair, first_pair + len(batch["pose"]))
        drawn = [generator(self.seed, SAME_CAMERA, number).random() for number in numbers]
        same = torch.from_numpy(np.array(drawn) < self.share)
        pose = batch["pose"].clone()
        # No change of elevation or azimuth; the last entry is the radius' change, or the
        # condition's elevation, which stays.
        pose[same, :3] = pose.new_tensor([0.0, 0.0, 1.0])
        if self.encoding == "zero123":
            pose[same, 3] = 0.0
        target = torch.where(same[:, None, None, None], batch["condition"], batch["target"])
        return {"condition": batch["condition"], "target": target, "pose": pose}


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Split a whole number in proportion to weights, by largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _joined(batches: Sequence[Batch]) -> Batch:
    """One batch of the pairs of several, in their order."""
    return {name: torch.cat([one[name] for one in batches]) for name in batches[0]}
