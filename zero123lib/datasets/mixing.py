"""A source made of others: several mixed in every batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from zero123lib._errors import ArgumentError

from .batches import Batch, PairSource, check_numbers


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


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Split a whole number in proportion to weights, by largest remainders."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    order = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in order[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _joined(batches: Sequence[Batch]) -> Batch:
    """Return one batch of the pairs of several, in their order."""
    return {name: torch.cat([one[name] for one in batches]) for name in batches[0]}
