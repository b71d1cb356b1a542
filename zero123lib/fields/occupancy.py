"""Where a field can be anything but empty: a grid of cells, for skipping the rest.

Cells ``[R, R, R]`` are indexed [x, y, z] and fill the field's cube; nodes are their corners,
``[R + 1, R + 1, R + 1]``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_BLOCK = 1 << 18


@dataclass(frozen=True, eq=False)
class OccupancyGrid:
    """Says which cells of the cube may hold something.

    Attributes:
        cells: boolean ``[R, R, R]``.
        half_extent: half the side of the cube.
    """

    cells: Tensor
    half_extent: float

    @staticmethod
    def of(
        density: Callable[[Tensor], Tensor],
        half_extent: float,
        resolution: int,
        least_density: float,
        *,
        finer: int = 1,
        device: torch.device | str = "cpu",
    ) -> OccupancyGrid:
        """Return the cells that have a node of more than ``least_density``.

        Where the density within a cell never exceeds its largest at the nodes, as for a voxel
        field whose own nodes are among them, what is skipped has at most ``least_density``: over a
        chord of length L this changes a ray's optical depth by at most ``least_density * L``, and
        its opacity and colours by at most ``1 - exp(-least_density * L)``. Nothing is changed by
        skipping at ``least_density=0``.

        Args:
            density: per world unit ``[...]`` of points ``[..., 3]``.
            resolution: R.
            finer: looks at this many times more nodes along each axis.
            device: of the points that the density is asked at, and so of the cells.
        """
        nodes = evaluate(density, lattice(resolution * finer + 1, half_extent).to(device))
        most = functional.max_pool3d(nodes[None, None], finer + 1, stride=finer)[0, 0]
        return OccupancyGrid(most > least_density, half_extent)

    def occupied(self, points: Tensor) -> Tensor:
        """Tell whether points ``[..., 3]`` lie in an occupied cell; boolean ``[...]``.

        Points outside the cube count as in its nearest cell, since rays end on its faces.
        """
        count = self.cells.shape[0]
        scale = count / (2 * self.half_extent)
        cells = (points * scale).add_(count / 2).clamp_(0, count - 0.5).int()
        flat = (cells[..., 0] * count).add_(cells[..., 1]).mul_(count).add_(cells[..., 2])
        return self.cells.flatten().index_select(0, flat.flatten()).reshape(flat.shape)

    def dilated(self, cells: int = 1) -> OccupancyGrid:
        """Grow by a number of cells to every side, corners included."""
        grown = functional.max_pool3d(
            self.cells[None, None].float(), 2 * cells + 1, stride=1, padding=cells
        )
        return OccupancyGrid(grown[0, 0] > 0, self.half_extent)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Return the corners ``[3]`` of the least box around occupied cells; the cube's if none."""
        count = self.cells.shape[0]
        low, high = torch.zeros(3), torch.full((3,), float(count))
        occupied = self.cells.nonzero()
        if len(occupied):
            low, high = occupied.amin(0), occupied.amax(0) + 1
        cell = 2 * self.half_extent / count
        return low * cell - self.half_extent, high * cell - self.half_extent

    def coarser(self, resolution: int) -> OccupancyGrid:
        """Return a grid of fewer cells, each occupied where any that it touches is."""
        most = functional.adaptive_max_pool3d(self.cells[None].float(), resolution)[0]
        return OccupancyGrid(most > 0, self.half_extent)

    def spans(
        self, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Tell where rays ``[N, 3]`` first enter and last leave what is occupied, each ``[N]``.

        By marching in steps of half a cell, so that a corner which a ray cuts by less may be
        missed; both ends are widened by a step. A ray that meets nothing has both at ``near``.

        Args:
            near, far: ``[N]``, within which to look.
        """
        step = self.half_extent / self.cells.shape[0]
        if not len(near):
            return near, far
        count = max(int(((far - near).amax() / step).ceil()), 1)
        starts, ends = [], []
        places = torch.arange(count, dtype=near.dtype, device=near.device) + 0.5
        rays_at_once = max(_BLOCK // count, 1)
        for o, d, n, f in zip(
            *(part.split(rays_at_once) for part in (origins, directions, near, far)), strict=True
        ):
            at = n[:, None] + step * places
            hit = self.occupied(o[:, None] + at[..., None] * d[:, None]) & (at < f[:, None])
            met = hit.any(-1)
            first = hit.int().argmax(-1)
            last = count - 1 - hit.flip(-1).int().argmax(-1)
            starts.append(torch.where(met, torch.maximum(n + (first - 0.5) * step, n), n))
            ends.append(torch.where(met, torch.minimum(n + (last + 1.5) * step, f), n))
        return torch.cat(starts), torch.cat(ends)


def lattice(count: int, half_extent: float, *, centers: bool = False) -> Tensor:
    """Return points ``[count, count, count, 3]`` over the cube, [x, y, z].

    Args:
        centers: the centres of ``count`` cells along each axis in place of ``count`` nodes, the
            first and last of which lie on the cube's faces.
    """
    if centers:
        ticks = ((torch.arange(count) + 0.5) / count * 2 - 1) * half_extent
    else:
        ticks = torch.linspace(-half_extent, half_extent, count)
    return torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), -1)


@torch.no_grad()
def evaluate(function: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """Evaluate ``function`` at points ``[..., 3]`` in blocks, without gradient."""
    parts = [function(block) for block in points.reshape(-1, 3).split(_BLOCK)]
    whole = torch.cat(parts)
    return whole.reshape(*points.shape[:-1], *whole.shape[1:])
