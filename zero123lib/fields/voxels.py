"""A radiance field of two dense grids of voxels: density and a colour that all sides share.

As in direct voxel grids (Sun et al. 2022, "Direct Voxel Grid Optimization", section 4): raw values
are interpolated linearly and activated afterwards, so that a surface can be sharper than a cell.
Views of generated pictures agree on no gloss, so a colour does not depend on the direction.

Grids are ``[1, channels, R, R, R]`` of nodes indexed [x, y, z]; the first and last nodes lie on the
faces of the cube, outside which the field is empty.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Bounds = Literal["unit", "none"]


@dataclass(frozen=True)
class VoxelSettings:
    """What, besides the weights, makes a field.

    Attributes:
        resolution: R, nodes along each axis, at least 2.
        half_extent: half the side of the cube, world units.
        channels: of the colour.
        bounds: ``"unit"`` keeps colours in [0, 1] by a sigmoid; ``"none"`` leaves them as they
            are, for latents.
        density_unit: density per world unit at which an activated value is 1.
        initial_density: per world unit, everywhere.
    """

    resolution: int = 64
    half_extent: float = 0.6
    channels: int = 3
    bounds: Bounds = "unit"
    density_unit: float = 64.0
    initial_density: float = 0.1

    def __post_init__(self) -> None:
        for name, value, least in (
            ("resolution", self.resolution, 2),
            ("channels", self.channels, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: expected an integer of at least {least}, got {value!r}")
        for name in ("half_extent", "density_unit", "initial_density"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}: expected a positive number, got {value!r}")
        if self.bounds not in ("unit", "none"):
            raise ValueError(f"bounds: expected 'unit' or 'none', got {self.bounds!r}")


class VoxelField(nn.Module):
    """See the top of the module. ``state_dict()`` and ``settings`` rebuild it.

    Attributes:
        raw_density: ``[1, 1, R, R, R]``; density is ``density_unit * softplus(raw)``.
        raw_color: ``[1, C, R, R, R]``.
    """

    def __init__(self, settings: VoxelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or VoxelSettings()
        side = (self.settings.resolution,) * 3
        raw = self.raw_of(torch.tensor(self.settings.initial_density))
        self.raw_density = nn.Parameter(raw.expand(1, 1, *side).clone())
        self.raw_color = nn.Parameter(torch.zeros(1, self.settings.channels, *side))

    @property
    def half_extent(self) -> float:
        """Half the side of the cube."""
        return self.settings.half_extent

    @property
    def resolution(self) -> int:
        """Nodes along each axis."""
        return self.settings.resolution

    @property
    def cell(self) -> float:
        """Side of a cell, world units."""
        return 2 * self.half_extent / (self.resolution - 1)

    def raw_of(self, density: Tensor) -> Tensor:
        """The raw values of densities > 0 per world unit."""
        value = density / self.settings.density_unit
        return value + torch.log(-torch.expm1(-value))

    def density(self, points: Tensor) -> Tensor:
        """Per world unit ``[...]`` at points ``[..., 3]``; 0 outside the cube."""
        raw = self._at(self.raw_density, points)[..., 0]
        inside = (points.detach().abs() <= self.half_extent).all(-1)
        return self.settings.density_unit * functional.softplus(raw) * inside

    def color(self, points: Tensor) -> Tensor:
        """``[..., C]`` at points ``[..., 3]``."""
        raw = self._at(self.raw_color, points)
        return torch.sigmoid(raw) if self.settings.bounds == "unit" else raw

    def upsampled(self, resolution: int) -> VoxelField:
        """The same field on another number of nodes, interpolated; the old one stays."""
        new = VoxelField(replace(self.settings, resolution=resolution))
        new.to(self.raw_density.device, self.raw_density.dtype)
        with torch.no_grad():
            for name, grid in self.named_parameters():
                side = functional.interpolate(
                    grid, (resolution,) * 3, mode="trilinear", align_corners=True
                )
                new.get_parameter(name).copy_(side)
        return new

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return ", ".join(f"{name}={value}" for name, value in asdict(self.settings).items())

    def _at(self, grid: Tensor, points: Tensor) -> Tensor:
        """A grid interpolated linearly at points ``[..., 3]``, ``[..., channels]``."""
        # grid_sample names the last axis first.
        places = (points / self.half_extent).flip(-1).reshape(1, 1, 1, -1, 3)
        values = functional.grid_sample(
            grid, places.to(grid), mode="bilinear", padding_mode="border", align_corners=True
        )
        return values.reshape(grid.shape[1], -1).T.reshape(*points.shape[:-1], grid.shape[1])
