"""Densities of procedural scenes as a fitted field has them: on a grid, noisy, with floaters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zero123lib.scenes import Scene, random_scene
from zero123lib.scenes.primitives import half_extents, inside

HALF_EXTENT = 0.6
_FINER = 2


@dataclass(frozen=True)
class SceneField:
    """A density and the volume of the scene that it is of."""

    density: Callable[[Tensor], Tensor]
    volume: float
    scene: Scene


def scene_field(
    seed: int, grid: int, *, peak: float = 60.0, noise: float = 0.0, floaters: int = 0
) -> SceneField:
    """The density of a random scene on a grid of nodes, between which it is trilinear.

    Args:
        grid: nodes along the side of the cube of half-width 0.6.
        peak: density inside.
        noise: as a share of `peak`: density at all nodes is off by up to this much, above 0.
        floaters: small balls in empty space, of any density up to the peak.
    """
    scene = random_scene(seed)
    filled = share_inside(scene, grid)
    rng = np.random.default_rng(seed)
    density, far = peak * filled, ~_dilated(filled > 0.0, 3)
    for _ in range(floaters):
        middle = torch.tensor(rng.uniform(-0.55, 0.55, 3), dtype=torch.float32)
        radius = rng.uniform(0.01, 0.04)
        ball = (_nodes(grid) - middle).norm(dim=-1) < radius
        density = torch.where(ball & far, rng.uniform(0.3, 1.0) * peak, density)
    generator = torch.Generator().manual_seed(seed)
    density += noise * peak * (2.0 * torch.rand(density.shape, generator=generator) - 1.0)
    density = density.clamp(min=0.0)
    cell = 2.0 * HALF_EXTENT / (grid - 1)

    def at(points: Tensor) -> Tensor:
        # grid_sample wants z, y, x of a volume laid out x, y, z.
        where = (points / HALF_EXTENT).flip(-1).reshape(1, -1, 1, 1, 3)
        return F.grid_sample(density[None, None], where, align_corners=True).flatten()

    return SceneField(at, float(filled.sum()) * cell**3, scene)


def share_inside(scene: Scene, grid: int) -> Tensor:
    """How much of the cell around each node lies within the object, ``[grid, grid, grid]``."""
    fine = grid * _FINER
    cell = 2.0 * HALF_EXTENT / (grid - 1)
    axis = ((torch.arange(fine) + 0.5) / _FINER - 0.5) * cell - HALF_EXTENT
    within = torch.zeros(fine, fine, fine, dtype=torch.bool)
    for part in scene.parts:
        low, high = half_extents(part.solid, part.shape, part.matrix)
        first = np.searchsorted(axis.numpy(), low + part.offset)
        last = np.searchsorted(axis.numpy(), high + part.offset, side="right")
        spans = [slice(int(a), int(b)) for a, b in zip(first, last, strict=True)]
        points = torch.cartesian_prod(*[axis[span] for span in spans]).reshape(-1, 3)
        found = inside(part.solid, part.shape, part.to_canonical(points))
        within[tuple(spans)] |= found.reshape(within[tuple(spans)].shape)
    return F.avg_pool3d(within[None, None].float(), _FINER)[0, 0]


def _nodes(grid: int) -> Tensor:
    axis = torch.linspace(-HALF_EXTENT, HALF_EXTENT, grid)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def _dilated(mask: Tensor, cells: int) -> Tensor:
    wide = F.max_pool3d(mask[None, None].float(), 2 * cells + 1, stride=1, padding=cells)
    return wide[0, 0] > 0.0
