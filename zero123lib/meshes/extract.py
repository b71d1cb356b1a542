"""The surface of a density: marching cubes at a level of its own finding, slab by slab.

scikit-image decides how the surface runs through each cell (Lewiner et al. 2003); where it crosses
an edge of the grid is computed here, once per edge, from the densities at its ends. So a slab's
vertices are its neighbour's to the bit, whatever the slabs' thickness. The grid is closed with
empty space: the surface has no border, and the object is cut off flat where it leaves the cube.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.materials import PLAIN
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.normals import smooth_normals

DensityFn = Callable[[Tensor], Tensor]

HALF_EXTENT = 0.6
MAX_RESOLUTION = 1024

# The level is found on this grid, whatever the resolution.
_LEVEL_GRID = 64
# Density beyond what makes this share of the cube's half-width opaque to 98 % tells no more about
# where the surface is; some fields grow without bound inside.
_SKIN, _OPAQUE = 0.02, 4.0
_LEVEL_STEPS = 100
# Points that the density is asked at once.
_CHUNK = 2**18
# A vertex keeps this share of an edge's length away from its ends: where a density is just the
# level, triangles would lose their area otherwise, and vertices their identity when a file is read.
_KEEP = 0.01
# The same for what scikit-image sees, wider, so that its float32 tells which edge a vertex is on.
_SHOWN = 0.02


@dataclass(frozen=True)
class _Grid:
    """``resolution`` nodes along each side of the cube, and one of empty space around them."""

    half_extent: float
    resolution: int
    level: float

    @property
    def nodes(self) -> int:
        return self.resolution + 2

    @property
    def axis(self) -> np.ndarray:
        """Return the nodes' positions, float64 ``[nodes]``; the empty ones stand a cell outside."""
        cell = 2.0 * self.half_extent / (self.resolution - 1)
        return (np.arange(self.nodes) - 1) * cell - self.half_extent


def extract(
    density_fn: DensityFn,
    *,
    half_extent: float = HALF_EXTENT,
    resolution: int = 128,
    level: str | float = "auto",
    block: int = 64,
    device: torch.device | str = "cpu",
) -> Mesh:
    """Return the closed surface where a density reaches a level: `extraction` in one go.

    Args:
        density_fn: densities ``[N]``, at least 0, of float32 points ``[N, 3]``.
        half_extent: half the width of the cube that is looked at, centred at the origin.
        resolution: grid nodes along its side, 2 to `MAX_RESOLUTION`.
        level: a density above 0, or "auto": see `find_level`.
        block: grid cells that a slab is thick; memory grows with it, the result is the same.
        device: where the points lie that the density is asked for.

    Returns:
        float32 vertices, faces counter-clockwise seen from outside, smooth normals, grey. `info`
        has the "level".

    Raises:
        ValueError: an argument is out of range, a density is not finite or below 0, or no density
            reaches the level.
    """
    *_, (_, _, mesh) = extraction(
        density_fn,
        half_extent=half_extent,
        resolution=resolution,
        level=level,
        block=block,
        device=device,
    )
    assert mesh is not None
    return mesh


def extraction(
    density_fn: DensityFn,
    *,
    half_extent: float = HALF_EXTENT,
    resolution: int = 128,
    level: str | float = "auto",
    block: int = 64,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[int, int, Mesh | None]]:
    """Do as `extract` does step by step: yield slabs done, slabs in all, and at last the mesh."""
    if not 0.0 < half_extent < math.inf:
        raise ValueError(f"half_extent: expected a finite width above 0, got {half_extent:g}")
    for name, value, low in (("resolution", resolution, 2), ("block", block, 1)):
        if not low <= value <= MAX_RESOLUTION:
            raise ValueError(f"{name}: expected {low} to {MAX_RESOLUTION}, got {value}")
    ask = _asked(density_fn, device)
    if level == "auto":
        level = find_level(ask, half_extent)
    if isinstance(level, str) or not 0.0 < level < math.inf:
        raise ValueError(f"level: expected a finite density above 0, or 'auto', got {level!r}")
    # In float32 as the densities are, so that all agree on which side of it they are.
    grid = _Grid(half_extent, resolution, float(np.float32(level)))
    firsts = range(0, grid.nodes - 1, block)
    pieces = []
    last, highest = None, 0.0
    for done, first in enumerate(firsts, start=1):
        stop = min(first + block, grid.nodes - 1) + 1
        slab = np.empty((stop - first, grid.nodes, grid.nodes), np.float32)
        for x in range(first, stop):
            # The plane between two slabs is asked for once: it is the same to the bit in both.
            known = x == first and last is not None
            slab[x - first] = last if known else _plane(ask, grid, x)
        last, highest = slab[-1].copy(), max(highest, float(slab.max()))
        piece = _march(slab, first, grid)
        if piece is not None:
            pieces.append(piece)
        if done < len(firsts):
            yield done, len(firsts), None
    if not pieces:
        raise ValueError(
            f"level: expected one that the density reaches, got {grid.level:g} where it is at most "
            f"{highest:g}"
        )
    yield len(firsts), len(firsts), _weld(pieces, grid)


def _asked(density_fn: DensityFn, device: torch.device | str) -> DensityFn:
    def ask(points: Tensor) -> Tensor:
        return density_fn(points.to(device)).detach().float().cpu()

    return ask


def find_level(density_fn: DensityFn, half_extent: float = HALF_EXTENT) -> float:
    """Return the density halfway between that of empty and that of filled space.

    The two are the means of what is below and above the level, found by turns (Ridler and Calvard
    1978, "Image thresholding using an iterative selection method") on a grid of 64^3 over the
    cube. Densities count up to one that makes a skin of 1 % of the cube's width opaque to 98 %:
    fields that grow without bound inside are cut where they become opaque.

    Raises:
        ValueError: a density is not finite or below 0, or it is the same everywhere.
    """
    grid = _Grid(half_extent, _LEVEL_GRID, 0.0)
    planes = [_plane(density_fn, grid, x)[1:-1, 1:-1] for x in range(1, _LEVEL_GRID + 1)]
    values = np.stack(planes).ravel().astype(np.float64).clip(max=_OPAQUE / (_SKIN * half_extent))
    low, high = float(values.min()), float(values.max())
    if not high > low:
        raise ValueError(f"density_fn: expected an object, got a density of {low:g} everywhere")
    level = 0.5 * (low + high)
    for _ in range(_LEVEL_STEPS):
        above = values >= level
        found = 0.5 * (float(values[above].mean()) + float(values[~above].mean()))
        if abs(found - level) < 1e-6 * level:
            break
        level = found
    return level


def _plane(density_fn: DensityFn, grid: _Grid, x: int) -> np.ndarray:
    """Return the densities ``[nodes, nodes]`` of a plane across x, 0 around the cube."""
    plane = np.zeros((grid.nodes, grid.nodes), np.float32)
    if x in (0, grid.nodes - 1):
        return plane
    axis = torch.from_numpy(grid.axis[1:-1].astype(np.float32))
    y, z = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([torch.full_like(y, float(axis[x - 1])), y, z], dim=-1).reshape(-1, 3)
    with torch.no_grad():
        parts = [density_fn(chunk) for chunk in points.split(_CHUNK)]
    density = torch.cat(parts)
    if density.shape != (len(points),):
        raise ValueError(
            f"density_fn: expected a density for each of {len(points)} points, got shape "
            f"{list(density.shape)}"
        )
    if not bool(torch.isfinite(density).all()) or bool((density < 0.0).any()):
        raise ValueError("density_fn: expected finite densities of at least 0, got others")
    plane[1:-1, 1:-1] = density.reshape(y.shape).numpy()
    return plane


def _march(slab: np.ndarray, first: int, grid: _Grid) -> tuple[np.ndarray, ...] | None:
    """Return the surface in one slab: what each vertex is (see `_key`), where it is, and the
    faces."""
    from skimage.measure import marching_cubes

    signed = slab - np.float32(grid.level)
    # Only the signs and rough sizes matter to how the surface runs; its positions come from `slab`.
    shown = np.clip(np.abs(signed) / np.float32(grid.level), _SHOWN, 1.0)
    np.negative(shown, out=shown, where=signed < 0.0)
    if shown.min() > 0.0 or shown.max() < 0.0:
        return None
    at, faces, _, _ = marching_cubes(shown, 0.0, gradient_direction="ascent")
    low = np.floor(at).astype(np.int64)
    within = at > low
    key = _key(low, within, first, grid)
    return key, _places(slab, at, low, within, first, grid), faces.astype(np.int64)


def _key(low: np.ndarray, within: np.ndarray, first: int, grid: _Grid) -> np.ndarray:
    """Return a number for the edge or cell that a vertex is in: that of its lowest node, and its
    axes."""
    x, y, z = low.T
    node = ((x + first) * grid.nodes + y) * grid.nodes + z
    return node * 8 + within @ np.array([1, 2, 4])


def _places(
    slab: np.ndarray, at: np.ndarray, low: np.ndarray, within: np.ndarray, first: int, grid: _Grid
) -> np.ndarray:
    """Return positions ``[N, 3]`` in the world, float64, from the densities alone."""
    axis, cell = grid.axis, grid.axis[1] - grid.axis[0]
    positions = np.stack([axis[low[:, 0] + first], axis[low[:, 1]], axis[low[:, 2]]], axis=1)
    on_edge = within.sum(1) == 1
    start, along = low[on_edge], within[on_edge].astype(np.int64)
    end = start + along
    a, b = (slab[tuple(node.T)].astype(np.float64) - grid.level for node in (start, end))
    share = np.clip(a / (a - b), _KEEP, 1.0 - _KEEP)
    # An edge that leaves the cube is crossed where it leaves it.
    shift = np.array([first, 0, 0])
    share[(start + shift == 0).any(1)] = 1.0 - _KEEP
    share[(end + shift == grid.nodes - 1).any(1)] = _KEEP
    positions[on_edge] += share[:, None] * along * cell
    # The few others are in the middle of a cell whose surface is a saddle.
    positions[~on_edge] += _middles(slab, low[~on_edge], grid) * cell
    return positions


def _middles(slab: np.ndarray, low: np.ndarray, grid: _Grid) -> np.ndarray:
    """Return where in cells ``[N, 3]`` the middle vertex stands: nearer to corners close to the
    level."""
    corners = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1).T
    nodes = low[:, None] + corners
    signed = slab[tuple(np.moveaxis(nodes, -1, 0))].astype(np.float64) - grid.level
    weights = 1.0 / np.clip(np.abs(signed) / grid.level, _SHOWN, 1.0)
    return (weights[..., None] * corners).sum(1) / weights.sum(1, keepdims=True)


def _weld(pieces: list[tuple[np.ndarray, ...]], grid: _Grid) -> Mesh:
    """Return one mesh of the slabs' surfaces, vertices in the order of their edges in the grid."""
    sizes = np.cumsum([0, *(len(key) for key, _, _ in pieces)])
    _, firsts, number = np.unique(
        np.concatenate([key for key, _, _ in pieces]), return_index=True, return_inverse=True
    )
    positions = np.concatenate([positions for _, positions, _ in pieces])[firsts]
    faces = np.concatenate(
        [number[faces + first] for (_, _, faces), first in zip(pieces, sizes, strict=False)]
    )
    vertices, indices = torch.from_numpy(positions.astype(np.float32)), torch.from_numpy(faces)
    return Mesh(
        vertices,
        indices,
        (Material(color=PLAIN),),
        normals=smooth_normals(vertices, indices),
        info={"level": f"{grid.level:g}"},
    )
