"""Fields whose images have a closed form."""

from __future__ import annotations

import torch
from torch import Tensor

RED = (0.9, 0.2, 0.1)


class Ball:
    """Uniform density within a radius, one colour."""

    def __init__(self, density: Tensor | float, radius: float = 0.4, half_extent: float = 0.6):
        self.uniform, self.radius, self.half_extent = density, radius, half_extent

    def density(self, points: Tensor) -> Tensor:
        return self.uniform * (points.norm(dim=-1) < self.radius).to(points)

    def color(self, points: Tensor) -> Tensor:
        return points.new_tensor(RED).expand(*points.shape[:-1], 3)


class Cube(Ball):
    """Uniform density throughout."""

    def density(self, points: Tensor) -> Tensor:
        return self.uniform * torch.ones_like(points[..., 0])


class SoftBall(Ball):
    """A density that falls smoothly from the middle, and colours that differ everywhere."""

    def density(self, points: Tensor) -> Tensor:
        return self.uniform * torch.sigmoid(20 * (self.radius - points.norm(dim=-1)))

    def color(self, points: Tensor) -> Tensor:
        return torch.sigmoid(4 * points)


def aimed_rays(count: int = 32, seed: int = 0, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Rays from all around at a distance of 1.85 to points near the middle, double precision."""
    random = torch.Generator().manual_seed(seed)
    origins = torch.randn(count, 3, generator=random, dtype=torch.float64)
    origins = 1.85 * origins / origins.norm(dim=-1, keepdim=True)
    targets = spread * (2 * torch.rand(count, 3, generator=random, dtype=torch.float64) - 1)
    directions = targets - origins
    return origins, directions / directions.norm(dim=-1, keepdim=True)
