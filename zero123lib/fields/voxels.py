"""A radiance field of two dense grids of voxels: density and a colour that all sides share.

As in direct voxel grids (Sun et al. 2022, "Direct Voxel Grid Optimization", section 4): raw values
are interpolated linearly and activated afterwards, so that a surface can be sharper than a cell.
Views of generated images agree on no gloss, so a colour does not depend on the direction.

Nodes form a lattice of R along each axis of the cube, the first and last of which lie on its faces.
Grids ``[1, channels, X, Y, Z]`` hold a box of it, by default all, outside which the field is empty.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Bounds = Literal["unit", "none"]
Box = tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass(frozen=True)
class VoxelSettings:
    """What, besides the weights, makes a field.

    Attributes:
        resolution: R, nodes along each axis of the cube, at least 2.
        half_extent: half the side of the cube, world units.
        channels: of the colour.
        bounds: ``"unit"`` keeps colours in [0, 1] by a sigmoid; ``"none"`` leaves them as they
            are, for latents.
        density_unit: density per world unit at which an activated value is 1.
        initial_density: per world unit, everywhere in the box.
        box: the first and last node along each axis, ``((x0, y0, z0), (x1, y1, z1))``, that the
            grids hold; None is the whole cube.
    """

    resolution: int = 64
    half_extent: float = 0.6
    channels: int = 3
    bounds: Bounds = "unit"
    density_unit: float = 64.0
    initial_density: float = 0.1
    box: Box | None = None

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
        if self.box is not None and not all(
            0 <= low < high < self.resolution for low, high in zip(*self.box, strict=True)
        ):
            raise ValueError(
                f"box: expected ascending nodes below {self.resolution}, got {self.box}"
            )

    @property
    def first_node(self) -> tuple[int, int, int]:
        """Return the number of the grids' first node along each axis."""
        return (0, 0, 0) if self.box is None else self.box[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Count the nodes that the grids hold along each axis."""
        if self.box is None:
            return self.resolution, self.resolution, self.resolution
        x, y, z = (high - low + 1 for low, high in zip(*self.box, strict=True))
        return x, y, z


class VoxelField(nn.Module):
    """See the top of the module. ``state_dict()`` and ``settings`` rebuild it.

    Attributes:
        raw_density: ``[1, 1, X, Y, Z]``; density is ``density_unit * softplus(raw)``.
        raw_color: ``[1, C, X, Y, Z]``.
    """

    def __init__(self, settings: VoxelSettings | None = None) -> None:
        super().__init__()
        self.settings = settings or VoxelSettings()
        side = self.settings.shape
        raw = self.raw_of(torch.tensor(self.settings.initial_density))
        self.raw_density = nn.Parameter(raw.expand(1, 1, *side).clone())
        self.raw_color = nn.Parameter(torch.zeros(1, self.settings.channels, *side))

    @property
    def half_extent(self) -> float:
        """Return half the side of the cube."""
        return self.settings.half_extent

    @property
    def resolution(self) -> int:
        """Count the nodes along each axis."""
        return self.settings.resolution

    @property
    def cell(self) -> float:
        """Return the side of a cell, world units."""
        return 2 * self.half_extent / (self.resolution - 1)

    def raw_of(self, density: Tensor) -> Tensor:
        """Return the raw values of densities > 0 per world unit."""
        value = density / self.settings.density_unit
        return value + torch.log(-torch.expm1(-value))

    def nodes(self) -> Tensor:
        """Tell where the grids' nodes are, ``[X, Y, Z, 3]``."""
        ticks = [
            (low + torch.arange(count).double()) * self.cell - self.half_extent
            for low, count in zip(self.settings.first_node, self.settings.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*ticks, indexing="ij"), -1).to(self.raw_density)

    def density(self, points: Tensor) -> Tensor:
        """Return densities per world unit ``[...]`` at points ``[..., 3]``; 0 outside the box."""
        places = self._places(points)
        raw = self._at(self.raw_density, places)[..., 0]
        # A rounding error outwards is still inside: a ray's ends lie on the faces.
        inside = places.detach().abs().amax(-1) <= 1 + 1e-5
        return self.settings.density_unit * functional.softplus(raw) * inside

    def color(self, points: Tensor) -> Tensor:
        """Return colours ``[..., C]`` at points ``[..., 3]``."""
        raw = self._at(self.raw_color, self._places(points))
        return torch.sigmoid(raw) if self.settings.bounds == "unit" else raw

    def upsampled(self, resolution: int) -> VoxelField:
        """Return the same field on another lattice, interpolated; the old one stays.

        The box grows to whole cells of the new lattice.
        """
        return self._resampled(replace(self.settings, resolution=resolution, box=None), self.box)

    def cropped(self, low: Tensor, high: Tensor) -> VoxelField:
        """Return what is in a box of corners ``[3]``, grown to whole cells; the old field stays."""
        return self._resampled(replace(self.settings, box=None), (low, high))

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """Return the corners ``[3]`` of what the grids cover, world, double precision."""
        low = torch.tensor(self.settings.first_node).double()
        high = low + torch.tensor(self.settings.shape) - 1
        return low * self.cell - self.half_extent, high * self.cell - self.half_extent

    def _resampled(self, cube: VoxelSettings, box: tuple[Tensor, Tensor]) -> VoxelField:
        last = cube.resolution - 1
        cell = 2 * self.half_extent / last
        low, high = ((corner + self.half_extent) / cell for corner in box)
        first = (low + 1e-3).floor().clamp(0, last - 1).int()
        after = torch.maximum((high - 1e-3).ceil().clamp(1, last).int(), first + 1)
        new = VoxelField(replace(cube, box=(tuple(first.tolist()), tuple(after.tolist()))))
        new.to(self.raw_density.device, self.raw_density.dtype)
        with torch.no_grad():
            places = self._places(new.nodes())
            for name, grid in self.named_parameters():
                values = self._at(grid, places).movedim(-1, 0)
                new.get_parameter(name).copy_(values[None])
        return new

    def extra_repr(self) -> str:
        """Return the settings, for printing."""
        return ", ".join(f"{name}={value}" for name, value in asdict(self.settings).items())

    def _places(self, points: Tensor) -> Tensor:
        """World points ``[..., 3]`` where grid_sample has them: the box is [-1, 1]^3."""
        low, high = (corner.to(points) for corner in self.box)
        return (points - (low + high) / 2) * (2 / (high - low))

    def _at(self, grid: Tensor, places: Tensor) -> Tensor:
        """Return a grid interpolated linearly at places ``[..., 3]``, ``[..., channels]``."""
        # grid_sample names the last axis first.
        values = functional.grid_sample(
            grid,
            places.flip(-1).reshape(1, 1, 1, -1, 3).to(grid),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        )
        return values.reshape(grid.shape[1], -1).T.reshape(*places.shape[:-1], grid.shape[1])
