"""Where the cameras of a reconstruction stand.

The input's camera stands at azimuth 0 of the world. threestudio's camera of 20 degrees at 3.8 shows
of the plane through the origin just what Zero123's own of 49.13 degrees shows of it from 1.47; the
two differ in perspective alone, and Zero123 has seen one of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.schedules import at_milestone
from zero123lib.reconstruction.schema import Views
from zero123lib.views.cameras import FOV_DEG
from zero123lib.views.poses import Pose, elevation_on_sphere_deg


@dataclass(frozen=True)
class OrbitCamera:
    """A camera on a sphere around the object, with its field of view in degrees."""

    pose: Pose
    fov_deg: float = FOV_DEG


def equal_distance(distance: float, fov_deg: float, other_fov_deg: float = FOV_DEG) -> float:
    """Return how far away a camera of another field of view shows as much of the plane through the
    origin.

    ``d tan(fov / 2)`` is half of what is seen there.

    Args:
        distance: of the camera with ``fov_deg``, scene units.
    """
    return (
        distance * math.tan(math.radians(fov_deg / 2)) / math.tan(math.radians(other_fov_deg / 2))
    )


def input_camera(recipe: Recipe, elevation_deg: float) -> OrbitCamera:
    """Return the camera that took the image, at azimuth 0."""
    data = recipe.data
    return _camera(recipe, elevation_deg, 0.0, data.default_camera_distance, data.default_fovy_deg)


def ring_poses(views: Views, condition: Pose) -> list[Pose]:
    """Return rings of cameras around the object, as far away as the input's."""
    return [
        Pose(elevation_deg, 360 * i / views.azimuths, condition.radius)
        for elevation_deg in views.elevations_deg
        for i in range(views.azimuths)
    ]


def random_cameras(recipe: Recipe, step: int, generator: torch.Generator) -> list[OrbitCamera]:
    """Return the novel views' cameras of a step, drawn as threestudio draws them
    (``data/uncond.py``).

    Elevations are uniform in half of the steps and uniform on the sphere in the others; azimuths,
    distances and fields of view are uniform.

    Args:
        generator: on the CPU.
    """
    camera = recipe.data.random_camera
    count = at_milestone(camera.batch_size, camera.resolution_milestones, step)
    low, high = camera.elevation_range
    even = float(torch.rand((), generator=generator)) < 0.5
    u = torch.rand(count, 4, generator=generator, dtype=torch.float64)
    elevations = low + (high - low) * u[:, 0]
    if not even:
        shares = u[:, 0].tolist()
        elevations = torch.tensor([elevation_on_sphere_deg(one, (low, high)) for one in shares])
    spans = (camera.azimuth_range, camera.camera_distance_range, camera.fovy_range)
    others = [a + (b - a) * u[:, i] for i, (a, b) in enumerate(spans, 1)]
    columns = zip(*(column.tolist() for column in (elevations, *others)), strict=True)
    return [_camera(recipe, *row) for row in columns]


def pose_at(eye: Tensor) -> Pose:
    """Return the camera at a place ``[3]`` that looks at the origin."""
    x, y, z = eye.tolist()
    across = math.hypot(x, y)
    elevation, azimuth = math.atan2(z, across), math.atan2(y, x)
    return Pose(math.degrees(elevation), math.degrees(azimuth), math.hypot(across, z))


def _camera(
    recipe: Recipe, elevation_deg: float, azimuth_deg: float, distance: float, fov_deg: float
) -> OrbitCamera:
    if recipe.embedded.camera == "trained":
        distance, fov_deg = equal_distance(distance, fov_deg), FOV_DEG
    return OrbitCamera(Pose(elevation_deg, azimuth_deg, distance), fov_deg)
