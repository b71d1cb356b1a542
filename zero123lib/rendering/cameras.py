"""Cameras and lights of an object, drawn from the seed and the object's name alone.

The official script (cvlab-columbia/zero123, objaverse-rendering/scripts/blender_script.py) draws
a radius from U(1.5, 2.2) and a direction all around the object, per view, and one large lamp above
the object per object, for all its views.
"""

from __future__ import annotations

import hashlib

import numpy as np

from zero123lib.meshes.shading import LAMBERT, Light
from zero123lib.rendering.settings import RenderSettings
from zero123lib.views.poses import Pose, elevation_on_sphere_deg

_CAMERAS, _LIGHT = 0, 1


def official_poses(settings: RenderSettings, name: str) -> list[Pose]:
    """Return the cameras of an object: uniform over the sphere between the two elevations.

    The official script draws directions from a cube, so that they are a little denser towards its
    corners; ours have uniform azimuths and uniform sines of the elevation.
    """
    draw = _generator(settings.seed, name, _CAMERAS)
    poses = []
    for _ in range(settings.views):
        sine, azimuth, radius = draw.random(3).tolist()
        elevation_deg = elevation_on_sphere_deg(sine, settings.elevation_deg)
        near, far = settings.radius
        poses.append(Pose(elevation_deg, 360.0 * azimuth, near + (far - near) * radius))
    return poses


def light_of(settings: RenderSettings, name: str) -> Light:
    """Return the light of an object: `LAMBERT`, or a random one from above.

    The official lamp stands at U(-1, 1), U(-1, 1), U(0.5, 1.5) with a power of U(300, 600); it is
    a hundred times as large as the object, so that light comes from nearly everywhere: there is
    more ambient light than directed light here.
    """
    if settings.light == "fixed":
        return LAMBERT
    draw = _generator(settings.seed, name, _LIGHT)
    x, y, z, power, around = draw.random(5).tolist()
    ambient = 0.45 + 0.2 * around
    return Light(
        ambient=ambient,
        diffuse=(1.0 - ambient) * (0.5 + 0.5 * power),
        direction=(2.0 * x - 1.0, 2.0 * y - 1.0, 0.5 + z),
    )


def _generator(seed: int, name: str, purpose: int) -> np.random.Generator:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng([seed, purpose, *np.frombuffer(digest, np.uint32).tolist()])
