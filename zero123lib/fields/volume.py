"""Volume rendering of anything that has a density and a colour.

World: z-up; a field fills the cube [-half_extent, half_extent]^3 and is empty outside it. Axes:
N rays, S samples along each, C colour channels. A ray is cut into S intervals with edges
``[N, S + 1]``; density and colour are taken as constant within one, so that its optical depth is
density times width and a uniform density is integrated exactly. Distances are world units along
unit directions, densities per world unit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.sampling import (
    cube_spans,
    exclusive_cumsum,
    importance_edges,
    places_within,
    ray_weights,
    spread_weights,
    uniform_edges,
)
from zero123lib.views.cameras import FOV_DEG, rays

# Four corners of a cube that form a regular tetrahedron: the fewest points that give a gradient.
_TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0), (1.0, 1.0, 1.0))
_NORMAL_STEPS = 64  # a normal looks this share of half the cube to each side


class RadianceField(Protocol):
    """Describes what can be rendered."""

    @property
    def half_extent(self) -> float:
        """Return half the side of the cube that holds everything."""
        ...

    def density(self, points: Tensor) -> Tensor:
        """Return densities per world unit, >= 0, ``[...]``, at points ``[..., 3]``."""
        ...

    def color(self, points: Tensor) -> Tensor:
        """Return colours in [0, 1], ``[..., C]``, at points ``[..., 3]``."""
        ...


@dataclass(frozen=True, eq=False)
class Rendering:
    """Holds what N rays see.

    Attributes:
        rgb: ``[N, C]`` over the background.
        opacity: ``[N]`` in [0, 1].
        depth: ``[N]``, the mean distance at which light ends, what passes the cube ending where
            the ray leaves it; for a ray that misses the cube, where it comes nearest the origin.
        normals: ``[N, 3]``, the mean normal over what the ray sees, of length at most 1, zero
            where it sees nothing; None unless asked for.
        weights: ``[N, S]``, each sample's share of the image; they sum to the opacity.
        positions: ``[N, S]`` distances of the samples.
        widths: ``[N, S]`` of their intervals.
        points: ``[N, S, 3]``.
        densities: ``[N, S]``; 0 where the occupancy grid is empty.
        sample_normals: ``[N, S, 3]`` of length 1, zero where not evaluated; None unless asked for.
    """

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None
    weights: Tensor
    positions: Tensor
    widths: Tensor
    points: Tensor
    densities: Tensor
    sample_normals: Tensor | None


@dataclass(frozen=True, eq=False)
class View:
    """Holds what a camera sees: as in :class:`Rendering`, with ``[H, W]`` in place of ``[N]``."""

    rgb: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None


def render(
    field: RadianceField,
    origins: Tensor,
    directions: Tensor,
    *,
    samples: int = 96,
    fine_samples: int = 0,
    background: Tensor | float = 1.0,
    occupancy: OccupancyGrid | None = None,
    spans: tuple[Tensor, Tensor] | None = None,
    generator: torch.Generator | None = None,
    normals: bool = False,
    normal_step: float | None = None,
    negligible: float = 0.0,
) -> Rendering:
    """Render emission and absorption along rays (Max 1995; Mildenhall et al. 2020, equation 3).

    Args:
        field: see :class:`RadianceField`.
        origins: ``[N, 3]``.
        directions: ``[N, 3]`` of length 1.
        samples: equal intervals of each ray's way through the cube.
        fine_samples: further edges, drawn where a first pass without gradient sees something.
        background: a grey, ``[C]`` or ``[N, C]``.
        occupancy: where it is empty the field is taken as empty without asking it. What this
            changes is bounded, see :meth:`OccupancyGrid.of`.
        spans: entry and exit ``[N]`` of each ray in place of those of the cube.
        generator: draws a place within each interval; None takes the midpoints.
        normals: also the normals, from the density's gradient.
        normal_step: reach of the finite differences, see :func:`density_gradient`.
        negligible: what lies behind opacity 1 - this is left out, which changes opacities and
            colours by at most this; samples of less weight than this get neither colour nor
            normal, and show the background in its place, which changes colours by at most S times
            this.

    Raises:
        ValueError: shapes that do not fit, or fewer than one sample.
    """
    _check(origins, directions, samples, fine_samples)
    near, far = spans or cube_spans(origins, directions, field.half_extent)
    edges = uniform_edges(near, far, samples)
    if fine_samples:
        with torch.no_grad():
            coarse = _sampled(field, origins, directions, edges, occupancy, negligible, None)
        fine = importance_edges(edges, spread_weights(coarse.weights), fine_samples, generator)
        edges = torch.cat([edges, fine], -1).sort(-1).values
    sampled = _sampled(field, origins, directions, edges, occupancy, negligible, generator)
    weights, points = sampled.weights, sampled.points
    if occupancy is None and negligible == 0:
        seen = None
    else:
        seen = (weights.detach() > negligible).flatten().nonzero()[:, 0]
    colors = _scattered(field.color, points, seen)
    kept = weights
    if negligible > 0:
        kept = torch.where(weights.detach() > negligible, weights, 0.0)
    behind = torch.as_tensor(background, dtype=colors.dtype, device=colors.device)
    rgb = (kept[..., None] * colors).sum(-2) + (1 - kept.sum(-1))[..., None] * behind
    opacity = -torch.expm1(-sampled.optical_depth)
    depth = (weights * sampled.positions).sum(-1) + (1 - opacity) * far
    sample_normals = mean_normals = None
    if normals:
        step = normal_step or field.half_extent / _NORMAL_STEPS
        sample_normals = _scattered(lambda p: density_normals(field, p, step), points, seen)
        mean_normals = (kept[..., None] * sample_normals).sum(-2)
    return Rendering(
        rgb,
        opacity,
        depth,
        mean_normals,
        weights,
        sampled.positions,
        edges.diff(dim=-1),
        points,
        sampled.densities,
        sample_normals,
    )


def render_camera(
    field: RadianceField,
    camera_to_world: Tensor,
    size: int,
    fov_deg: float = FOV_DEG,
    *,
    chunk: int = 8192,
    background: Tensor | float = 1.0,
    **options,
) -> View:
    """Render a square image of a field.

    Args:
        camera_to_world: OpenGL, ``[4, 4]``.
        size: pixels H = W.
        chunk: rays at once; bounds the memory where no gradient is kept.
        background: a grey or ``[C]``.
        options: as :func:`render` takes them.
    """
    origins, directions = (part.reshape(-1, 3) for part in rays(camera_to_world, size, fov_deg))
    parts = [
        render(field, o, d, background=background, **options)
        for o, d in zip(origins.split(chunk), directions.split(chunk), strict=True)
    ]

    def joined(values: list[Tensor]) -> Tensor:
        whole = torch.cat(values)
        return whole.reshape(size, size, *whole.shape[1:])

    normals = [part.normals for part in parts if part.normals is not None]
    return View(
        joined([part.rgb for part in parts]),
        joined([part.opacity for part in parts]),
        joined([part.depth for part in parts]),
        joined(normals) if normals else None,
    )


def density_gradient(field: RadianceField, points: Tensor, step: float) -> Tensor:
    """Return the density's gradient ``[..., 3]`` at points ``[..., 3]``, by differences.

    Of four points around each, exact where the density is linear. Differences, and not autograd,
    so that a loss on normals needs first derivatives alone, which every field has.
    """
    corners = points.new_tensor(_TETRAHEDRON)
    around = points[..., None, :] + step * corners
    return (field.density(around)[..., None] * corners).sum(-2) / (4 * step)


def density_normals(field: RadianceField, points: Tensor, step: float) -> Tensor:
    """Return outward unit normals ``[..., 3]``, minus the density's direction of increase.

    Zero, with zero gradient, where the density does not change.
    """
    down = -density_gradient(field, points, step)
    square = down.square().sum(-1, keepdim=True)
    flat = square <= torch.finfo(square.dtype).tiny
    return torch.where(flat, 0.0, down * torch.rsqrt(torch.where(flat, 1.0, square)))


@dataclass(frozen=True, eq=False)
class _Sampled:
    positions: Tensor
    points: Tensor
    densities: Tensor
    weights: Tensor
    optical_depth: Tensor


def _sampled(
    field: RadianceField,
    origins: Tensor,
    directions: Tensor,
    edges: Tensor,
    occupancy: OccupancyGrid | None,
    negligible: float,
    generator: torch.Generator | None,
) -> _Sampled:
    widths = edges.diff(dim=-1)
    positions = edges[:, :-1] + widths * places_within(widths, generator)
    points = origins[:, None] + positions[..., None] * directions[:, None]
    kept = None
    if occupancy is not None:
        kept = occupancy.occupied(points).flatten().nonzero()[:, 0]
    if negligible > 0 and torch.is_grad_enabled():
        # Most samples are hidden, and a gradient costs several times as much as a value.
        with torch.no_grad():
            values = _scattered(field.density, points, kept)
            before = exclusive_cumsum((values * widths).cumsum(-1))
            visible = before < -math.log(negligible)
        kept = (visible & (values > 0)).flatten().nonzero()[:, 0]
    densities = _scattered(field.density, points, kept)
    weights, optical_depth = ray_weights(densities, widths)
    return _Sampled(positions, points, densities, weights, optical_depth)


def _scattered(function: Callable[[Tensor], Tensor], points: Tensor, kept: Tensor | None) -> Tensor:
    """Return ``function`` at points ``[N, S, 3]``, at the flat places ``kept`` alone, elsewhere
    zero."""
    if kept is None:
        return function(points)
    values = function(points.reshape(-1, 3).index_select(0, kept))
    shape = (points.shape[0] * points.shape[1], *values.shape[1:])
    whole = values.new_zeros(shape).index_copy(0, kept, values)
    return whole.reshape(*points.shape[:2], *values.shape[1:])


def _check(origins: Tensor, directions: Tensor, samples: int, fine_samples: int) -> None:
    for name, value in (("origins", origins), ("directions", directions)):
        if value.ndim != 2 or value.shape[-1] != 3:
            raise ValueError(f"{name}: expected [N, 3], got {list(value.shape)}")
    if origins.shape != directions.shape:
        raise ValueError(
            f"directions: expected one per origin ({len(origins)}), got {len(directions)}"
        )
    if samples < 1 or fine_samples < 0 or not math.isfinite(samples):
        raise ValueError(
            f"samples, fine_samples: expected at least 1 and 0, got {samples}, {fine_samples}"
        )
