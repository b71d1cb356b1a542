"""Shards in groups: the same pairs for all numbers of readers, and no shard read by two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import fsspec
import pytest
import torch

from tests.datasets.test_mixing import Numbered, same
from zero123lib.datasets import shards as shards_module
from zero123lib.datasets.grouping import GroupedPairs
from zero123lib.datasets.packing import pack
from zero123lib.datasets.pairs import Batch, PairSource, open_pairs

SIZE = 16


def pairs_of(batches: Iterator[Batch], count: int) -> list[Batch]:
    """The first pairs, one by one."""
    found: list[Batch] = []
    for batch in batches:
        found += [{name: tensor[i : i + 1] for name, tensor in batch.items()}
                  for i in range(len(batch["pose"]))]  # fmt: skip
        if len(found) >= count:
            return found[:count]
    raise AssertionError


@pytest.mark.parametrize("count", [1, 3, 4, 6])
def test_pairs_depend_neither_on_readers_nor_on_batches(count) -> None:
    """Pair n is of source (n // 2) modulo their number, whoever asks."""
    source = GroupedPairs([Numbered(str(i)) for i in range(count)], run=2)
    expected = []
    for number in range(48):
        turn, place = divmod(number, 2)
        one = Numbered(str(turn % count))
        expected.append(next(one.batches(turn // count * 2 + place, 1, 1)))
    for turns in range(1, count + 1):
        size = 2 * turns
        for step in (1, 2, 3):
            for first in range(step):
                found = list(islice(source.batches(first, step, size), 48 // size // step))
                for index, batch in enumerate(found):
                    start = (first + index * step) * size
                    wanted = expected[start : start + size]
                    joined = {k: torch.cat([one[k] for one in wanted]) for k in batch}
                    assert same(batch, joined), (turns, step, first, index)


@pytest.mark.parametrize("size", [3, 10])
def test_batches_that_are_not_of_turns_are_refused(size) -> None:
    source = GroupedPairs([Numbered(str(i)) for i in range(4)], run=2)
    with pytest.raises(ValueError, match=r"batch_size: expected 1 to 4 times the 2 pairs"):
        source.batches(0, 1, size)


@pytest.fixture
def packed(make_objects: Callable[..., Path]) -> Path:
    """A shard for each of six objects."""
    out = make_objects(6).with_name("shards")
    list(pack(out.with_name("objects"), out, 1))
    assert len(list(out.glob("*.tar"))) == 6
    return out


def test_no_shard_is_read_by_two(packed, monkeypatch) -> None:
    """Three readers of six groups: two shards each; a going on reads the same."""
    plain, opened = shards_module.read_shard, []
    monkeypatch.setattr(
        shards_module, "read_shard", lambda url, report: opened.append(url) or plain(url, report)
    )
    kept: list[set[str]] = []
    for reader in range(3):
        opened.clear()
        source = open_pairs(packed, SIZE, groups=6, group_pairs=2)
        whole = list(islice(source.batches(reader, 3, 2), 8))
        kept.append(set(opened))
        later = open_pairs(packed, SIZE, groups=6, group_pairs=2).batches(reader + 9, 3, 2)
        assert all(same(a, b) for a, b in zip(whole[3:], later, strict=False))
    assert [len(one) for one in kept] == [2, 2, 2] and len(set.union(*kept)) == 6


def test_groups_that_cannot_be_are_refused(packed) -> None:
    with pytest.raises(ValueError, match="shard_groups: expected at most the 6 shards, got 7"):
        open_pairs(packed, SIZE, groups=7)
    with pytest.raises(ValueError, match="groups: expected a whole number of at least 1, got 0"):
        open_pairs(packed, SIZE, groups=0)
    with pytest.raises(ValueError, match="group_pairs: expected a whole number of at least 1"):
        open_pairs(packed, SIZE, groups=2, group_pairs=0)
    with pytest.raises(ValueError, match="shard_groups: expected 1 of a folder"):
        open_pairs(packed.with_name("objects"), SIZE, groups=2)


def test_shards_in_a_store_of_fsspecs_are_the_local_ones(packed) -> None:
    store = fsspec.filesystem("memory")
    store.put(f"{packed}/", "/grouping/", recursive=True)
    sources: list[PairSource] = [
        open_pairs(path, SIZE, groups=2, group_pairs=2)
        for path in (packed, "memory://grouping/{000000..000005}.tar")
    ]
    local, stored = (pairs_of(source.batches(0, 1, 4), 16) for source in sources)
    assert all(same(a, b) for a, b in zip(local, stored, strict=True))
    assert not sources[1].skipped
    store.rm("/grouping", recursive=True)


def test_an_unknown_protocol_is_one_line() -> None:
    with pytest.raises(ValueError, match="path: expected an address that can be opened, got"):
        open_pairs("nosuch://host/{000..001}.tar", SIZE)
