"""Canonical solids: ray hits, inside tests, bounds and triangles.

Vocabulary. A *solid* lives in its own canonical coordinates, within [-1, 1]^3, z up:

* ``ball``     x^2 + y^2 + z^2 <= 1
* ``box``      max(|x|, |y|, |z|) <= 1
* ``frustum``  |z| <= 1 and x^2 + y^2 <= r(z)^2, r linear from 1 (z = -1) to ``shape`` (z = 1);
  ``shape`` 1 is a cylinder, 0 a cone
* ``torus``    a ring about z, tube radius ``shape``, outer radius 1

A part of a scene places one by an affine map. Rays are mapped into canonical coordinates
*without* normalising the direction, so a distance t there is the distance t in the world.

Shapes: points, origins and directions are ``[M, 3]``; distances ``[M]``, +inf for a miss.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Solid = Literal["ball", "box", "frustum", "torus"]

_TORUS_STEPS = 40
_TORUS_HIT = 1e-3


def intersect(solid: Solid, shape: float, origins: Tensor, directions: Tensor) -> Tensor:
    """Distance of the first hit from outside along each canonical ray, +inf for a miss."""
    if solid == "ball":
        return _hit_ball(origins, directions)
    if solid == "box":
        return _hit_box(origins, directions)
    if solid == "frustum":
        return _hit_frustum(shape, origins, directions)
    return _hit_torus(shape, origins, directions)


def _hit_ball(o: Tensor, d: Tensor) -> Tensor:
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1
    disc = b * b - a * c
    t = (-b - disc.clamp_min(0).sqrt()) / a
    return torch.where((disc > 0) & (t > 0), t, torch.inf)


def _hit_box(o: Tensor, d: Tensor) -> Tensor:
    inverse = 1 / torch.where(d.abs() < 1e-9, 1e-9, d)
    near, far = (-1 - o) * inverse, (1 - o) * inverse
    enter = torch.minimum(near, far).amax(-1)
    leave = torch.maximum(near, far).amin(-1)
    return torch.where((enter < leave) & (enter > 0), enter, torch.inf)


def _hit_frustum(top: float, o: Tensor, d: Tensor) -> Tensor:
    middle, slope = (1 + top) / 2, (top - 1) / 2
    radius = middle + slope * o[:, 2]
    a = d[:, 0] ** 2 + d[:, 1] ** 2 - (slope * d[:, 2]) ** 2
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b = o[:, 0] * d[:, 0] + o[:, 1] * d[:, 1] - slope * d[:, 2] * radius
    c = o[:, 0] ** 2 + o[:, 1] ** 2 - radius**2
    disc = b * b - a * c
    root = disc.clamp_min(0).sqrt()
    best = torch.full_like(a, torch.inf)
    for sign in (-1, 1):
        t = (-b + sign * root) / a
        z = o[:, 2] + t * d[:, 2]
        best = torch.where((disc > 0) & (t > 0) & (z.abs() <= 1) & (t < best), t, best)
    dz = torch.where(d[:, 2].abs() < 1e-9, 1e-9, d[:, 2])
    for z_cap, cap_radius in ((-1.0, 1.0), (1.0, top)):
        t = (z_cap - o[:, 2]) / dz
        x, y = o[:, 0] + t * d[:, 0], o[:, 1] + t * d[:, 1]
        best = torch.where((t > 0) & (x * x + y * y <= cap_radius**2) & (t < best), t, best)
    return best


def _torus_distance(tube: float, p: Tensor) -> Tensor:
    ring = (p[:, 0] ** 2 + p[:, 1] ** 2).sqrt() - (1 - tube)
    return (ring**2 + p[:, 2] ** 2).sqrt() - tube


def _hit_torus(tube: float, o: Tensor, d: Tensor) -> Tensor:
    """Sphere tracing: the quartic has no root finder as short or as steady as this."""
    speed = d.norm(dim=-1)
    start = -(o * d).sum(-1) / speed**2 - 1.8 / speed  # a step in front of the unit ball
    t = start.clamp_min(0)
    for _ in range(_TORUS_STEPS):
        t = t + _torus_distance(tube, o + t[:, None] * d) / speed
    missed = _torus_distance(tube, o + t[:, None] * d).abs() > _TORUS_HIT
    return torch.where(missed | (t <= 0), torch.inf, t)


def normals(solid: Solid, shape: float, points: Tensor) -> Tensor:
    """Outward canonical normals (not normalised) at surface points ``[M, 3]``."""
    if solid == "ball":
        return points
    if solid == "box":
        axis = points.abs().argmax(-1, keepdim=True)
        return torch.zeros_like(points).scatter(-1, axis, points.gather(-1, axis).sign())
    if solid == "torus":
        ring = points[:, :2].norm(dim=-1, keepdim=True).clamp_min(1e-9)
        return torch.cat([points[:, :2] * (1 - (1 - shape) / ring), points[:, 2:]], -1)
    slope = (shape - 1) / 2
    radius = (1 + shape) / 2 + slope * points[:, 2:]
    side = torch.cat([points[:, :2], -slope * radius], -1)
    cap = torch.zeros_like(points)
    cap[:, 2] = points[:, 2].sign()
    return torch.where(points[:, 2:].abs() > 1 - 1e-4, cap, side)


def inside(solid: Solid, shape: float, points: Tensor) -> Tensor:
    """Whether canonical points ``[M, 3]`` lie within the solid, boundary included."""
    if solid == "ball":
        return (points * points).sum(-1) <= 1
    if solid == "box":
        return points.abs().amax(-1) <= 1
    if solid == "torus":
        return _torus_distance(shape, points) <= 0
    radius = (1 + shape) / 2 + (shape - 1) / 2 * points[:, 2]
    return (points[:, 2].abs() <= 1) & (points[:, 0] ** 2 + points[:, 1] ** 2 <= radius**2)


def half_extents(solid: Solid, shape: float, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact bounds ``(low, high)``, each ``[3]``, of the solid under ``linear`` ``[3, 3]``."""
    disc = np.linalg.norm(linear[:, :2], axis=1)
    if solid == "ball":
        reach = np.linalg.norm(linear, axis=1)
        return -reach, reach
    if solid == "box":
        reach = np.abs(linear).sum(1)
        return -reach, reach
    if solid == "torus":
        reach = disc * (1 - shape) + np.linalg.norm(linear, axis=1) * shape
        return -reach, reach
    bottom, top = -linear[:, 2], linear[:, 2]
    low = np.minimum(bottom - disc, top - shape * disc)
    high = np.maximum(bottom + disc, top + shape * disc)
    return low, high


def triangles(solid: Solid, shape: float, detail: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Watertight triangles, counter-clockwise seen from outside.

    Args:
        detail: segments around the axis (box faces are split for vertex colours).

    Returns:
        vertices ``[V, 3]`` float32 and faces ``[F, 3]`` int64.
    """
    if solid == "box":
        return _box_triangles(max(detail // 4, 1))
    if solid == "torus":
        return _torus_triangles(shape, detail, detail // 2)
    if solid == "ball":
        rows = max(detail // 2, 3)
        polar = np.linspace(math.pi, 0, rows + 1)
        return _lathe(np.sin(polar), np.cos(polar), detail)
    radii, heights = [0.0, 1.0], [-1.0, -1.0]
    for step in np.linspace(0, 1, max(detail // 4, 1) + 1)[1:]:
        radii.append(float(1 + (shape - 1) * step))
        heights.append(float(2 * step - 1))
    if shape > 0:
        radii.append(0.0)
        heights.append(1.0)
    return _lathe(np.array(radii), np.array(heights), detail)


def _lathe(radii: np.ndarray, heights: np.ndarray, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn a profile from the bottom pole to the top pole (both radius 0) about z."""
    angles = np.arange(segments) * (2 * math.pi / segments)
    ring = np.stack([np.cos(angles), np.sin(angles)], -1)
    middle = [
        np.c_[r * ring, np.full(segments, h)]
        for r, h in zip(radii[1:-1], heights[1:-1], strict=True)
    ]
    vertices = np.concatenate([[[0, 0, heights[0]]], *middle, [[0, 0, heights[-1]]]])
    here = np.arange(segments)
    there = (here + 1) % segments
    faces = [np.c_[np.zeros_like(here), 1 + there, 1 + here]]
    for row in range(len(middle) - 1):
        low, high = 1 + row * segments, 1 + (row + 1) * segments
        faces += [
            np.c_[low + here, low + there, high + there],
            np.c_[low + here, high + there, high + here],
        ]
    last, tip = 1 + (len(middle) - 1) * segments, len(vertices) - 1
    faces.append(np.c_[last + here, last + there, np.full_like(here, tip)])
    return vertices.astype(np.float32), np.concatenate(faces).astype(np.int64)


def _torus_triangles(tube: float, around: int, across: int) -> tuple[np.ndarray, np.ndarray]:
    u, v = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = u * (2 * math.pi / around), v * (2 * math.pi / across)
    ring = 1 - tube + tube * np.cos(b)
    vertices = np.stack([ring * np.cos(a), ring * np.sin(a), tube * np.sin(b)], -1).reshape(-1, 3)

    def index(du: int, dv: int) -> np.ndarray:
        return (((u + du) % around) * across + (v + dv) % across).ravel()

    first = np.c_[index(0, 0), index(1, 0), index(1, 1)]
    second = np.c_[index(0, 0), index(1, 1), index(0, 1)]
    return vertices.astype(np.float32), np.concatenate([first, second]).astype(np.int64)


def _box_triangles(splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Six grids welded along their edges: vertices are the surface points of an integer lattice."""
    side = splits + 1
    index: dict[tuple[int, ...], int] = {}
    faces: list[tuple[int, int, int]] = []

    def vertex(axis: int, level: int, i: int, j: int) -> int:
        cell = [0, 0, 0]
        cell[axis], cell[(axis + 1) % 3], cell[(axis + 2) % 3] = level, i, j
        return index.setdefault(tuple(cell), len(index))

    for axis in range(3):
        for level in (0, splits):
            for i in range(side - 1):
                for j in range(side - 1):
                    corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
                    if level == 0:
                        corners.reverse()
                    a, b, c, d = (vertex(axis, level, *corner) for corner in corners)
                    faces += [(a, b, c), (a, c, d)]
    vertices = np.array(list(index), dtype=np.float32) * (2 / splits) - 1
    return vertices, np.array(faces, dtype=np.int64)
