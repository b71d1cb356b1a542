"""The visual hull, the silhouettes' share, and the level at which a field fits them."""

from __future__ import annotations

import pytest
import torch

from tests.fields.fitted import ring_poses
from tests.fields.solids import Ball, SoftBall
from zero123lib.fields.hull import view_consensus, visual_hull
from zero123lib.fields.levels import best_level, max_density, silhouette_iso_level
from zero123lib.fields.occupancy import OccupancyGrid, lattice
from zero123lib.fields.volume import render_camera
from zero123lib.metrics import volume_iou
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px
from zero123lib.views.poses import Pose


def ball_views(radius: float = 0.3, size: int = 64):
    """Silhouettes of a ball in closed form: a ray's distance from its centre."""
    cameras = camera_to_world(ring_poses(4))
    views = [
        render_camera(Ball(1e4, radius), camera, size, samples=256).opacity for camera in cameras
    ]
    return torch.stack(views), cameras


def test_the_hull_of_a_ball_holds_it_and_little_more():
    masks, cameras = ball_views()
    hull = visual_hull(masks, cameras, FOV_DEG, 48)
    distance = lattice(48, 0.6, centers=True).norm(dim=-1)
    assert bool(hull[distance < 0.28].all())
    assert not bool(hull[distance > 0.36].any())
    assert float(volume_iou(hull, distance < 0.3)) > 0.9


def test_a_share_is_that_of_the_pixels_that_points_fall_on():
    random = torch.Generator().manual_seed(0)
    masks = (torch.rand(3, 8, 8, generator=random) < 0.5).float()
    cameras = camera_to_world([Pose(20, 30, 1.5), Pose(-40, 100, 2), Pose(85, -60, 1.2)])
    points = 1.2 * torch.rand(40, 3, generator=random) - 0.6
    focal = focal_px(8)
    for point in points:
        votes = []
        for mask, camera in zip(masks, cameras, strict=True):
            x, y, z = (torch.linalg.inv(camera) @ torch.cat([point, torch.ones(1)]))[:3].tolist()
            column, row = 4 - focal * x / z, 4 + focal * y / z
            votes.append(bilinear(mask, row - 0.5, column - 0.5) >= 0.5)
        share = float(view_consensus(point[None], masks, cameras))
        assert share == pytest.approx(sum(votes) / 3)


def bilinear(mask: torch.Tensor, row: float, column: float) -> float:
    last = len(mask) - 1
    row, column = min(max(row, 0), last), min(max(column, 0), last)
    i, j = min(int(row), last - 1), min(int(column), last - 1)
    a, b = row - i, column - j
    top = mask[i, j] * (1 - b) + mask[i, j + 1] * b
    bottom = mask[i + 1, j] * (1 - b) + mask[i + 1, j + 1] * b
    return float(top * (1 - a) + bottom * a)


def test_outside_the_image_a_silhouette_goes_on_as_at_its_border():
    cameras = camera_to_world([Pose(0, 0, 1.85)])
    masks = torch.zeros(1, 8, 8)
    masks[:, :, 4:] = 1
    points = torch.tensor([[0.0, 3.0, 0.0], [0.0, -3.0, 0.0], [0.0, 0.3, 9.0], [5.0, -1.0, 0.0]])
    assert view_consensus(points, masks, cameras).tolist() == [1, 0, 1, 1]


def test_tolerance_outvotes_a_wrong_silhouette():
    masks, cameras = ball_views()
    wrong = masks.clone()
    wrong[2] = 0
    assert not bool(visual_hull(wrong, cameras, FOV_DEG, 24).any())
    tolerant = visual_hull(wrong, cameras, FOV_DEG, 24, tolerance=1 / 12)
    assert bool(tolerant[visual_hull(masks, cameras, FOV_DEG, 24)].all())


def test_masks_and_cameras_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="masks: expected square \\[V, H, H\\], got \\[2, 8, 9\\]"):
        visual_hull(torch.ones(2, 8, 9), torch.eye(4).expand(2, 4, 4))
    with pytest.raises(ValueError, match="cameras_to_world: expected \\[2, 4, 4\\]"):
        visual_hull(torch.ones(2, 8, 8), torch.eye(4).expand(3, 4, 4))


def test_the_level_of_a_soft_ball_is_its_density_at_the_silhouette():
    masks, cameras = ball_views(0.3)
    ball = SoftBall(80.0, radius=0.35)
    wanted = 80 * torch.sigmoid(torch.tensor(20 * (0.35 - 0.3)))
    level = silhouette_iso_level(ball, masks, cameras)
    # The pixels of the masks tell the radius to a percent of the box.
    assert level * 1.15 >= 80 / (1 + 2.72 ** (20 * (0.31 - 0.35)))
    assert level == pytest.approx(float(wanted), rel=0.2)
    grid = OccupancyGrid.of(ball.density, 0.6, 24, 0.2).dilated()
    assert silhouette_iso_level(ball, masks, cameras, occupancy=grid) == level


def test_the_best_level_is_the_middle_of_the_equally_good():
    most = torch.tensor([0.0, 1.0, 100.0, 120.0])
    wanted = torch.tensor([False, False, True, True])
    assert best_level(most, wanted, (0.1, 1000.0)) == pytest.approx(10, rel=0.16)


def test_the_densest_along_a_ray():
    cameras = camera_to_world([Pose(0, 0, 1.85)])
    most = max_density(SoftBall(10.0).density, 0.6, cameras, 9).reshape(9, 9)
    assert float(most[4, 4]) == pytest.approx(10, rel=1e-2)
    assert float(most[0, 0]) < 0.1
