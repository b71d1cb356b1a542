"""Both cameras show as much of the plane through the origin, and mean the same to the model."""

from __future__ import annotations

import math

import pytest
import torch

from zero123lib.reconstruction.cameras import (
    equal_distance,
    input_camera,
    pose_at,
    random_cameras,
    ring_poses,
)
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.schema import Views
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px
from zero123lib.views.poses import Pose

TRAINED = ["system.guidance.embedded.camera=trained"]
RECIPE = ["system.guidance.embedded.camera=recipe"]


def projected(pose: Pose, fov_deg: float, point: torch.Tensor) -> torch.Tensor:
    """Where a point shows, in halves of the image from its middle."""
    camera = camera_to_world(pose)
    local = (point - camera[:3, 3]) @ camera[:3, :3]
    return local[:2] / -local[2] * focal_px(2, fov_deg)


def test_threestudios_camera_and_zero123s_show_the_plane_through_the_origin_alike() -> None:
    near, far = (
        input_camera(read_recipe("zero123-sds", choice), 25.0) for choice in (TRAINED, RECIPE)
    )
    assert (far.pose.radius, far.fov_deg) == (3.8, 20.0)
    assert near.fov_deg == FOV_DEG
    expected = 3.8 * math.tan(math.radians(10)) / math.tan(math.radians(FOV_DEG / 2))
    assert near.pose.radius == pytest.approx(expected) == pytest.approx(1.4658, abs=1e-4)
    right, up = camera_to_world(near.pose)[:3, :2].T
    for x, y in ((0.3, 0.0), (-0.2, 0.5), (0.0, -0.6)):
        point = x * right + y * up
        a, b = projected(near.pose, near.fov_deg, point), projected(far.pose, far.fov_deg, point)
        assert torch.allclose(a, b, atol=1e-5)


def test_equal_distance_goes_there_and_back() -> None:
    there = equal_distance(3.8, 20.0, 49.13)
    assert equal_distance(there, 49.13, 20.0) == pytest.approx(3.8)
    assert equal_distance(1.7, 49.13) == pytest.approx(1.7)


@pytest.mark.parametrize("choice", [TRAINED, RECIPE])
def test_random_cameras_stay_in_their_ranges_and_are_as_far_as_the_inputs(
    choice: list[str],
) -> None:
    recipe = read_recipe("zero123-sds", choice)
    condition = input_camera(recipe, 5.0)
    generator = torch.Generator().manual_seed(0)
    cameras = [
        camera for step in (0, 200, 300) for camera in random_cameras(recipe, step, generator)
    ]
    assert len(cameras) == 12 + 4 + 2
    for camera in cameras:
        assert -10 <= camera.pose.elevation_deg <= 80 and camera.fov_deg == condition.fov_deg
        assert camera.pose.relative_to(condition.pose).radius == pytest.approx(0)


def test_random_elevations_are_threestudios_mixture() -> None:
    recipe = read_recipe("zero123-sds", ["data.random_camera.elevation_range=[0, 90]"])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor(
        [s.pose.elevation_deg for _ in range(500) for s in random_cameras(recipe, 0, generator)]
    )
    # Below 30 degrees lie a third of uniform angles and half of a hemisphere.
    assert float((drawn < 30).float().mean()) == pytest.approx((1 / 3 + 1 / 2) / 2, abs=0.02)


def test_rings_are_even_and_begin_at_the_inputs_azimuth() -> None:
    poses = ring_poses(Views(elevations_deg=(0.0, 30.0), azimuths=4), Pose(10, 0, 1.6))
    found = [(p.elevation_deg, p.azimuth_deg, p.radius) for p in poses]
    assert found == [(e, a, 1.6) for e in (0.0, 30.0) for a in (0.0, 90.0, 180.0, 270.0)]


def test_pose_at_finds_a_camera_again() -> None:
    pose = Pose(33.0, -71.0, 1.9)
    again = pose_at(camera_to_world(pose)[:3, 3])
    for name in ("elevation_deg", "azimuth_deg", "radius"):
        assert getattr(again, name) == pytest.approx(getattr(pose, name), abs=1e-4)
