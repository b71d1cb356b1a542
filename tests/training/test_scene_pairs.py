"""Pairs of procedural scenes: by number, from a sliding window, never held-out ones."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from zero123lib.datasets.pairs import PairDataset
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.training import scene_pairs
from zero123lib.training.data_config import ScenesConfig
from zero123lib.training.scene_pairs import ScenePairs

SMALL = ScenesConfig(views=3, shuffle_buffer=3, pairs_per_scene=4.0)


def take(source: ScenePairs, count: int, first: int = 0, step: int = 1, size: int = 4) -> list:
    return list(itertools.islice(source.batches(first, step, size), count))


def equal(a: dict, b: dict) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_batches_follow_from_their_number():
    whole = take(ScenePairs(SMALL, 16), 4)
    late = take(ScenePairs(SMALL, 16), 2, first=2)
    assert equal(late[0], whole[2]) and equal(late[1], whole[3])
    odd = take(ScenePairs(SMALL, 16), 2, first=1, step=2)
    assert equal(odd[0], whole[1]) and equal(odd[1], whole[3])
    double = take(ScenePairs(SMALL, 16), 2, size=8)
    joined = {name: torch.cat([whole[2][name], whole[3][name]]) for name in whole[2]}
    assert equal(double[1], joined)
    other = take(ScenePairs(SMALL, 16, seed=1), 1)
    assert not equal(other[0], whole[0])


def test_objects_are_of_the_kinds_asked_for(monkeypatch):
    seen = []

    def noted(seed, **options):
        scene = random_scene(seed, **options)
        seen.append(scene.name)
        return scene

    monkeypatch.setattr(scene_pairs, "random_scene", noted)
    config = ScenesConfig(views=2, shuffle_buffer=8, shards=1, kinds=("mug", "car"))
    for held_out in (False, True):
        seen.clear()
        take(ScenePairs(config, 8, held_out=held_out), 4)
        assert set(seen) == {"mug", "car"}


def test_workers_change_nothing():
    source = ScenePairs(SMALL, 16)
    loader = torch.utils.data.DataLoader(PairDataset(source, 1, 2, 2), None, num_workers=2)
    for loaded, made in zip(itertools.islice(loader, 3), source.batches(1, 2, 2), strict=False):
        assert equal(loaded, made)


def test_batches_are_on_white_in_range():
    batch = take(ScenePairs(SMALL, 32), 1)[0]
    assert batch["condition"].shape == batch["target"].shape == (4, 3, 32, 32)
    assert batch["target"].dtype == torch.float32 and batch["target"].abs().max() <= 1
    corners = batch["target"][:, :, ::31, ::31]
    assert (corners == 1).float().mean() > 0.9
    assert not torch.equal(batch["condition"], batch["target"])


def test_pose_of_a_pair_is_target_minus_condition(monkeypatch):
    """Images are replaced by their cameras; the pose vector must follow from the two."""
    seen = {}

    def remember(scene, poses, size, **more):
        out = render(scene, poses, 4, **more)
        for index, pose in enumerate(poses):
            out.rgba[index, ..., 0] = index / 255
            seen[scene.seed, index] = pose
        return out

    monkeypatch.setattr(scene_pairs, "render", remember)
    config = ScenesConfig(views=4, shuffle_buffer=1)
    for batch in take(ScenePairs(config, 16), 6, size=1):
        source, target = (
            seen[0, int(((batch[name][0, 0, 0, 0] + 1) * 127.5).round())]
            for name in ("condition", "target")
        )
        turn = math.radians(target.azimuth_deg - source.azimuth_deg)
        expected = [
            -math.radians(target.elevation_deg - source.elevation_deg),
            math.sin(turn),
            math.cos(turn),
            target.radius - source.radius,
        ]
        assert source != target
        assert batch["pose"][0].tolist() == pytest.approx(expected, abs=1e-5)


def test_each_scene_is_rendered_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        scene_pairs,
        "random_scene",
        lambda seed, **more: drawn.append(seed) or random_scene(seed, **more),
    )
    source = ScenePairs(SMALL, 16)
    take(source, 12)
    assert len(drawn) == len(set(drawn)) and 3 < len(drawn) <= 3 + 48 / 4
    # What has left the window is forgotten.
    assert len(source._views) <= SMALL.shuffle_buffer


def test_the_window_slides():
    source = ScenePairs(ScenesConfig(shuffle_buffer=100, pairs_per_scene=4), 16)
    assert source.window(0) == (0, 31) and source.window(3) == (0, 31)
    assert source.window(4) == (0, 32) and source.window(4 * 69) == (1, 100)
    assert source.window(4000) == (932, 1031)


def test_held_out_objects_are_validations_alone():
    last = ScenesConfig(first_scene=HELD_OUT_SEED - 2)
    source = ScenePairs(last, 16)
    assert [source.scene_seed(i) for i in range(3)] == [HELD_OUT_SEED - 2, HELD_OUT_SEED - 1, 0]
    held_out = ScenePairs(last, 16, held_out=True)
    # Evaluation asks about the first of them.
    assert held_out.scene_seed(0) > HELD_OUT_SEED + 1_000_000


@pytest.mark.parametrize(("turns", "shards"), [(2, 8), (4, 8), (8, 8), (5, 10), (16, 16)])
def test_who_takes_turns_renders_what_no_other_renders(turns, shards):
    """Batches of 32 in turns: the objects that two turns may draw from never meet."""
    source = ScenePairs(ScenesConfig(shuffle_buffer=64, shards=shards), 16)
    seen = [set() for _ in range(turns)]
    for batch in range(400):
        for pair in range(32 * batch, 32 * (batch + 1)):
            seen[batch % turns].update(source.candidates(pair))
    for one, other in itertools.combinations(seen, 2):
        assert one and not one & other
    # And together they miss none.
    oldest, last = source.window(32 * 400 - 1)
    assert set(range(oldest)) <= set.union(*seen) <= set(range(last + 1))
