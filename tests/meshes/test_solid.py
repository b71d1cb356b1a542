"""Which points lie within a surface."""

from __future__ import annotations

import numpy as np
import pytest

from zero123lib.meshes.solid import solid_grid

BOX_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 7, 5], [4, 6, 7], [0, 5, 1], [0, 4, 5], [2, 3, 7], [2, 7, 6],
     [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def box(low: float, high: float) -> np.ndarray:
    sides = (low, high)
    return np.array([(x, y, z) for x in sides for y in sides for z in sides])


@pytest.mark.parametrize("bounds", [(-0.51, 0.49), (-0.3, 0.7), (-1.5, 0.2), (-2.0, 2.0)])
def test_a_box_holds_the_points_between_its_sides(bounds: tuple[float, float]) -> None:
    axis = -1 + np.arange(16) / 8
    within = (axis > bounds[0]) & (axis < bounds[1])
    expected = within[:, None, None] & within[:, None] & within
    assert (solid_grid(box(*bounds), BOX_FACES, 16) == expected).all()


def test_lines_through_edges_and_corners_count_once() -> None:
    # Sides, edges and diagonals of this box lie on the grid's lines: each line still goes in once.
    found = solid_grid(box(-0.5, 0.5), BOX_FACES, 16)
    assert found.any(0).sum() == 8 * 8 and found.sum() == 7 * 8 * 8


def test_one_surface_within_another_is_hollow() -> None:
    vertices = np.concatenate([box(-0.81, 0.79), box(-0.41, 0.39)])
    both = solid_grid(vertices, np.concatenate([BOX_FACES, BOX_FACES + 8]), 16)
    outer, inner = (solid_grid(box(*b), BOX_FACES, 16) for b in ((-0.81, 0.79), (-0.41, 0.39)))
    assert (both == (outer & ~inner)).all()
