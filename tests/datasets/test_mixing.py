"""Mixed and augmented sources give what they promise, whoever asks for which batch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from zero123lib.datasets.augmenting import Augmentation, AugmentedPairs, centered, color_matrices
from zero123lib.datasets.batches import (
    Batch,
    Pair,
    camera_of,
    collate,
    pair_camera,
    pair_pose,
)
from zero123lib.datasets.mixing import MixedPairs, shares
from zero123lib.views.poses import Encoding, Pose, encode_poses

SIZE = 8


class Numbered:
    """Pairs whose images and cameras follow from their number."""

    def __init__(self, name: str, encoding: Encoding = "zero123") -> None:
        self.name = name
        self.encoding: Encoding = encoding
        self.skipped = {name: "a reason"}

    def pair(self, number: int) -> Pair:
        random = np.random.default_rng([number, *self.name.encode()])
        images = torch.from_numpy(random.uniform(-1, 1, (2, 3, SIZE, SIZE)).astype(np.float32))
        seen, asked = (Pose(*random.uniform((-60, -180, 1.5), (60, 180, 2.2))) for _ in range(2))
        pose = pair_pose(seen, asked, self.encoding)
        return Pair(images[0], images[1], pose, pair_camera(seen, asked))

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        number = first
        while True:
            start = number * batch_size
            yield collate([self.pair(start + i) for i in range(batch_size)])
            number += step


def same(a: Batch, b: Batch) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("weights", "total", "counts"),
    [((1,), 5, [5]), ((1, 1), 5, [3, 2]), ((36, 48, 16), 64, [23, 31, 10]), ((9, 1), 4, [4, 0])],
)
def test_shares_are_whole_and_in_proportion(weights, total, counts) -> None:
    assert shares(weights, total) == counts


def test_every_batch_has_its_share_of_each_source_in_order() -> None:
    sources = [Numbered("a"), Numbered("b")]
    mixed = MixedPairs(sources, [3, 1])
    for number, batch in enumerate(islice(mixed.batches(0, 1, 8), 3)):
        expected = [sources[0].pair(6 * number + i) for i in range(6)]
        expected += [sources[1].pair(2 * number + i) for i in range(2)]
        assert same(batch, collate(expected))
    assert mixed.skipped == {"a": "a reason", "b": "a reason"}
    with pytest.raises(ValueError, match="batch_size: expected room for a pair of each of 2"):
        mixed.batches(0, 1, 1)


@pytest.mark.parametrize("make", [
    lambda: MixedPairs([Numbered("a"), Numbered("b")], [1, 2]),
    lambda: AugmentedPairs(Numbered("a"), Augmentation(0.3, 0.5, 0.5, 0.5), 7, "zero123"),
])  # fmt: skip
def test_batches_do_not_depend_on_who_takes_them(make) -> None:
    alone = list(islice(make().batches(0, 1, 6), 6))
    turns = [list(islice(make().batches(first, 2, 6), 3)) for first in (0, 1)]
    assert all(same(alone[2 * k + r], turns[r][k]) for r in (0, 1) for k in range(3))


@pytest.mark.parametrize("encoding", ["zero123", "stable-zero123"])
def test_the_same_camera_asks_for_the_condition_itself(encoding: Encoding) -> None:
    plain = next(Numbered("a", encoding).batches(0, 1, 4))
    source = AugmentedPairs(Numbered("a", encoding), Augmentation(1.0), 0, encoding)
    batch = next(source.batches(0, 1, 4))
    assert torch.equal(batch["condition"], plain["condition"])
    assert torch.equal(batch["target"], plain["condition"])
    pose = Pose(17.0, 40.0, 1.9)
    still = pair_pose(pose, pose, encoding)
    assert torch.allclose(batch["pose"][:, :3], still[:3].expand(4, 3))
    last = plain["pose"][:, 3] if encoding == "stable-zero123" else torch.zeros(4)
    assert torch.equal(batch["pose"][:, 3], last)


@pytest.mark.parametrize("encoding", ["zero123", "stable-zero123"])
def test_in_a_mirror_the_camera_goes_round_the_other_way(encoding: Encoding) -> None:
    plain = next(Numbered("a", encoding).batches(0, 1, 4))
    source = AugmentedPairs(Numbered("a", encoding), Augmentation(mirrored=1.0), 0, encoding)
    batch = next(source.batches(0, 1, 4))
    for name in ("condition", "target"):
        assert torch.allclose(batch[name], plain[name].flip(-1), atol=1e-6)
    there, back = Pose(10.0, 25.0, 1.8), Pose(-5.0, 80.0, 2.0)
    mirror = pair_pose(Pose(10.0, -25.0, 1.8), Pose(-5.0, -80.0, 2.0), encoding)
    factor = mirror / pair_pose(there, back, encoding)
    assert torch.allclose(batch["pose"], plain["pose"] * factor, atol=1e-5)


@pytest.mark.parametrize("encoding", ["zero123", "stable-zero123"])
def test_the_camera_that_a_batch_carries_is_the_one_that_it_encodes(encoding: Encoding) -> None:
    shares = Augmentation(same_camera=0.3, mirrored=0.5, recolored=0.5)
    batch = next(AugmentedPairs(Numbered("a", encoding), shares, 7, encoding).batches(0, 1, 16))
    for index, encoded in enumerate(batch["pose"]):
        pose, elevation_deg = camera_of(batch, index)
        again = encode_poses([pose], encoding, elevation_deg)[0]
        assert torch.allclose(again, encoded, atol=1e-5)


def test_other_colours_keep_white_and_greys_hue_and_the_blend_with_white() -> None:
    draws = torch.rand(3, 50, generator=torch.Generator().manual_seed(0))
    matrices = color_matrices(*draws)
    grey = matrices.sum(-1)  # of a distance from white of (1, 1, 1)
    assert torch.allclose(grey, grey[:, :1].expand_as(grey), atol=1e-6)
    source = AugmentedPairs(Numbered("a"), Augmentation(recolored=1.0), 3, "zero123")
    batch = next(source.batches(0, 1, 4))
    plain = next(Numbered("a").batches(0, 1, 4))
    assert not torch.allclose(batch["condition"], plain["condition"], atol=0.1)
    # Linear in the distance from white: half covered is half as far from white.
    drawn = torch.rand(50, 3, generator=torch.Generator().manual_seed(1))
    whole = torch.einsum("bij,bj->bi", matrices, drawn)
    half = torch.einsum("bij,bj->bi", matrices, drawn / 2)
    assert torch.allclose(whole / 2, half, atol=1e-6)


@pytest.mark.parametrize(("left", "top"), [(0, 0), (5, 1), (2, 4)])
def test_a_centered_condition_is_moved_and_its_target_stays(left: int, top: int) -> None:
    thing = torch.rand(3, 4, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    image, middle = torch.ones(2, 3, SIZE, SIZE)
    image[:, top : top + 4, left : left + 3] = thing
    column = 3 if left == 5 else 2  # half a pixel is rounded to the even one
    middle[:, 2:6, column : column + 3] = thing
    blank = torch.ones(3, SIZE, SIZE)
    assert torch.equal(centered(torch.stack([image, blank])), torch.stack([middle, blank]))
    source = Numbered("a")
    shown = collate([source.pair(n) for n in range(4)])
    shown["condition"][:] = image
    source.batches = lambda *_: iter([shown])  # type: ignore[method-assign]
    shares = Augmentation(same_camera=0.5, centered=1.0)
    batch = next(AugmentedPairs(source, shares, 1, "zero123").batches(0, 1, 4))
    assert torch.equal(batch["condition"], middle.expand(4, -1, -1, -1))
    own = (batch["target"] == middle).flatten(1).all(1)
    assert 0 < own.sum() < 4 and torch.equal(batch["target"][~own], shown["target"][~own])


def test_shares_are_of_the_pairs() -> None:
    source = AugmentedPairs(Numbered("a"), Augmentation(0.2, 0.0, 0.0), 0, "zero123")
    batch = next(source.batches(0, 1, 400))
    same_camera = (batch["condition"] == batch["target"]).flatten(1).all(1)
    assert 0.12 < same_camera.float().mean() < 0.28
