"""Which points of a grid lie within a surface: the parity of crossings along x."""

from __future__ import annotations

import numpy as np


def solid_grid(
    vertices: np.ndarray, faces: np.ndarray, size: int = 64, half_extent: float = 1.0
) -> np.ndarray:
    """Tell which points of a cubic grid a surface encloses.

    A point is within where a line from -x to it crosses the surface an odd number of times, as in
    Batty's SDFGen and the package mesh2sdf, which negate the distance there. Where a line meets an
    edge, the two faces agree on which of them it crosses; the surface itself is not within. Open
    surfaces leave streaks, in both.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.
        size: n, points along an axis, at ``-half_extent + 2 half_extent i / n``.
        half_extent: of the cube; what lies beyond it counts no less.

    Returns:
        Boolean ``[n, n, n]``, by x, y and z.
    """
    step = np.float32(2 * half_extent / size)
    corners = ((vertices.astype(np.float32).astype(np.float64) + half_extent) / step)[faces]
    face, j, k = _columns(corners[..., 1:], size)
    crossed, at = _crossings(corners[face], j, k)
    j, k = j[crossed], k[crossed]
    from_ = np.clip(np.ceil(at), 0, size).astype(np.int64)
    changes = np.zeros((size + 1, size, size), np.int64)
    np.add.at(changes, (from_, j, k), 1)
    inside = np.cumsum(changes[:size], axis=0) % 2 == 1
    on = (from_ == at) & (from_ < size)
    inside[from_[on], j[on], k[on]] = False
    return inside


def _columns(corners: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair each face with the lines through its bounding box: face, row and column ``[N]``."""
    low = np.clip(np.ceil(corners.min(1)), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(1)), -1, size - 1).astype(np.int64)
    wide, tall = np.maximum(high - low + 1, 0).T
    counts = wide * tall
    face = np.repeat(np.arange(len(corners)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return face, low[face, 0] + within // tall[face], low[face, 1] + within % tall[face]


def _crossings(corners: np.ndarray, j: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which lines ``[N]`` cross their face, and where along x those do."""
    offset = corners[..., 1:] - np.stack([j, k], -1)[:, None]
    a, b, c = offset.transpose(1, 2, 0)
    areas, signs = zip(*(_turn(*pair) for pair in ((b, c), (c, a), (a, b))), strict=True)
    crossed = (signs[0] != 0) & (signs[1] == signs[0]) & (signs[2] == signs[0])
    weights = np.stack(areas, -1)[crossed]
    weights /= weights.sum(-1, keepdims=True)
    return crossed, (weights * corners[crossed, :, 0]).sum(-1)


def _turn(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Twice the signed area of origin, first and second, and its sign; ties are broken alike.

    As if the origin were moved by next to nothing: an edge through it belongs to one of its faces.
    """
    (x1, y1), (x2, y2) = first, second
    area = y1 * x2 - x1 * y2
    sign = np.sign(area)
    sign = np.where(sign == 0, np.sign(y2 - y1), sign)
    return area, np.where(sign == 0, np.sign(x1 - x2), sign)
