"""Pairs from tar shards, read in order, shuffled through a bounded buffer.

In every epoch the shards come in another order; their objects pass through a buffer, from which
one is drawn for each that comes in. So the order is a pure function of the seed, however many
processes and workers read: each reads every shard's headers, or the whole of a stream, and decodes
only the pairs of its own batches.

To go on at pair n, whole epochs are skipped without reading, and shards of the epoch at hand that
n is past are not opened, provided that the number of objects in each shard is known: from the
index that `zero123 dataset pack` writes, or from an epoch that this process has read. Without it
the first epoch is read from its beginning; nothing is decoded on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import TypeVar

import numpy as np

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import Encoding

from .batches import Batch, Pair, check_numbers, check_source, check_whole, collate
from .drawing import (
    BUFFER,
    ORDER,
    SUBSTITUTE,
    VIEWS,
    Part,
    StoredObject,
    belongs,
    draw_pair,
    generator,
    nothing_usable,
)
from .tars import find_shards, read_counts, read_shard

BUFFER_OBJECTS = 64

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Visit:
    """The turn of one object: pair `number` is drawn from it.

    Attributes:
        number: of the pair.
        stored: the object; None where its shard has fewer than its index says.
        waiting: what the buffer holds now, from which a substitute is drawn.
    """

    number: int
    stored: StoredObject | None
    waiting: list[StoredObject | None]


class ShardPairs:
    """Pairs of a data set in tar shards, a `PairSource`.

    In the place of an object without two usable views comes one of those in the buffer.

    Args:
        path: as for `find_shards`.
        size: pixels of the images.
        encoding: of the poses.
        seed: of all that is drawn.
        buffer_objects: how many objects are shuffled at a time. Of a stream they are held in
            memory, as they come; a local `.tar` is read as needed.
        held_out: share of the objects, by their names, that `part` tells from the others.
        part: which objects are drawn from; a substitute comes in the place of every other.
        group: the index and the number of groups that the shards are split into; only those of
            this one are read, in an order of its own.

    Raises:
        ValueError: an argument is out of range, or there is no shard.
        MissingExtraError: URLs or braces, and webdataset is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        size: int,
        *,
        encoding: Encoding = "zero123",
        seed: int = 0,
        buffer_objects: int = BUFFER_OBJECTS,
        held_out: float = 0.0,
        part: Part = "all",
        group: tuple[int, int] = (0, 1),
    ) -> None:
        check_source(size, encoding, seed)
        check_whole("buffer_objects", buffer_objects, 1)
        self.encoding: Encoding = encoding
        self.size, self.seed, self.buffer_objects = size, seed, buffer_objects
        self.held_out = held_out
        self.part: Part = part
        index, groups = group
        found = find_shards(path)
        if len(found) < groups:
            raise ArgumentError("shard_groups", f"at most the {len(found)} shards", str(groups))
        self.shards = found[index::groups]
        if groups > 1:
            self.seed = int(np.random.SeedSequence((seed, index)).generate_state(1)[0])
        self._counts = read_counts(self.shards)
        self._skipped: dict[str, str] = {}

    @property
    def skipped(self) -> Mapping[str, str]:
        return self._skipped

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        check_numbers(first, step, batch_size)
        return self._batches(first, step, batch_size)

    def _batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        pairs: list[Pair] = []
        for visit in self._visits(first * batch_size):
            if (visit.number // batch_size - first) % step:
                continue
            pairs.append(self._pair(visit))
            if len(pairs) == batch_size:
                yield collate(pairs)
                pairs = []

    def _visits(self, start: int) -> Iterator[Visit]:
        """Yield the turns from pair `start` on, without end."""
        number = epoch = 0
        while True:
            total = self._total()
            if total is not None and start >= number + total:
                epochs = (start - number) // total
                number, epoch = number + epochs * total, epoch + epochs
            before = number
            for stored, waiting in self._epoch(epoch, max(0, start - number)):
                if number >= start:
                    yield Visit(number, stored, waiting)
                number += 1
            if number == before:
                raise nothing_usable(", ".join(self.shards), self._skipped)
            epoch += 1

    def _total(self) -> int | None:
        """Return objects per epoch, where the counts of all shards are known and one is above 0."""
        if any(url not in self._counts for url in self.shards):
            return None
        return sum(self._counts[url] for url in self.shards) or None

    def _epoch(
        self, epoch: int, skip: int
    ) -> Iterator[tuple[StoredObject | None, list[StoredObject | None]]]:
        """Yield an epoch's objects with what the buffer holds; the first `skip` may be None."""
        shards = [self.shards[i] for i in self._random(ORDER, epoch).permutation(len(self.shards))]
        total = self._total()
        needed = None
        if skip and total is not None:
            places = shuffled(range(total), self._random(BUFFER, epoch), self.buffer_objects)
            needed = {place for place, _ in list(places)[skip:]}
        return shuffled(
            self._objects(shards, needed), self._random(BUFFER, epoch), self.buffer_objects
        )

    def _objects(self, shards: list[str], needed: set[int] | None) -> Iterator[StoredObject | None]:
        """Yield the objects of the shards in turn; shards without a needed one are not opened."""
        place = 0
        for url in shards:
            count = self._counts.get(url)
            here = range(place, place + (count or 0))
            if count is not None and needed is not None and needed.isdisjoint(here):
                yield from repeat(None, count)
                place += count
                continue
            for stored in self._shard(url):
                yield stored if needed is None or place in needed else None
                place += 1

    def _shard(self, url: str) -> Iterator[StoredObject | None]:
        """Yield the objects of a shard, as many as are known to be in it.

        What is counted must not depend on how much can be read, or a shard that fails would move
        all pairs after it.
        """
        count, found = self._counts.get(url), 0
        for stored in read_shard(url, self._report):
            if found == count:
                self._report(url, f"expected {count} objects, as counted before, got more")
                return
            found += 1
            yield stored
        if count is None:
            self._counts[url] = found
        elif found < count:
            self._report(url, f"expected {count} objects, as counted before, got {found}")
            yield from repeat(None, count - found)

    def _pair(self, visit: Visit) -> Pair:
        """Return the pair of a turn, or of the first usable substitute.

        Raises:
            ValueError: no object of the data set has two usable views.
        """
        order = self._random(SUBSTITUTE, visit.number).permutation(len(visit.waiting))
        candidates = [visit.stored, *(visit.waiting[index] for index in order)]
        for attempt, stored in enumerate(candidates):
            pair = self._drawn(stored, self._random(VIEWS, visit.number, attempt))
            if pair is not None:
                return pair
        for url in self.shards:
            for stored in read_shard(url, self._report):
                pair = self._drawn(stored, self._random(VIEWS, visit.number))
                if pair is not None:
                    return pair
        raise nothing_usable(", ".join(self.shards), self._skipped)

    def _drawn(self, stored: StoredObject | None, random: np.random.Generator) -> Pair | None:
        if stored is None or not belongs(stored.name, self.part, self.held_out):
            return None
        # A new dict: two shards, or two places of one, may hold objects of the same name.
        skipped: dict[str, str] = {}
        pair = draw_pair(stored, random, self.size, self.encoding, skipped)
        self._skipped.update(skipped)
        return pair

    def _report(self, name: str, reason: str) -> None:
        self._skipped.setdefault(name, reason)

    def _random(self, purpose: int, *numbers: int) -> np.random.Generator:
        return generator(self.seed, purpose, *numbers)


def shuffled(
    items: Iterable[Item], random: np.random.Generator, capacity: int
) -> Iterator[tuple[Item, list[Item]]]:
    """Yield the items in another order, with the list of those that are waiting, which changes.

    A buffer takes items until it holds `capacity`; then one drawn at random leaves for each that
    comes.
    """
    waiting: list[Item] = []
    for item in items:
        waiting.append(item)
        if len(waiting) == capacity:
            yield _taken(waiting, random), waiting
    while waiting:
        yield _taken(waiting, random), waiting


def _taken(waiting: list[Item], random: np.random.Generator) -> Item:
    """Return one item drawn from the list, which its last one takes the place of."""
    index = int(random.integers(len(waiting)))
    waiting[index], waiting[-1] = waiting[-1], waiting[index]
    return waiting.pop()
