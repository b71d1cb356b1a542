"""Polygons cut into triangles, concave ones too, in whatever plane they lie."""

from __future__ import annotations

import numpy as np

_Point = tuple[float, float]

# Of a polygon's squared area: a corner that turns back by less is straight.
_STRAIGHT = 1e-9
# Twice the area of an ear that has none, in a polygon of size 1.
_NOTHING = 1e-14


def triangulate(points: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut polygons without holes into triangles, without new corners and without leaving one out.

    A polygon of n corners gives n - 2 triangles, wound as it is: its first corner with all others
    where it is convex, ears else (Meisters 1975). All its corners stay, those on straight sides
    too: a neighbour may end there.

    Args:
        points: of the corners, one polygon after the other ``[C, 3]``.
        sizes: of the polygons ``[P]``, how many corners each has. Those of fewer than three vanish.

    Returns:
        Of the triangles the corners, from 0 to C - 1, int64 ``[T, 3]``; and the polygon ``[T]``, in
        the order of the polygons.
    """
    firsts = np.cumsum(sizes) - sizes
    corners, owners = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for size in np.unique(sizes[sizes >= 3]).tolist():
        these = np.flatnonzero(sizes == size)
        at = firsts[these, None] + np.arange(size)
        if size > 3:
            at = _cut(points, at)
        corners.append(at.reshape(-1, 3))
        owners.append(np.repeat(these, size - 2))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    return np.concatenate(corners)[order], owner[order]


def _cut(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the triangles ``[N, n - 2, 3]`` of polygons of equally many corners ``[N, n]``."""
    size = at.shape[1]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused later
        normals, turns = _turns(points[at])
    back = turns < -_STRAIGHT * (normals**2).sum(1, keepdims=True)
    concave = np.flatnonzero(back.any(1))
    if size == 4:
        # From the corner that is set back both triangles lie inside.
        shift = back[concave].argmax(1)[:, None] + np.arange(4)
        at = at.copy()
        at[concave] = np.take_along_axis(at[concave], shift % 4, 1)
    fan = np.array([[0, k, k + 1] for k in range(1, size - 1)])
    triangles = at[:, fan]
    if size > 4:
        for row in concave.tolist():
            flat = _flattened(points[at[row]], normals[row])
            triangles[row] = at[row][_ears(flat)]
    return triangles


def _turns(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return normals ``[N, 3]`` of polygons ``[N, n, 3]``, twice their area long, and how far each
    corner turns about it ``[N, n]``, below 0 where it turns back."""
    ahead = np.roll(polygons, -1, axis=1)
    from_first = polygons - polygons[:, :1]
    normals = np.cross(from_first, np.roll(from_first, -1, axis=1)).sum(1)
    crosses = np.cross(polygons - np.roll(polygons, 1, axis=1), ahead - polygons)
    return normals, (crosses * normals[:, None]).sum(-1)


def _flattened(polygon: np.ndarray, normal: np.ndarray) -> list[_Point]:
    """Return the polygon ``[n, 3]`` along its normal's largest axis, counter-clockwise, of size
    1."""
    axis = int(np.abs(normal).argmax())
    across, up = [(1, 2), (2, 0), (0, 1)][axis]
    flat = polygon[:, [across, up]] if normal[axis] >= 0.0 else polygon[:, [up, across]]
    flat = flat - flat.min(0)
    return [(x, y) for x, y in (flat / (flat.max() or 1.0)).tolist()]


def _ears(points: list[_Point]) -> list[tuple[int, int, int]]:
    """Return the triangles of a simple counter-clockwise polygon; of others any n - 2 triangles."""
    ring = list(range(len(points)))
    turns = [_turn(points, k - 1, k, (k + 1) % len(ring)) for k in ring]
    made = []
    at = 0
    while len(ring) > 3:
        inward = [corner for corner, turn in zip(ring, turns, strict=True) if turn <= 0.0]
        tries = [(at + k) % len(ring) for k in range(len(ring))]
        ears = (k for k in tries if turns[k] > _NOTHING and _is_free(points, ring, k, inward))
        # Without any, only straight corners are left, or the polygon runs through itself.
        ear = next(ears, None)
        at = min(tries, key=lambda k: abs(turns[k])) if ear is None else ear
        made.append((ring[at - 1], ring[at], ring[(at + 1) % len(ring)]))
        del ring[at], turns[at]
        for k in (at - 1, at % len(ring)):
            turns[k] = _turn(points, ring[k - 1], ring[k], ring[(k + 1) % len(ring)])
    return [*made, (ring[0], ring[1], ring[2])]


def _is_free(points: list[_Point], ring: list[int], at: int, inward: list[int]) -> bool:
    """Tell whether no other corner lies in the triangle of a corner and its neighbours."""
    a, b, c = ring[at - 1], ring[at], ring[(at + 1) % len(ring)]
    corners = {points[a], points[b], points[c]}
    return not any(
        points[other] not in corners
        and _turn(points, a, b, other) >= 0.0
        and _turn(points, b, c, other) >= 0.0
        and _turn(points, c, a, other) >= 0.0
        for other in inward
    )


def _turn(points: list[_Point], a: int, b: int, c: int) -> float:
    """Twice the area of a triangle, below 0 where it runs clockwise."""
    (ax, ay), (bx, by), (cx, cy) = points[a], points[b], points[c]
    return (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
