"""Does the camera obey? The azimuth from which a made view shows the object.

A view is compared with renders of the true object from all around, at the elevation and radius
that were asked for; the azimuth of the most similar one, by mean squared error, is where the
camera stood. Renders stand every 4 degrees and have 32 px, to which views are averaged down; a
parabola through the least error and its two neighbours finds the azimuth in between. On true views
the median error is about 0.2 degrees.

Some views cannot tell the azimuth: a render turned by more than 20 degrees is within 30 dB of the
true view itself, as of a snowman or of a tower with equal sides. They are left out of medians, for
every answer alike, and counted.

Axes: K images, A renders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.metrics import azimuth_error_deg
from zero123lib.scenes import Scene, render
from zero123lib.views.poses import Pose

AZIMUTH_STEP_DEG = 4.0
RING_SIZE = 32
# A turn of more than this must change the image by more than this mean squared error, 30 dB.
DISTINCT_TURN_DEG = 20.0
DISTINCT_MSE = 1e-3


@dataclass(frozen=True, eq=False)
class AzimuthSweep:
    """Renders of an object from all around, for one target camera.

    Attributes:
        images: ``[A, 3, s, s]`` in [0, 1] on white, s at most 32.
        azimuths_deg: ``[A]``, evenly all the way round from 0 on.
        target_azimuth_deg: of the camera that was asked for.
    """

    images: Tensor
    azimuths_deg: Tensor
    target_azimuth_deg: float


def render_azimuth_sweep(scene: Scene, target: Pose, size: int) -> AzimuthSweep:
    """Render all around an object at the elevation and radius of a camera.

    Args:
        size: S, pixels, of the images that are to be compared with it.
    """
    azimuths_deg = torch.arange(0, 360, AZIMUTH_STEP_DEG, dtype=torch.float64)
    poses = [Pose(target.elevation_deg, value, target.radius) for value in azimuths_deg.tolist()]
    rgba = render(scene, poses, min(size, RING_SIZE), background="white").rgba
    return AzimuthSweep(rgba[..., :3].permute(0, 3, 1, 2), azimuths_deg, target.azimuth_deg)


def sweep_errors(images: Tensor, ring: AzimuthSweep, mask: Tensor | None = None) -> Tensor:
    """Mean squared errors ``[K, A]`` between images and the renders of a ring.

    Args:
        images: ``[K, 3, S, S]`` in [0, 1].
        mask: ``[S, S]`` boolean; pixels of the ring's size count by how much of them is in it.
    """
    views, renders = (_reduced(p, ring).flatten(1) for p in (images, ring.images))
    weight = torch.ones_like(views[0])
    if mask is not None:
        weight = _reduced(mask.expand(1, 3, -1, -1), ring).flatten()
    squares = (views.square() @ weight)[:, None] + renders.square() @ weight
    return (squares - 2 * (views * weight) @ renders.T) / weight.sum()


def recovered_azimuths_deg(errors: Tensor) -> Tensor:
    """Return azimuths ``[K]`` in degrees where errors are least, between the renders by a parabola.

    Args:
        errors: ``[K, A]``, from azimuths evenly all the way round from 0 on.
    """
    best, count = errors.argmin(1, keepdim=True), errors.shape[1]
    before, least, after = (errors.gather(1, (best + k) % count)[:, 0] for k in (-1, 0, 1))
    bend = before - 2 * least + after
    shift = torch.where(bend > 0, (before - after) / (2 * bend), 0)
    return torch.remainder((best[:, 0] + shift) * (360 / count), 360)


def tells_azimuth(target: Tensor, ring: AzimuthSweep) -> bool:
    """Tell whether the true view ``[3, S, S]`` tells the azimuth, see the top of the module."""
    turns = azimuth_error_deg(
        ring.azimuths_deg, torch.full_like(ring.azimuths_deg, ring.target_azimuth_deg)
    )
    errors = sweep_errors(target[None], ring)[0]
    return bool(errors[turns > DISTINCT_TURN_DEG].min() > DISTINCT_MSE)


def _reduced(images: Tensor, ring: AzimuthSweep) -> Tensor:
    """Return averages at the ring's size, in double precision: the errors are small differences."""
    return functional.adaptive_avg_pool2d(images.double(), ring.images.shape[-1])
