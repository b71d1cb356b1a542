"""A point is where COLMAP's cameras project it: in the pixel whose ray goes through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from zero123lib._errors import ArgumentError
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.colmap import colmap_files
from zero123lib.views.poses import Pose

POSES = [Pose(10, 0, 1.8), Pose(-20, 130, 1.6), Pose(90, 40, 2.0), Pose(0, -179, 1.5)]
SIZE = 64


def rows(content: bytes) -> list[list[str]]:
    return [line.split() for line in content.decode().splitlines() if line[:1] != "#"]


def turned(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Hamilton's product q v q*, written out."""
    w, axis = quaternion[0], quaternion[1:]
    across = 2.0 * np.cross(axis, vector)
    return vector + w * across + np.cross(axis, across)


def test_a_point_is_projected_to_the_pixel_that_sees_it() -> None:
    names = [f"{index:03d}.png" for index in range(len(POSES))]
    files = colmap_files(names, POSES, SIZE)
    ((number, model, width, height, *params),) = rows(files["sparse/0/cameras.txt"])
    assert (number, model, width, height) == ("1", "PINHOLE", "64", "64")
    fx, fy, cx, cy = map(float, params)
    lines = rows(files["sparse/0/images.txt"])
    assert [line[9] for line in lines[::2]] == names and not any(lines[1::2])
    for line, pose in zip(lines[::2], POSES, strict=True):
        quaternion, move = np.array(line[1:5], float), np.array(line[5:8], float)
        assert np.linalg.norm(quaternion) == pytest.approx(1)
        origins, directions = rays(camera_to_world(pose), SIZE, FOV_DEG)
        for row, column in ((0, 0), (5, 50), (40, 13), (63, 31)):
            point = (origins + 1.3 * directions)[row, column].double().numpy()
            x, y, depth = turned(quaternion, point) + move
            assert depth > 0
            found = fx * x / depth + cx, fy * y / depth + cy
            assert found == pytest.approx((column + 0.5, row + 0.5), abs=1e-3)


def test_points_are_listed_with_their_colours() -> None:
    points = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.0, 0.5]]).numpy()
    colors = np.array([[255, 0, 7], [1, 2, 3]], np.uint8)
    files = colmap_files(["a.png"], POSES[:1], SIZE, points, colors)
    assert rows(files["sparse/0/points3D.txt"]) == [
        ["1", "0.1", "-0.2", "0.3", "255", "0", "7", "0"],
        ["2", "0", "0", "0.5", "1", "2", "3", "0"],
    ]
    assert rows(colmap_files(["a.png"], POSES[:1], SIZE)["sparse/0/points3D.txt"]) == []


def test_names_that_the_format_cannot_hold_are_refused() -> None:
    with pytest.raises(ArgumentError, match="file_names: expected names without blanks"):
        colmap_files(["a b.png"], POSES[:1], SIZE)
    with pytest.raises(ArgumentError, match="file_names: expected one per pose"):
        colmap_files(["a.png"], POSES, SIZE)
