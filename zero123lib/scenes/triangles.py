"""Watertight triangles of the canonical solids."""

from __future__ import annotations

import math

import numpy as np

from zero123lib.scenes.hits import Shape, Solid


def triangles(solid: Solid, shape: Shape, detail: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Return watertight triangles, counter-clockwise seen from outside.

    Args:
        detail: segments around the axis (box faces are split for vertex colours).

    Returns:
        vertices ``[V, 3]`` float32 and faces ``[F, 3]`` int64.
    """
    if solid == "box":
        return _box_triangles(max(detail // 4, 1))
    if solid == "taper":
        return _taper_triangles(shape, max(detail // 4, 1))
    if solid == "round":
        return _round_triangles(shape, max(detail // 4, 2))
    if solid == "torus":
        return _torus_triangles(shape, detail, detail // 2)
    if solid == "ball":
        rows = max(detail // 2, 3)
        polar = np.linspace(math.pi, 0, rows + 1)
        return _lathe(np.sin(polar), np.cos(polar), detail)
    if solid == "dome":
        polar = np.linspace(math.pi / 2, 0, max(detail // 4, 2) + 1)
        return _lathe(np.r_[0, np.sin(polar)], np.r_[0, np.cos(polar)], detail)
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


def _round_triangles(bevel: Shape, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a box whose outer rows of cells are bent around the inner box."""
    lattice, faces = _box_triangles(2 * splits + 1)
    cells = np.rint((lattice + 1) * (2 * splits + 1) / 2).astype(int)
    radius = np.array(bevel, dtype=float)
    # Equal angles over the bevel, mirrored on the other side of the one flat cell.
    rise = np.tan(np.linspace(0, math.pi / 4, splits + 1))
    levels = np.concatenate([-rise[::-1], rise])[cells]
    inner = np.where(cells > splits, 1.0, -1.0) * (1 - radius)
    unit = levels / np.linalg.norm(levels, axis=1, keepdims=True)
    return (inner + unit * radius).astype(np.float32), faces


def _taper_triangles(top: Shape, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a box squeezed towards its top; vertices that coincide there become one."""
    vertices, faces = _box_triangles(splits)
    rise = (vertices[:, 2:] + 1) / 2
    vertices[:, :2] *= 1 + (np.array(top, dtype=np.float32) - 1) * rise
    _, first, index = np.unique(
        np.round(vertices, 6) + 0.0, axis=0, return_index=True, return_inverse=True
    )
    faces = index.reshape(-1)[faces]
    proper = (faces != np.roll(faces, 1, 1)).all(1)
    return vertices[first], faces[proper]
