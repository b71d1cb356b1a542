"""The loss over the sphere: where a camera may be, before anything is refined.

A :class:`Landscape` is a table of losses over relative elevations and azimuths, the latter evenly
all the way round. Axes: E elevations, A azimuths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from zero123lib._errors import NotFiniteError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.inversion.losses import Draw, Photo, pose_losses
from zero123lib.views.cameras import rotation_angle_deg, spherical_to_camera

ELEVATIONS_DEG = (-50.0, -25.0, 0.0, 25.0, 50.0)
AZIMUTHS = 18
# Colours of an image, from the least loss to the largest: pale yellow, orange, magenta, violet.
_COLORS = np.array([[252, 253, 191], [229, 92, 48], [126, 3, 140], [13, 8, 60]], float)


@dataclass(frozen=True, eq=False)
class Landscape:
    """Hold losses over the sphere, over their median: 1 is a camera that explains nothing.

    Attributes:
        losses: ``[E, A]``.
        elevations_deg: ``[E]``, relative to the first photo's camera, rising.
        azimuths_deg: ``[A]``, relative to it, from -180 on.
    """

    losses: Tensor
    elevations_deg: Tensor
    azimuths_deg: Tensor

    def turned_round(self) -> Landscape:
        """Return the same landscape of the way back: the loss at d is that at -d."""
        back = self.losses.flip(0, 1).roll(1, 1)
        return Landscape(back, self.elevations_deg, self.azimuths_deg)

    def cameras(self) -> Tensor:
        """Return the relative cameras of the table, ``[E * A, 3]``, at the same distance."""
        pairs = torch.cartesian_prod(self.elevations_deg, self.azimuths_deg)
        return torch.cat([pairs, torch.zeros(len(pairs), 1)], 1)

    def best(self) -> Tensor:
        """Return the relative camera ``[3]`` of the least loss."""
        return self.cameras()[self.losses.argmin()]

    def minima(self, count: int) -> Tensor:
        """Return the relative cameras ``[K, 3]``, K up to ``count``, of the deepest places that are
        below all their neighbours."""
        ring = torch.cat([self.losses[:, -1:], self.losses, self.losses[:, :1]], 1)
        ring = torch.nn.functional.pad(ring[None], (0, 0, 1, 1), value=torch.inf)
        least = -torch.nn.functional.max_pool2d(-ring, 3, 1)[0]
        places = torch.nonzero((self.losses == least).flatten())[:, 0]
        order = self.losses.flatten()[places].argsort()
        return self.cameras()[places[order[:count]]]

    def __add__(self, other: Landscape) -> Landscape:
        return Landscape(self.losses + other.losses, self.elevations_deg, self.azimuths_deg)

    def of(self, losses: Tensor) -> Landscape:
        """Return a table of the same cameras with losses ``[E * A]``, over their median.

        Raises:
            NotFiniteError: a loss is NaN or infinite.
        """
        if not bool(losses.isfinite().all()):
            raise NotFiniteError(
                "losses: expected finite numbers, got NaN or infinity; where it computes in half "
                "precision, float32 or bfloat16 reaches farther"
            )
        table = (losses / losses.median().clamp_min(1e-12)).reshape(self.losses.shape)
        return Landscape(table, self.elevations_deg, self.azimuths_deg)

    def scaled(self, factor: float) -> Landscape:
        """Return the landscape with its losses times a factor."""
        return Landscape(self.losses * factor, self.elevations_deg, self.azimuths_deg)

    def image(self, marks: Sequence[tuple[float, float]] = (), cell_px: int = 32) -> Image.Image:
        """Draw it: azimuth to the right from -180 degrees, elevation upwards, bright is likely.

        Args:
            marks: (elevation, azimuth) of crosses, degrees.
            cell_px: pixels of one entry of the table, which are interpolated between entries.
        """
        low, high = float(self.losses.min()), float(self.losses.max())
        place = (self.losses - low) / max(high - low, 1e-12) * (len(_COLORS) - 1)
        size = (len(self.azimuths_deg) * cell_px, len(self.elevations_deg) * cell_px)
        channels = [np.interp(place.numpy(), range(len(_COLORS)), _COLORS[:, i]) for i in range(3)]
        colors = np.stack(channels, -1)[::-1].round().astype(np.uint8)
        image = Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)
        draw, reach = ImageDraw.Draw(image), cell_px // 3
        step = float(self.elevations_deg[1] - self.elevations_deg[0])
        for elevation_deg, azimuth_deg in marks:
            column = (azimuth_deg + 180.0) % 360.0 / 360.0 * size[0] + cell_px / 2
            row = (
                size[1]
                - cell_px / 2
                - (elevation_deg - float(self.elevations_deg[0])) / step * (cell_px)
            )
            for way in (1, -1):
                ends = [(column - reach, row - way * reach), (column + reach, row + way * reach)]
                draw.line(ends, fill=(0, 200, 120), width=max(2, cell_px // 8))
        return image


def empty_landscape() -> Landscape:
    """Return the table of all cameras that are asked about, its losses 0."""
    azimuths = torch.arange(AZIMUTHS) * (360.0 / AZIMUTHS) - 180.0
    elevations = torch.tensor(ELEVATIONS_DEG)
    return Landscape(torch.zeros(len(elevations), AZIMUTHS), elevations, azimuths)


def landscape(
    pipe: Zero123Pipeline,
    source: Photo,
    target: Photo,
    noises: Sequence[Draw],
    source_elevation_deg: float = 0.0,
    max_batch_size: int = 8,
) -> Landscape:
    """Compute the loss of the target photo over the sphere about the source's camera.

    Args:
        source_elevation_deg: of the source's camera, for models that are conditioned on it.

    Raises:
        NotFiniteError: a loss is NaN or infinite.
    """
    empty = empty_landscape()
    here = torch.tensor([source_elevation_deg, 0.0, 0.0])
    steps = empty.cameras()
    with torch.no_grad():
        found = pose_losses(
            pipe, source, target, here.expand_as(steps), here + steps, noises, max_batch_size
        ).cpu()
    return empty.of(found)


def turn_deg(a: Tensor, b: Tensor, elevation_deg: float) -> Tensor:
    """Return the angle ``[...]`` in degrees of the rotation between two cameras.

    Args:
        a, b: relative cameras ``[..., 3]``.
        elevation_deg: of the camera that they are relative to.
    """

    def rotation(camera: Tensor) -> Tensor:
        elevation, azimuth, _ = camera.double().unbind(-1)
        return spherical_to_camera(elevation + elevation_deg, azimuth, torch.ones_like(azimuth))

    return rotation_angle_deg(rotation(a)[..., :3, :3], rotation(b)[..., :3, :3])
