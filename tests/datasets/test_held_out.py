"""Objects that are held out are the same ones whatever lies around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from zero123lib.datasets.drawing import is_held_out
from zero123lib.datasets.folder import FolderPairs, write_object
from zero123lib.datasets.packing import pack
from zero123lib.datasets.pairs import open_pairs
from zero123lib.views.poses import Pose

NAMES = [f"object{i}" for i in range(10)]
SIZE = 16


def test_the_share_is_of_many_names_and_of_their_last_part_alone() -> None:
    held = [is_held_out(f"object{i}", 0.05) for i in range(4000)]
    assert np.mean(held) == pytest.approx(0.05, abs=0.01)
    assert all(is_held_out(f"deep/er/{name}", 0.4) == is_held_out(name, 0.4) for name in NAMES)
    small = {name for name in NAMES if is_held_out(name, 0.2)}
    assert small <= {name for name in NAMES if is_held_out(name, 0.6)}


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each object's red is its number."""
    root = tmp_path_factory.mktemp("renders")
    for index, name in enumerate(NAMES):
        image = np.full((SIZE, SIZE, 4), 255, np.uint8)
        image[..., 0] = 20 * index
        write_object(root / name, [image, image], [Pose(0, 0, 2), Pose(0, 90, 2)])
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_the_two_parts_share_no_object_and_miss_none(renders, tmp_path, packed) -> None:
    path = renders
    if packed:
        path = tmp_path / "shards"
        list(pack(renders, path))
    seen = {}
    for part in ("training", "held_out", "all"):
        batch = next(open_pairs(path, SIZE, held_out=0.4, part=part).batches(0, 1, 60))
        red = (batch["condition"][:, 0, 0, 0] + 1) * 127.5
        seen[part] = {NAMES[round(float(value) / 20)] for value in red}
    held = {name for name in NAMES if is_held_out(name, 0.4)}
    assert seen == {"training": set(NAMES) - held, "held_out": held, "all": set(NAMES)}


def test_a_share_that_leaves_nothing_is_refused(renders) -> None:
    with pytest.raises(ValueError, match=r"held_out: expected a share .*, got 1e-09"):
        FolderPairs(renders, SIZE, held_out=1e-9, part="held_out")
