"""Closed forms of the shape metrics."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from zero123lib.metrics import (
    chamfer_distance,
    f_score,
    normal_consistency,
    surface_points,
    volume_iou,
)

LINE = np.stack([np.arange(50.0), np.zeros(50), np.zeros(50)], -1)
ASIDE = np.array([0, 0.25, 0])
UP = np.tile([0.0, 0.0, 1.0], (50, 1))


def test_chamfer_distance_of_points_that_were_moved() -> None:
    assert chamfer_distance(LINE, LINE) == 0
    assert chamfer_distance(LINE, LINE + ASIDE) == pytest.approx(0.25)
    assert chamfer_distance(LINE, LINE[:1]) == pytest.approx((0 + 24.5) / 2)


def test_f_score_is_the_harmonic_mean_of_precision_and_recall() -> None:
    assert f_score(LINE, LINE, 0.1) == 1
    assert f_score(LINE, LINE + ASIDE, 0.2) == 0
    assert f_score(LINE, LINE + ASIDE, 0.3) == 1
    # Of the ten found points all are right; of the fifty true ones, eleven are within one.
    assert f_score(LINE[:10], LINE, 1.01) == pytest.approx(2 * 1 * 0.22 / 1.22)


def test_normal_consistency_is_the_cosine_between_planes() -> None:
    turned = np.tile([0.0, math.sin(0.7), math.cos(0.7)], (50, 1))
    assert normal_consistency(LINE, UP, LINE, turned) == pytest.approx(math.cos(0.7))
    assert normal_consistency(LINE, UP, LINE, -UP) == pytest.approx(1)
    half = np.where(np.arange(50)[:, None] < 1, turned, UP)
    assert normal_consistency(LINE[:1], turned[:1], LINE, UP) == pytest.approx(math.cos(0.7))
    assert normal_consistency(LINE[:1], turned[:1], LINE, half) == pytest.approx(
        (1 + (1 + 49 * math.cos(0.7)) / 50) / 2
    )


def test_a_scaled_sphere_is_as_far_as_its_radius_says() -> None:
    random = np.random.default_rng(0)
    unit = random.normal(size=(20_000, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert chamfer_distance(0.5 * unit, 0.6 * unit) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("overlap", [0, 3, 6])
def test_volume_iou_of_shifted_boxes(overlap: int) -> None:
    a, b = (torch.zeros(20, 8, 8, dtype=torch.bool) for _ in range(2))
    a[2:8], b[8 - overlap : 14 - overlap] = True, True
    assert float(volume_iou(a, b)) == pytest.approx(overlap / (12 - overlap))


def test_volume_iou_of_several_solids_and_of_none() -> None:
    empty, half = torch.zeros(2, 2, 2, dtype=torch.bool), torch.zeros(2, 2, 2, dtype=torch.bool)
    half[0] = True
    found = volume_iou(torch.stack([empty, half, half]), torch.stack([empty, empty, ~empty]))
    assert found.dtype == torch.float64 and found.tolist() == [1, 0, 0.5]


@pytest.mark.parametrize(
    ("shapes", "kinds", "told"),
    [
        (((2, 2, 2), (2, 2, 2)), (torch.float32, torch.bool), r"prediction: .*float32 \[2, 2, 2\]"),
        (((2, 2, 2), (2, 2)), (torch.bool, torch.bool), r"target: .*bool \[2, 2\]"),
        (((2, 2, 2), (2, 2, 3)), (torch.bool,) * 2, r"prediction: expected the target's shape"),
    ],
)
def test_what_is_no_solid_is_refused(shapes: Any, kinds: Any, told: str) -> None:
    a, b = (torch.zeros(*shape, dtype=kind) for shape, kind in zip(shapes, kinds, strict=True))
    with pytest.raises(ValueError, match=told):
        volume_iou(a, b)


def test_a_seed_draws_the_same_points_and_another_others() -> None:
    vertices, faces = np.eye(3), np.array([[0, 1, 2]])
    drawn, again, other = (surface_points(vertices, faces, 9, seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(drawn, again) and not np.isclose(drawn, other).all(1).any()
    assert drawn.shape == (9, 3)


def test_a_point_as_far_as_the_threshold_is_beyond_it() -> None:
    assert f_score(LINE, LINE + ASIDE, 0.25) == 0
    near, there = LINE[:2] + np.array([[0, 0.25, 0], [0, 0, 0]]), LINE[:2]
    assert f_score(near, there, 0.25) == f_score(there, near, 0.25) == 0.5


def test_surface_points_lie_on_their_triangles_evenly() -> None:
    vertices = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 5], [0, 1, 5], [1, 0, 5.0]])
    points, normals = surface_points(vertices, np.array([[0, 1, 2], [3, 4, 5]]), 20_000, 0)
    low = points[:, 2] == 0
    assert low.mean() == pytest.approx(0.8, abs=0.01)  # areas 2 and 1/2
    assert np.allclose(points[low].mean(0), [2 / 3, 2 / 3, 0], atol=0.02)
    assert (points[:, :2] >= 0).all() and (points[low, :2].sum(1) <= 2).all()
    assert np.allclose(normals[low], [0, 0, 1]) and np.allclose(normals[~low], [0, 0, -1])


@pytest.mark.parametrize(
    ("points", "got"), [(np.zeros((0, 3)), "none"), (LINE * np.nan, "NaN or infinity")]
)
def test_points_that_are_no_points_are_refused(points: np.ndarray, got: str) -> None:
    with pytest.raises(ValueError, match=f"a: expected finite points, got {got}"):
        chamfer_distance(points, LINE)
    with pytest.raises(ValueError, match=f"b: expected finite points, got {got}"):
        f_score(LINE, points, 0.1)
