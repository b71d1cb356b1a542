"""First hits of rays with the canonical solids, in closed form wherever one exists.

Origins and directions ``[..., 3]`` broadcast against each other; rays start outside the solid
and directions need not be unit. Coordinates are taken apart, so tensors whose *last* axis is the
slowest in memory are the fastest. A miss is +inf. Square roots are taken of the absolute value
and their sign is asked beside: the processor is ten times slower at a root of less than 0.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Solid = Literal["ball", "dome", "box", "round", "taper", "frustum", "torus"]
# One number for frustum and torus, one per axis for round (3) and taper (2), unused elsewhere.
Shape = Any

_TINY = 1e-9
_NEWTON_STEPS = 4
_TORUS_STEPS = 48
_HIT = 1e-3


def intersect(solid: Solid, shape: Shape, origins: Tensor, directions: Tensor) -> Tensor:
    """Return the distance ``[...]`` of the first hit along each canonical ray, +inf for a miss."""
    if solid == "ball":
        return _hit_ball(origins, directions)
    if solid == "dome":
        return _hit_dome(origins, directions)
    if solid == "box":
        return _first(_box_interval(1.0, 1.0, 1.0, origins, directions))
    if solid == "round":
        return _hit_round(shape, origins, directions)
    if solid == "taper":
        return _hit_taper(shape, origins, directions)
    if solid == "frustum":
        return _hit_frustum(shape, origins, directions)
    return _hit_torus(shape, origins, directions)


def _rows(o: Tensor, d: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rays ``[M, 3]`` at flat positions ``[M]`` of the broadcast origins and directions."""
    return tuple(  # pyright: ignore[reportReturnType]
        torch.stack([axis.reshape(-1).index_select(0, rows) for axis in value.unbind(-1)]).T
        for value in (o.expand_as(d), d)
    )


def _first(interval: tuple[Tensor, Tensor]) -> Tensor:
    enter, leave = interval
    return torch.where((enter < leave) & (enter > 0), enter, torch.inf)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    (x, y, z), (u, v, w) = a.unbind(-1), b.unbind(-1)
    return x * u + y * v + z * w


def _safe(value: Tensor) -> Tensor:
    """Move away from 0, so that a ray along a face divides to a huge number and not to NaN."""
    return torch.where(value.abs() < _TINY, _TINY, value)


def _hit_ball(o: Tensor, d: Tensor) -> Tensor:
    a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
    squared = b * b - a * c
    t = (b + squared.abs().sqrt_()) / -a
    return torch.where((squared > 0) & (t > 0), t, torch.inf)


def _ball_interval(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the ray's line is inside; upside down (enter > leave) where it misses."""
    a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
    squared = b * b - a * c
    root = squared.abs().sqrt_().copysign_(squared)
    return (-b - root) / a, (root - b) / a


def _box_interval(
    half_x: float, half_y: float, half_z: float, o: Tensor, d: Tensor
) -> tuple[Tensor, Tensor]:
    enter = leave = None
    for half, start, step in zip((half_x, half_y, half_z), o.unbind(-1), d.unbind(-1), strict=True):
        inverse = _safe(step).reciprocal()
        middle, reach = -start * inverse, half * inverse.abs()
        near, far = middle - reach, middle + reach
        enter = near if enter is None else torch.maximum(enter, near)
        leave = far if leave is None else torch.minimum(leave, far)
    assert enter is not None and leave is not None
    return enter, leave


def _clip(interval: tuple[Tensor, Tensor], along: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """Cut an interval of t by the half space where ``along * t <= room``."""
    along = _safe(along)
    t = room / along
    enter = torch.maximum(interval[0], torch.where(along < 0, t, -torch.inf))
    return enter, torch.minimum(interval[1], torch.where(along > 0, t, torch.inf))


def _hit_dome(o: Tensor, d: Tensor) -> Tensor:
    return _first(_clip(_ball_interval(o, d), -d[..., 2], o[..., 2]))


def _hit_taper(top: tuple[float, float], o: Tensor, d: Tensor) -> Tensor:
    dz = _safe(d[..., 2])
    inverse = dz.reciprocal()
    middle, reach = -o[..., 2] * inverse, inverse.abs()
    interval = (middle - reach, middle + reach)
    for axis, value in enumerate(top):
        slope, half = (value - 1) / 2, (1 + value) / 2
        across, start = slope * d[..., 2], half + slope * o[..., 2]
        interval = _clip(interval, d[..., axis] - across, start - o[..., axis])
        interval = _clip(interval, -d[..., axis] - across, start + o[..., axis])
    return _first(interval)


def _hit_frustum(top: float, o: Tensor, d: Tensor) -> Tensor:
    """Seen from outside only the smaller root of the side and the cap facing the ray count.

    Where the cone is steeper than the ray (a < 0) the formula gives the larger root, which is
    the entry into the nappe that opens along the ray; the other nappe lies beyond |z| <= 1.
    """
    (ox, oy, oz), (dx, dy, dz) = o.unbind(-1), d.unbind(-1)
    slope = (top - 1) / 2
    radius, across = (1 + top) / 2 + slope * oz, slope * dz
    a = _safe(dx * dx + dy * dy - across * across)
    b = ox * dx + oy * dy - across * radius
    c = ox * ox + oy * oy - radius * radius
    squared = b * b - a * c
    side = (b + squared.abs().sqrt_()) / -a
    hit = (squared > 0) & ((oz + side * dz).abs() <= 1) & (side > 0)
    side = torch.where(hit, side, torch.inf)
    steep = _safe(dz)
    cap = -(steep.sign() + oz) / steep
    x, y = ox + cap * dx, oy + cap * dy
    reach = torch.where(steep < 0, top * top, 1.0)
    cap = torch.where((x * x + y * y <= reach) & (cap > 0), cap, torch.inf)
    return torch.minimum(side, cap)


def _hit_round(bevel: tuple[float, float, float], o: Tensor, d: Tensor) -> Tensor:
    """Flat faces by slabs; the rest by Newton, then the quadratic of the piece that is reached.

    In units of the bevel the solid is {distance to an inner box <= 1}. Along a ray that distance
    is convex, so Newton's steps from the front never pass the first hit.
    """
    scale = o.new_tensor(bevel)
    o, d = o / scale, d / scale
    x, y, z = (1 / value - 1 for value in bevel)
    enter, leave = _box_interval(x + 1, y + 1, z + 1, o, d)
    hit = (enter < leave) & (enter > 0)
    found = torch.where(hit, enter, torch.inf)
    first, second, third = (
        (start + enter * step).abs_().sub_(half)
        for half, start, step in zip((x, y, z), o.unbind(-1), d.unbind(-1), strict=True)
    )
    # A flat face is met where two coordinates are within the inner box: their median says so.
    middle = torch.maximum(
        torch.minimum(first, second), torch.minimum(torch.maximum(first, second), third)
    )
    rows = (hit & (middle > 0)).reshape(-1).nonzero()[:, 0]
    if len(rows):
        start = enter.reshape(-1).index_select(0, rows)
        bent = _hit_bevel((x, y, z), *_rows(o, d, rows), start)
        found.reshape(-1).index_copy_(0, rows, bent)
    return found


def _hit_bevel(half: tuple[float, float, float], o: Tensor, d: Tensor, t: Tensor) -> Tensor:
    """Return rays ``[M, 3]`` from ``t`` ``[M]``, in front of the hit, to the ball swept over a
    box."""
    starts, steps = o.unbind(-1), d.unbind(-1)

    def offset(t: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        points = [start + t * step for start, step in zip(starts, steps, strict=True)]
        gaps = [p - p.clamp(-size, size) for p, size in zip(points, half, strict=True)]
        squared = sum(gap * gap for gap in gaps)
        along = sum(gap * step for gap, step in zip(gaps, steps, strict=True))
        assert isinstance(squared, Tensor) and isinstance(along, Tensor)
        return gaps, squared, along

    for _ in range(_NEWTON_STEPS):
        _, squared, along = offset(t)
        distance = squared.sqrt()
        t = t + (distance - 1).clamp_min(0) * distance / (-along).clamp_min(_TINY)
    gaps, squared, along = offset(t)
    a = sum((gap != 0) * step * step for gap, step in zip(gaps, steps, strict=True))
    assert isinstance(a, Tensor)
    root = along * along - a * (squared - 1)
    t = t + (squared - 1) / (root.abs().sqrt_() - along)
    error = (offset(t)[1] - 1).abs()
    return torch.where((error < _HIT) & (root >= 0), t, torch.inf)


def torus_distance(tube: float, p: Tensor) -> Tensor:
    """Return the signed distance ``[...]`` of points ``[..., 3]`` to the torus."""
    x, y, z = p.unbind(-1)
    ring = (x * x + y * y).sqrt() - (1 - tube)
    return (ring * ring + z * z).sqrt() - tube


def _hit_torus(tube: float, o: Tensor, d: Tensor) -> Tensor:
    """Sphere tracing from the bounding slab; rays that left it or arrived drop out.

    The quartic has no root finder as short or as steady as this.
    """
    enter, leave = _box_interval(1.0, 1.0, tube, o, d)
    found = torch.full_like(enter, torch.inf)
    rows = (enter < leave).reshape(-1).nonzero()[:, 0]
    start, step = _rows(o, d, rows)
    t, end = enter.reshape(-1)[rows].clamp_min(0), leave.reshape(-1)[rows]
    speed = _dot(step, step).sqrt()
    alive, result = torch.arange(len(t), device=t.device), torch.full_like(t, torch.inf)
    for index in range(_TORUS_STEPS):
        gap = torus_distance(tube, start + t[:, None] * step)
        t = t + gap / speed
        if index % 4 == 3:
            arrived = gap < _HIT / 20
            result[alive[arrived]] = t[arrived]
            keep = ~arrived & (t < end)
            alive, start, step = alive[keep], start[keep], step[keep]
            t, end, speed = t[keep], end[keep], speed[keep]
            if not len(t):
                break
    result[alive] = torch.where(
        torus_distance(tube, start + t[:, None] * step) < _HIT, t, torch.inf
    )
    found.reshape(-1)[rows] = torch.where(result > 0, result, torch.inf)
    return found
