"""Holes in a surface closed by triangles between the vertices of their borders.

Open3D closes holes, too, but leaves those open whose border touches itself, and winds what it
adds either way.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

import numpy as np

from zero123lib.meshes.topology import edges

# A border longer than this is no hole but the edge of a sheet.
MAX_BORDER = 10_000


def close_holes(positions: np.ndarray, faces: np.ndarray, max_radius: float) -> np.ndarray:
    """Return faces that close the holes of a surface whose faces are wound alike.

    Args:
        positions: ``[P, 3]``.
        faces: ``[F, 3]``.
        max_radius: of the holes that are closed: no vertex of the border is farther than this
            from the border's middle.

    Returns:
        The new faces ``[K, 3]``, wound like those around them. A hole that cannot be closed
        without a third face at an edge stays.
    """
    found = edges(faces)
    taken = {(int(low), int(high)) for low, high in found.ends[found.counts == 1]}
    at_border = np.zeros(len(positions), bool)
    at_border[found.ends[found.counts == 1]] = True
    both = at_border[found.ends].all(1) & (found.counts > 1)
    taken |= {(int(low), int(high)) for low, high in found.ends[both]}
    border = np.flatnonzero(found.counts[found.of] == 1)
    start = faces.ravel()[border]
    end = np.roll(faces, -1, axis=1).ravel()[border]
    made: list[tuple[int, int, int]] = []
    # The new faces run the other way along the border than those that are there.
    for loop in _loops(end.tolist(), start.tolist()):
        around = positions[loop]
        radius = np.linalg.norm(around - around.mean(0), axis=1).max()
        if len(loop) <= MAX_BORDER and radius <= max_radius:
            made += _close(loop, around, taken)
    return np.array(made, np.int64).reshape(-1, 3)


def _loops(starts: list[int], ends: list[int]) -> list[list[int]]:
    """Return the closed ways of directed edges that pass no vertex twice; ways that end are left
    out."""
    onward: dict[int, list[int]] = defaultdict(list)
    for start, end in zip(starts, ends, strict=True):
        onward[start].append(end)
    loops = []
    for first in list(onward):
        way, at = [first], {first: 0}
        while onward[way[-1]]:
            vertex = onward[way[-1]].pop()
            if vertex in at:
                # Where a border touches itself, the part in between is a hole of its own.
                cut = at[vertex]
                loops.append(way[cut:])
                for passed in way[cut + 1 :]:
                    del at[passed]
                del way[cut + 1 :]
            else:
                at[vertex] = len(way)
                way.append(vertex)
    return loops


def _close(
    loop: list[int], around: np.ndarray, taken: set[tuple[int, int]]
) -> list[tuple[int, int, int]]:
    """Return triangles of a loop: ears are cut off, those with the shortest new edge first.

    Ears that would fold over the hole's plane come last. Of `taken` no edge is made anew; the
    edges made are added, or nothing is where the loop cannot be closed.
    """
    if len(loop) < 3:
        return []
    count = len(loop)
    plane = np.cross(around, np.roll(around, -1, axis=0)).sum(0)
    before = [(k - 1) % count for k in range(count)]
    after = [(k + 1) % count for k in range(count)]
    stamp = [0] * count
    waiting: list[tuple[bool, float, int, int]] = []

    def offer(k: int) -> None:
        a, b, c = around[before[k]], around[k], around[after[k]]
        folds = bool(np.dot(np.cross(b - a, c - b), plane) <= 0.0)
        heapq.heappush(waiting, (folds, float(np.linalg.norm(c - a)), k, stamp[k]))

    for k in range(count):
        offer(k)
    made, added, left = [], [], count
    while left > 3 and waiting:
        _, _, k, when = heapq.heappop(waiting)
        a, c = before[k], after[k]
        edge = (min(loop[a], loop[c]), max(loop[a], loop[c]))
        if when != stamp[k] or edge in taken:
            continue
        taken.add(edge)
        added.append(edge)
        made.append((loop[a], loop[k], loop[c]))
        stamp[k] = -1
        after[a], before[c] = c, a
        left -= 1
        for neighbour in (a, c):
            stamp[neighbour] += 1
            offer(neighbour)
    if left > 3:
        taken.difference_update(added)
        return []
    k = next(k for k in range(count) if stamp[k] >= 0)
    return [*made, (loop[before[k]], loop[k], loop[after[k]])]
