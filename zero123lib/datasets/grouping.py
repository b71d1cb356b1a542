"""Shards in groups, so that processes that share the work need not read each other's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from math import gcd

import torch

from zero123lib._errors import ArgumentError

from .batches import Batch, PairSource, check_numbers


class GroupedPairs:
    """Several sources that take turns, a `PairSource`: some pairs in a row are of one of them.

    Turn t is of source t modulo their number. So the pairs do not depend on who reads them; and
    where a batch's turns times the readers (all processes' workers) divide the sources' number, no
    two readers read of one source.

    Args:
        sources: at least one.
        run: pairs in a turn.
    """

    def __init__(self, sources: Sequence[PairSource], run: int) -> None:
        self.sources, self.run = sources, run

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what all sources could not use."""
        return {name: why for one in self.sources for name, why in one.skipped.items()}

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches; see `PairSource.batches`.

        Raises:
            ValueError: an argument is out of range, or a batch is not of whole turns.
        """
        check_numbers(first, step, batch_size)
        turns, left = divmod(batch_size, self.run)
        most = len(self.sources)
        if left or turns > most:
            expected = f"1 to {most} times the {self.run} pairs in a row of a group (group_pairs)"
            raise ArgumentError("batch_size", expected, str(batch_size))
        return self._batches(first, step, turns)

    def _batches(self, first: int, step: int, turns: int) -> Iterator[Batch]:
        """Open a stream for each turn of each batch, until the same sources come again."""
        count = len(self.sources)
        period = count // gcd(step * turns, count)
        streams = []
        for batch in range(first, first + period * step, step):
            numbers = range(batch * turns, (batch + 1) * turns)
            between = period * step * turns // count
            streams.append(
                [self.sources[n % count].batches(n // count, between, self.run) for n in numbers]
            )
        for parts in cycle(streams):
            found = [next(stream) for stream in parts]
            yield {name: torch.cat([one[name] for one in found]) for name in found[0]}
