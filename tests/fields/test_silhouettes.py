"""A known silhouette: measured in closed form, and had by a density that was changed to it."""

from __future__ import annotations

import math

import pytest
import torch

from tests.fields.fitted import ring_poses
from tests.fields.solids import Ball, SoftBall
from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.levels import max_density
from zero123lib.fields.projection import interpolate, project
from zero123lib.fields.silhouettes import Silhouette, signed_distance_px, with_silhouette
from zero123lib.fields.volume import render_camera
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px, rays
from zero123lib.views.poses import Pose

SIZE = 32
POSE = Pose(15.0, 30.0, 1.85)


def disc(radius_px: float, size: int = SIZE, across_px: float = 0.0) -> torch.Tensor:
    """Alpha of a disc: the share of each pixel that it covers, to a tenth."""
    ticks = (torch.arange(8 * size) + 0.5) / 8 - size / 2
    covered = (ticks[:, None] ** 2 + (ticks[None] - across_px) ** 2 < radius_px**2).float()
    return covered.reshape(size, 8, size, 8).mean((1, 3))


def seen(density, silhouette: Silhouette, level: float) -> torch.Tensor:
    """Which pixels' rays meet what exceeds a level."""
    camera, size = silhouette.camera_to_world[None], len(silhouette.alpha)
    most = max_density(density, 0.6, camera, size, silhouette.fov_deg, 400)
    return most.reshape(size, size) > level


def test_points_on_a_pixels_ray_are_projected_onto_the_pixel() -> None:
    camera = camera_to_world(POSE)
    origins, directions = (part.reshape(-1, 3) for part in rays(camera, 5, 40.0))
    distances = torch.linspace(0.4, 3.0, 25)
    positions, depth = project(origins + distances[:, None] * directions, camera, 40.0)
    centres = (torch.arange(5) + 0.5) / 2.5 - 1
    expected = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), -1).reshape(-1, 2)
    torch.testing.assert_close(positions, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(depth, distances * -(directions @ camera[:3, 2]))
    image = torch.arange(25.0).reshape(5, 5)
    torch.testing.assert_close(interpolate(image, expected), torch.arange(25.0))
    assert interpolate(image, torch.tensor([[-7.0, -7.0], [3.0, 9.0]])).tolist() == [0.0, 24.0]


def test_distances_to_an_outline_are_those_to_its_circle() -> None:
    found = signed_distance_px(disc(10.0))
    ticks = (torch.arange(4 * SIZE) + 0.5) / 4 - SIZE / 2
    true = 10.0 - (ticks[:, None] ** 2 + ticks[None] ** 2).sqrt()
    near = true.abs() < 3.0
    assert (found - true)[near].abs().max() < 0.3
    assert (found - true)[near].mean().abs() < 0.05
    assert torch.equal(signed_distance_px(torch.zeros(4, 4)), torch.full((16, 16), -4.0))
    assert torch.equal(signed_distance_px(torch.ones(4, 4)), torch.full((16, 16), 4.0))


@pytest.mark.parametrize(("radius_px", "across_px"), [(7.0, 0.0), (13.0, 0.0), (9.0, 3.0)])
def test_a_soft_ball_gets_any_silhouette(radius_px: float, across_px: float) -> None:
    """Smaller than its own, larger, and beside it."""
    ball = SoftBall(80.0, radius=0.25)
    silhouette = Silhouette(disc(radius_px, across_px=across_px), camera_to_world(POSE))
    changed = with_silhouette(ball.density, 0.6, silhouette, 20.0)
    found = seen(changed, silhouette, 20.0)
    wanted = silhouette.inside
    own = seen(ball.density, silhouette, 20.0)
    # Of each outline's own pixels some fall on either side.
    assert (found ^ wanted).sum() <= 5 + 0.015 * wanted.sum() < 0.5 * (own ^ wanted).sum()


def test_what_has_the_silhouette_stays_as_it_is() -> None:
    ball = SoftBall(80.0, radius=0.3)
    camera = camera_to_world(POSE)
    # A ball's outline is a circle, since it is in the middle.
    reach = focal_px(SIZE) * math.tan(math.asin(0.3 / POSE.radius))
    silhouette = Silhouette(disc(reach), camera)
    changed = with_silhouette(ball.density, 0.6, silhouette, 40.0)
    points = 1.2 * torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) - 0.6
    radius = points.norm(dim=-1)
    inner, outer = radius < 0.27, radius > 0.33
    assert (changed(points) > 40.0)[inner].all() and not (changed(points) > 40.0)[outer].any()


def test_what_is_missing_is_as_far_away_as_what_is_beside_it_and_as_thick_as_it_is_wide() -> None:
    """A ball off the middle that has lost a rod at its side."""
    camera = camera_to_world(Pose(0.0, 0.0, 1.85))
    middle = torch.tensor([0.2, 0.0, 0.0])  # nearer to the camera than the origin

    def ball(points: torch.Tensor) -> torch.Tensor:
        return 80.0 * ((points - middle).norm(dim=-1) < 0.2)

    alpha = (seen(ball, Silhouette(torch.ones(64, 64), camera), 1.0)).float()
    alpha[30:34, 8:30] = 1.0
    changed = with_silhouette(ball, 0.6, Silhouette(alpha, camera), 20.0)
    found = seen(changed, Silhouette(alpha, camera), 20.0)
    assert (found ^ (alpha > 0.5)).sum() <= 4
    ticks = torch.linspace(-0.6, 0.6, 200)
    rod = torch.cartesian_prod(ticks, torch.tensor([-0.35]), torch.linspace(-0.1, 0.1, 200))
    there = rod[changed(rod) > 20.0]
    pixel = (1.85 - 0.2) / focal_px(64)
    assert there[:, 0].mean() == pytest.approx(0.2, abs=0.03)
    # Four pixels across, and so along the ray.
    for axis in (0, 2):
        reach = there[:, axis].amax() - there[:, axis].amin()
        assert reach == pytest.approx(4 * pixel, abs=0.8 * pixel)


def test_where_there_is_nothing_at_all_it_is_put_as_far_away_as_the_origin() -> None:
    silhouette = Silhouette(disc(6.0), camera_to_world(POSE))
    changed = with_silhouette(lambda points: 0.0 * points[:, 0], 0.6, silhouette, 20.0)
    assert (seen(changed, silhouette, 20.0) ^ silhouette.inside).sum() <= 4
    points = 1.2 * torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)) - 0.6
    there = points[changed(points) > 20.0]
    back = silhouette.camera_to_world[:3, 2]
    assert len(there) > 20 and (there @ back).abs().max() < 0.15


def test_slack_makes_all_thicker() -> None:
    """Of a ball that is larger than any of the outlines."""
    ball = SoftBall(80.0, radius=0.5)
    silhouette = Silhouette(disc(8.0), camera_to_world(POSE))
    pixel = POSE.radius / focal_px(SIZE)
    counts = []
    for slack in (0.0, 1.0, 2.0):
        changed = with_silhouette(ball.density, 0.6, silhouette, 20.0, slack=slack * pixel)
        counts.append(int(seen(changed, silhouette, 20.0).sum()))
    grown = [int((disc(radius) >= 0.5).sum()) for radius in (8.0, 9.0, 10.0)]
    # What is nearer to the camera than the middle is cut earlier, what is farther later.
    assert counts == pytest.approx(grown, rel=0.15) and counts[0] == pytest.approx(grown[0], abs=8)


def test_the_hull_keeps_what_the_known_view_shows_and_others_deny() -> None:
    """A ball with a rod across it, which one view shows and eleven do not."""
    poses = ring_poses(4)
    cameras = camera_to_world(poses)
    ball = torch.stack(
        [render_camera(Ball(1e4, 0.25), camera, SIZE, samples=128).opacity for camera in cameras]
    )
    known = ball[0].clone()
    known[SIZE // 2 - 1 : SIZE // 2 + 2, 4:-4] = 1.0
    masks = torch.cat([known[None], ball[1:]])
    images = torch.cat([torch.full((len(masks), SIZE, SIZE, 3), 0.5), masks[..., None]], -1)
    settings = FitSettings(steps=1, resolutions=(40,), milestones=(), hull_tolerance=0.1)
    silhouette = Silhouette(known, cameras[0])
    rod = known - ball[0] > 0.5
    fields = [
        Fitting(images, cameras, FOV_DEG, settings, silhouette=one).field
        for one in (None, silhouette)
    ]
    without, covered = (seen(field.density, silhouette, 30.0) for field in fields)
    assert without[rod].float().mean() < 0.4
    assert covered[rod].float().mean() > 0.9
    outside = torch.nn.functional.max_pool2d(known[None], 5, 1, 2)[0] < 0.5
    assert not covered[outside].any()
