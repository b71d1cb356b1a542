"""Canonical solids: ray hits, normals, inside tests, bounds and triangles.

Vocabulary. A *solid* lives in its own canonical coordinates, within [-1, 1]^3, z up:

* ``ball``     ``x^2 + y^2 + z^2 <= 1``
* ``dome``     the upper half of the ball, ``z >= 0``
* ``box``      ``max(|x|, |y|, |z|) <= 1``
* ``round``    a box with rounded edges: the box of half sizes 1 - ``shape`` (a bevel per axis)
  plus the ellipsoid of half axes ``shape``; bevels (1, 1, s) make a capsule along z
* ``taper``    ``|z| <= 1, |x| <= r(z), |y| <= s(z)``, linear from 1 (z = -1) to ``shape`` = (r, s)
  at z = 1: a gable for (1, 0), a pyramid for (0, 0)
* ``frustum``  ``|z| <= 1`` and ``x^2 + y^2 <= r(z)^2``, r linear from 1 (z = -1) to ``shape``
  (z = 1), of which 1 is a cylinder, 0 a cone
* ``torus``    a ring about z, tube radius ``shape``, outer radius 1

A part of a scene places one by an affine map. Rays are mapped into canonical coordinates
*without* normalising the direction, so a distance t there is the distance t in the world.

Shapes: points are ``[M, 3]``; :func:`~zero123lib.scenes.hits.intersect` also broadcasts origins
against directions.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from zero123lib.scenes.hits import Shape, Solid, intersect, torus_distance
from zero123lib.scenes.triangles import triangles

__all__ = ["Shape", "Solid", "half_extents", "inside", "intersect", "normals", "triangles",
           "volume"]  # fmt: skip


def normals(solid: Solid, shape: Shape, points: Tensor) -> Tensor:
    """Return the outward canonical normals (not normalised) at surface points ``[M, 3]``."""
    if solid == "ball":
        return points
    if solid == "dome":
        return torch.where(points[:, 2:] > 1e-4, points, points.new_tensor([0.0, 0.0, -1.0]))
    if solid == "box":
        axis = points.abs().argmax(-1, keepdim=True)
        return torch.zeros_like(points).scatter(-1, axis, points.gather(-1, axis).sign())
    if solid == "round":
        bevel = points.new_tensor(shape)
        return (points - points.clamp(bevel - 1, 1 - bevel)) / bevel**2
    if solid == "taper":
        return _taper_normals(shape, points)
    if solid == "torus":
        ring = points[:, :2].norm(dim=-1, keepdim=True).clamp_min(1e-9)
        return torch.cat([points[:, :2] * (1 - (1 - shape) / ring), points[:, 2:]], -1)
    slope = (shape - 1) / 2
    radius = (1 + shape) / 2 + slope * points[:, 2:]
    side = torch.cat([points[:, :2], -slope * radius], -1)
    cap = torch.zeros_like(points)
    cap[:, 2] = points[:, 2].sign()
    return torch.where(points[:, 2:].abs() > 1 - 1e-4, cap, side)


def _taper_normals(top: tuple[float, ...], points: Tensor) -> Tensor:
    """Return the face with the largest signed distance, which is 0 up to rounding at the
    surface."""
    x, y, z = points.unbind(-1)
    slopes = [(value - 1) / 2 for value in top]
    gaps = [
        side.abs() - ((1 + value) / 2 + slope * z)
        for side, value, slope in zip((x, y), top, slopes, strict=True)
    ]
    face = torch.stack([*gaps, z.abs() - 1]).argmax(0)
    zero, one = torch.zeros_like(z), torch.ones_like(z)
    choices = torch.stack([
        torch.stack([x.sign(), zero, -slopes[0] * one], -1),
        torch.stack([zero, y.sign(), -slopes[1] * one], -1),
        torch.stack([zero, zero, z.sign()], -1),
    ])  # fmt: skip
    return choices[face, torch.arange(len(points), device=points.device)]


def inside(solid: Solid, shape: Shape, points: Tensor) -> Tensor:
    """Tell whether canonical points ``[M, 3]`` lie within the solid, boundary included."""
    if solid == "ball":
        return (points * points).sum(-1) <= 1
    if solid == "dome":
        return ((points * points).sum(-1) <= 1) & (points[:, 2] >= 0)
    if solid == "box":
        return points.abs().amax(-1) <= 1
    if solid == "round":
        bevel = points.new_tensor(shape)
        return (((points.abs() - (1 - bevel)).clamp_min(0) / bevel) ** 2).sum(-1) <= 1
    if solid == "torus":
        return torus_distance(shape, points) <= 0
    x, y, z = points.unbind(-1)
    if solid == "taper":
        half_x, half_y = ((1 + top) / 2 + (top - 1) / 2 * z for top in shape)
        return (z.abs() <= 1) & (x.abs() <= half_x) & (y.abs() <= half_y)
    radius = (1 + shape) / 2 + (shape - 1) / 2 * z
    return (z.abs() <= 1) & (x**2 + y**2 <= radius**2)


def half_extents(solid: Solid, shape: Shape, linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return exact bounds ``(low, high)``, each ``[3]``, of a solid under ``linear``."""
    disc = np.linalg.norm(linear[:, :2], axis=1)
    whole = np.linalg.norm(linear, axis=1)
    bottom, top = -linear[:, 2], linear[:, 2]
    if solid == "ball":
        return -whole, whole
    if solid == "dome":
        return np.where(top > 0, -disc, -whole), np.where(top > 0, whole, disc)
    if solid == "box":
        reach = np.abs(linear).sum(1)
        return -reach, reach
    if solid == "round":
        bevel = np.array(shape)
        reach = np.abs(linear) @ (1 - bevel) + np.linalg.norm(linear * bevel, axis=1)
        return -reach, reach
    if solid == "torus":
        reach = disc * (1 - shape) + whole * shape
        return -reach, reach
    if solid == "taper":
        wide, narrow = np.abs(linear[:, :2]).sum(1), np.abs(linear[:, :2]) @ np.array(shape)
    else:
        wide, narrow = disc, shape * disc
    return np.minimum(bottom - wide, top - narrow), np.maximum(bottom + wide, top + narrow)


def volume(solid: Solid, shape: Shape) -> float:
    """Return the canonical volume; times ``|det linear|`` it is that of the placed solid."""
    if solid == "ball":
        return 4 / 3 * math.pi
    if solid == "dome":
        return 2 / 3 * math.pi
    if solid == "box":
        return 8.0
    if solid == "round":  # Steiner's formula, in units where the ellipsoid is the unit ball.
        x, y, z = (1 / bevel - 1 for bevel in shape)
        faces, edges = 8 * (x * y + y * z + z * x), 2 * math.pi * (x + y + z)
        return math.prod(shape) * (8 * x * y * z + faces + edges + 4 / 3 * math.pi)
    if solid == "taper":  # The integral of 4 r(z) s(z), by Simpson's rule, exact for quadratics.
        r, s = shape
        return 4 / 3 * (1 + (1 + r) * (1 + s) + r * s)
    if solid == "torus":
        return 2 * math.pi**2 * (1 - shape) * shape**2
    return 2 * math.pi / 3 * (1 + shape + shape**2)
