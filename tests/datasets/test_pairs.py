"""Pairs from folders and shards: numbered, the same for any number of processes, and never bad."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from discs import SIZE, camera, disc, which
from PIL import Image
from torch.utils.data import DataLoader

from zero123lib.datasets.batches import Batch, PairSource
from zero123lib.datasets.folder import FolderPairs, write_object
from zero123lib.datasets.packing import pack
from zero123lib.datasets.pairs import PairDataset, open_pairs
from zero123lib.views.poses import Encoding, Pose, encode_poses

BOTH = pytest.mark.parametrize("kind", ["folder", "shards"])


def stored_as(kind: str, root: Path) -> Path:
    """The data set as it is, or packed into several shards."""
    if kind == "folder":
        return root
    shards = root.with_name("shards")
    if not shards.exists():
        for _ in pack(root, shards, shard_bytes=12_000):
            pass
        assert len(list(shards.glob("*.tar"))) > 1
    return shards


def taken(batches: Iterator[Batch], count: int) -> list[Batch]:
    return list(islice(batches, count))


def drawn(batches: list[Batch]) -> list[tuple[int, int, int]]:
    """Object, condition and target of each pair, in order."""
    found = []
    for batch in batches:
        for condition, target in zip(batch["condition"], batch["target"], strict=True):
            (index, a), (same, b) = which(condition), which(target)
            assert index == same and a != b
            found.append((index, a, b))
    return found


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(
        x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
        for x, y in zip(a, b, strict=True)
    )


@BOTH
def test_batches_are_as_promised(kind: str, make_objects: Callable[..., Path]) -> None:
    batch = next(open_pairs(stored_as(kind, make_objects()), 24).batches(0, 1, 3))
    assert {name: value.shape for name, value in batch.items()} == {
        "condition": (3, 3, 24, 24),
        "target": (3, 3, 24, 24),
        "pose": (3, 4),
        "camera": (3, 4),
    }
    assert all(value.dtype == torch.float32 for value in batch.values())
    for name in ("condition", "target"):
        assert batch[name].min() >= -1.0 and batch[name].max() == 1.0  # white around the disc


@BOTH
@pytest.mark.parametrize("encoding", ["zero123", "stable-zero123"])
def test_pose_is_target_minus_condition(
    kind: str, encoding: Encoding, make_objects: Callable[..., Path]
) -> None:
    source = open_pairs(stored_as(kind, make_objects()), SIZE, encoding=encoding)
    for batch in taken(source.batches(0, 1, 4), 5):
        for (index, a, b), pose in zip(drawn([batch]), batch["pose"], strict=True):
            condition, target = camera(index, a), camera(index, b)
            turned = np.radians(target.azimuth_deg - condition.azimuth_deg)
            fourth = (
                target.radius - condition.radius
                if encoding == "zero123"
                else np.radians(90.0 - condition.elevation_deg)
            )
            d_theta = np.radians(condition.elevation_deg - target.elevation_deg)
            expected = torch.tensor([d_theta, np.sin(turned), np.cos(turned), fourth])
            assert torch.allclose(pose.double(), expected.double(), atol=1e-5)


@BOTH
def test_batch_depends_on_seed_and_number_alone(
    kind: str, make_objects: Callable[..., Path]
) -> None:
    path = stored_as(kind, make_objects())

    def opened(seed: int = 3) -> PairSource:
        return open_pairs(path, SIZE, seed=seed, buffer_objects=3)

    whole = taken(opened().batches(0, 1, 4), 8)
    assert same(taken(opened().batches(0, 1, 4), 8), whole)
    assert not same(taken(opened(4).batches(0, 1, 4), 8), whole)
    source = opened()
    for first, step in [(0, 2), (1, 2), (5, 1), (1, 3), (0, 2)]:  # one source, in any order
        got = taken(source.batches(first, step, 4), 2)
        assert same(got, whole[first::step][:2]), (first, step)


@BOTH
def test_two_processes_see_what_one_sees(kind: str, make_objects: Callable[..., Path]) -> None:
    path = stored_as(kind, make_objects())
    one = taken(open_pairs(path, SIZE, seed=1).batches(2, 1, 6), 3)
    halves = [taken(open_pairs(path, SIZE, seed=1).batches(4 + r, 2, 3), 3) for r in (0, 1)]
    for name in ("condition", "target", "pose"):
        together = [torch.cat([a[name], b[name]]) for a, b in zip(*halves, strict=True)]
        assert all(torch.equal(x[name], y) for x, y in zip(one, together, strict=True))


@BOTH
def test_order_does_not_depend_on_the_number_of_workers(
    kind: str, make_objects: Callable[..., Path]
) -> None:
    path = stored_as(kind, make_objects())
    expected = taken(open_pairs(path, SIZE, seed=2).batches(3, 2, 2), 7)
    for workers in (0, 1, 2):
        dataset = PairDataset(open_pairs(path, SIZE, seed=2), 3, 2, 2)
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        assert same(taken(iter(loader), 7), expected), workers


@BOTH
def test_every_object_comes_once_per_epoch_in_another_order(
    kind: str, make_objects: Callable[..., Path]
) -> None:
    source = open_pairs(stored_as(kind, make_objects(6)), SIZE, seed=5, buffer_objects=4)
    objects = [index for index, _, _ in drawn(taken(source.batches(0, 1, 6), 4))]
    epochs = [objects[start : start + 6] for start in range(0, 24, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


@BOTH
def test_all_ordered_pairs_of_views_are_drawn(kind: str, make_objects: Callable[..., Path]) -> None:
    source = open_pairs(stored_as(kind, make_objects(2, 3)), SIZE)
    found = set(drawn(taken(source.batches(0, 1, 20), 10)))
    assert found == {(i, a, b) for i in (0, 1) for a in range(3) for b in range(3) if a != b}


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil(root: Path) -> dict[str, str]:
    """Damage a data set of 5 objects with 4 views; what each damaged name is called."""
    group = root / "group"
    truncate(group / "00/000.png")
    truncate(group / "00/001.npy")
    (group / "01/002.npy").unlink()
    (group / "01/003.png").write_bytes(b"")
    Image.fromarray(np.zeros((SIZE, SIZE, 4), np.uint8)).save(group / "02/000.png")
    np.save(group / "02/001.npy", np.full((3, 4), np.nan))
    np.save(group / "02/002.npy", np.eye(4))
    Image.fromarray(disc(3, 0)[:10]).save(group / "03/000.png")
    return {
        "group/00/000": "damaged",
        "group/00/001": "whole",
        "group/01/002": "002.npy",
        "group/01/003": "none of them",
        "group/02/000": "transparent",
        "group/02/001": "NaN",
        "group/02/002": "shape",
        "group/02": "at least 2 usable views, got 1",
        "group/03/000": "square",
    }


@BOTH
def test_bad_views_are_skipped_counted_and_named(
    kind: str, make_objects: Callable[..., Path]
) -> None:
    root = make_objects()
    expected = spoil(root)
    path = stored_as(kind, root)
    if kind == "shards":
        expected.pop("group/01/002")  # the packer leaves views without a partner out
    source = open_pairs(path, SIZE, buffer_objects=3)
    batches = taken(source.batches(0, 1, 5), 20)
    good = {0: {2, 3}, 1: {0, 1}, 3: {1, 2, 3}, 4: {0, 1, 2, 3}}
    found = drawn(batches)
    assert len(found) == 100 and {index for index, _, _ in found} == set(good)
    assert all({a, b} <= good[index] for index, a, b in found)
    skipped = {name.rpartition(":")[2]: reason for name, reason in source.skipped.items()}
    assert skipped.keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in skipped.items())
    # What was met before has no say in what comes next.
    again = open_pairs(path, SIZE, buffer_objects=3).batches(13, 1, 5)
    assert same(taken(again, 3), batches[13:16])
    assert same(taken(source.batches(0, 1, 5), 20), batches)


@BOTH
def test_what_workers_skip_is_told_to_the_owner_of_the_loader(
    kind: str, make_objects: Callable[..., Path]
) -> None:
    root = make_objects()
    expected = spoil(root)
    path = stored_as(kind, root)
    for workers in (0, 2):
        dataset = PairDataset(open_pairs(path, SIZE), 0, 1, 5)
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        taken(iter(loader), 12)
        found = {name.rpartition(":")[2] for name in dataset.skipped}
        assert found == expected.keys() - ({"group/01/002"} if kind == "shards" else set())


def test_log_of_skips_goes_with_its_owner_and_stays_for_a_copy(
    make_objects: Callable[..., Path],
) -> None:
    dataset = PairDataset(open_pairs(make_objects(1), SIZE), 0, 1, 1)
    path = Path(dataset._log.path)
    copy = pickle.loads(pickle.dumps(dataset))
    del copy
    assert path.exists()
    del dataset
    assert not path.exists()


def test_log_of_skips_may_be_cleared_away(make_objects: Callable[..., Path]) -> None:
    dataset = PairDataset(open_pairs(make_objects(1), SIZE), 0, 1, 1)
    dataset._log.add({"a": "bad"})
    assert dataset.skipped == {"a": "bad"}
    Path(dataset._log.path).unlink()
    dataset._log.add({"b": "bad"})
    assert dataset.skipped == {"a": "bad"}


@BOTH
def test_nothing_usable_is_said_in_one_line(kind: str, make_objects: Callable[..., Path]) -> None:
    root = make_objects(3, 2)
    for camera_file in root.rglob("*.npy"):
        np.save(camera_file, np.zeros((3, 4)))
    path = root
    if kind == "shards":
        path = root.with_name("shards")
        assert list(pack(root, path))
    with pytest.raises(ValueError, match="^path: expected at least one object with two usable"):
        next(open_pairs(path, SIZE).batches(0, 1, 2))


def test_object_that_vanished_is_skipped(make_objects: Callable[..., Path]) -> None:
    root = make_objects(3)
    source = FolderPairs(root, SIZE)
    shutil.rmtree(root / "group" / "01")
    assert {i for i, _, _ in drawn(taken(source.batches(0, 1, 6), 4))} == {0, 2}
    assert source.skipped.keys() == {"group/01"}


def test_views_of_random_cameras_turn_as_poses_do(tmp_path: Path) -> None:
    """The pose of a batch moves the condition's camera onto the target's, over many cameras."""
    random = np.random.default_rng(7)
    cameras = [Pose(*row) for row in random.uniform((-89, -180, 1), (89, 180, 3), (12, 3))]
    write_object(tmp_path / "a", [disc(0, view) for view in range(12)], cameras)
    for batch in taken(FolderPairs(tmp_path, SIZE).batches(0, 1, 8), 6):
        for (_, a, b), pose in zip(drawn([batch]), batch["pose"], strict=True):
            moved = cameras[b].relative_to(cameras[a])
            assert torch.allclose(pose, encode_poses([moved])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"size": 4}, "size: expected a whole number of at least 8"),
        ({"size": 16.0}, "size"),
        ({"seed": -1}, "seed"),
        ({"encoding": "other"}, "encoding: expected 'zero123' or 'stable-zero123'"),
        ({"path": "absent"}, "path: expected a folder of objects, got 'absent'"),
    ],
)
def test_arguments_of_no_use(
    make_objects: Callable[..., Path], arguments: dict, complaint: str
) -> None:
    given = {"path": make_objects(1), "size": SIZE, **arguments}
    with pytest.raises(ValueError, match=complaint):
        open_pairs(given.pop("path"), given.pop("size"), **given)


@BOTH
@pytest.mark.parametrize(("first", "step", "size"), [(-1, 1, 1), (0, 0, 1), (0, 1, 0), (0, 1, 2.0)])
def test_batch_numbers_of_no_use(
    kind: str, make_objects: Callable[..., Path], first: int, step: int, size: int
) -> None:
    source = open_pairs(stored_as(kind, make_objects()), SIZE)
    with pytest.raises(ValueError, match="expected a whole number of at least"):
        source.batches(first, step, size)
