"""Polygons become triangles that cover them once, wherever they lie and begin."""

from __future__ import annotations

import numpy as np
import pytest

from zero123lib.meshes.polygons import triangulate

SHAPES: dict[str, list[tuple[float, float]]] = {
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "dart": [(0, 0), (2, 1), (4, 0), (2, 4)],
    # The shorter of its two diagonals lies outside.
    "deep dart": [(0, 0), (1, 9), (0, 8), (-1, 9)],
    "L": [(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)],
    "comb": [
        (0, 0), (7, 0), (7, 3), (6, 3), (6, 1), (4, 1), (4, 3), (3, 3), (3, 1), (1, 1), (1, 3),
        (0, 3),
    ],
    "with a corner on a side": [(0, 0), (1, 0), (2, 0), (2, 2), (1, 1), (0, 2)],
    "with a slit to a hole": [
        (0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1),
    ],
}  # fmt: skip


def shoelace(flat: np.ndarray) -> float:
    x, y = flat.T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("back", [False, True])
def test_triangles_cover_the_polygon_once(name: str, back: bool) -> None:
    flat = np.array(SHAPES[name], float)[:: -1 if back else 1]
    generator = np.random.default_rng(len(name))
    for first in range(len(flat)):
        shape = np.roll(flat, first, axis=0)
        axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        points = np.pad(shape, ((0, 0), (0, 1))) @ axes.T * 3.0 + generator.normal(size=3)
        triangles, owner = triangulate(points, np.array([len(shape)]))
        assert len(triangles) == len(shape) - 2 and not owner.any()
        assert set(triangles.ravel()) == set(range(len(shape)))
        a, b, c = (points[triangles[:, k]] for k in range(3))
        areas = np.cross(b - a, c - a) @ np.cross(axes[:, 0], axes[:, 1]) / 18.0
        # All wound as the polygon, and as large as it together: none outside, none over another.
        assert (areas * np.sign(shoelace(shape)) > -1e-9).all()
        assert areas.sum() == pytest.approx(shoelace(shape))


def test_random_polygons() -> None:
    """Around a point at random distances: many corners turn back."""
    generator = np.random.default_rng(0)
    for count in (5, 8, 50, 300):
        turns = np.sort(generator.uniform(0.0, 2 * np.pi, count))
        ring = np.stack([np.cos(turns), np.sin(turns)], 1) * generator.uniform(0.1, 1, (count, 1))
        points = np.pad(ring, ((0, 0), (0, 1)))
        triangles, _ = triangulate(points, np.array([count]))
        a, b, c = (points[triangles[:, k]] for k in range(3))
        areas = np.cross(b - a, c - a)[:, 2] / 2
        assert (areas > -1e-12).all() and areas.sum() == pytest.approx(shoelace(ring))


def test_polygons_of_all_sizes_in_their_order() -> None:
    dart = np.array([[0, 0, 0], [2, 1, 0], [4, 0, 0], [2, 4, 0]], float)
    points = np.concatenate([dart[:2], dart[:3], dart, np.eye(3), dart[[1, 2, 3, 0]]])
    triangles, owner = triangulate(points, np.array([2, 3, 4, 3, 4]))
    assert owner.tolist() == [1, 2, 2, 3, 4, 4]
    assert triangles[0].tolist() == [2, 3, 4] and triangles[3].tolist() == [9, 10, 11]
    assert all(len(set(face)) == 3 for face in triangles.tolist())


@pytest.mark.parametrize(
    "points",
    [np.zeros((6, 3)), np.arange(18.0).reshape(6, 3), np.full((6, 3), np.nan),
     np.array([[0, 0, 0], [2, 2, 0], [2, 0, 0], [0, 2, 0], [1, 5, 0], [1, -5, 0]], float)],
    ids=["a point", "a line", "no numbers", "through itself"],
)  # fmt: skip
def test_what_is_no_polygon_still_gives_as_many_triangles(points: np.ndarray) -> None:
    triangles, _ = triangulate(points, np.array([6]))
    assert len(triangles) == 4 and set(triangles.ravel()) == set(range(6))
