"""How faces hang together: numpy arrays of faces ``[F, 3]``, vectorised so that millions are fine.

Half edge ``3 * face + k`` runs from corner k of a face to the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from zero123lib.meshes.corners import number_rows

# Of a triangle's longest side; float32 tells no smaller heights from none.
_FLAT = 1e-6
# Of the longest side of the smallest face at a vertex: see `weld`.
_NEAR, _FAR = 1e-5, 1e-2
# What float32 loses in a few steps, of a number's size.
_FLOAT32 = 2.5e-7
_ASKEW = np.array([0.6180339887, 0.5436890127, 0.5671432904])


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of some faces.

    Attributes:
        ends: vertices of each edge, the lower first, ``[E, 2]``.
        of: the edge of each half edge ``[3F]``.
        forward: whether the half edge runs from the lower to the higher vertex ``[3F]``.
        counts: half edges on each edge ``[E]``: 1 at a border, 2 inside a surface.
    """

    ends: np.ndarray
    of: np.ndarray
    forward: np.ndarray
    counts: np.ndarray

    @property
    def opposed(self) -> np.ndarray:
        """Tell of each edge whether its half edges run both ways equally often, bool ``[E]``."""
        ways = np.bincount(self.of, np.where(self.forward, 1.0, -1.0), len(self.counts))
        return ways == 0.0


def edges(faces: np.ndarray) -> Edges:
    """Return the edges of faces ``[F, 3]``."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    low, high = np.minimum(start, end), np.maximum(start, end)
    span = int(faces.max(initial=0)) + 1
    keys, of, counts = np.unique(low * span + high, return_inverse=True, return_counts=True)
    return Edges(np.stack(np.divmod(keys, span), axis=1), of, start < end, counts)


def weld(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weld vertices at the same place: files repeat them along seams, some with rounding errors.

    Places are the same that are nearer to each other than `_NEAR` of the size of the faces there,
    or than float32 tells apart, but never than `_FAR` of those faces' size.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.

    Returns:
        Of each vertex its place ``[V]``, and of each place a vertex ``[P]``.
    """
    place, firsts = number_rows(list((vertices + 0.0).T))
    points = vertices[firsts]
    pairs = _near_pairs(points, _reach(points, place[faces]))
    if not len(pairs):
        return place, firsts
    graph = coo_array((np.ones(len(pairs), bool), pairs.T), shape=(len(points), len(points)))
    _, label = connected_components(graph.tocsr(), directed=False)
    _, kept, number = np.unique(label, return_index=True, return_inverse=True)
    return number[place], firsts[kept]


def _reach(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return how near to each point ``[P]`` others are the same; 0 where no face has it."""
    longest = np.sqrt(_longest_squared(points[faces]))
    size = np.full(len(points), np.inf)
    whole = longest > 0.0
    np.minimum.at(size, faces[whole].ravel(), longest[whole].repeat(3))
    size[~np.isfinite(size)] = 0.0
    least = _FLOAT32 * np.abs(points).max(1, initial=0.0)
    return np.minimum(np.maximum(_NEAR * size, least), _FAR * size)


def _near_pairs(points: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Return pairs of points ``[N, 2]`` that are within the reach of both.

    Along a line that no mesh is aligned with, near points are near, and few others are. Those of
    far reach are looked at without those of less, which may be many between them.
    """
    along = points @ _ASKEW
    order = np.argsort(along)
    order = order[reach[order] > 0.0]
    found = [np.empty((0, 2), np.int64)]
    for level in np.unique(np.frexp(reach[order])[1]).tolist():
        most = 2.0**level
        these = order[reach[order] >= most / 2.0]
        for step in range(1, len(these)):
            (near,) = np.nonzero(along[these[step:]] - along[these[:-step]] <= most)
            if not len(near):
                break
            one, two = these[near], these[near + step]
            apart = np.linalg.norm(points[two] - points[one], axis=1)
            same = apart <= np.minimum(reach[one], reach[two])
            found.append(np.stack([one[same], two[same]], axis=1))
    return np.concatenate(found)


def vertex_components(faces: np.ndarray, vertices: int) -> np.ndarray:
    """Return the numbers of the parts that hang together by vertices, of each face ``[F]``."""
    ones = np.ones(2 * len(faces), bool)
    start, end = faces[:, :2].T.ravel(), faces[:, 1:].T.ravel()
    graph = coo_array((ones, (start, end)), shape=(vertices, vertices))
    _, label = connected_components(graph.tocsr(), directed=False)
    _, number = np.unique(label[faces[:, 0]], return_inverse=True)
    return number


@dataclass(frozen=True, eq=False)
class Shells:
    """Parts of a surface that hang together by edges of two faces, wound alike where they can be.

    Attributes:
        of: of each face its shell ``[F]``.
        flip: of each face whether it is to be turned over, for all of a shell to agree; the
            smaller part of a shell's area is.
        orientable: of each shell whether its faces can agree; a Möbius strip's cannot.
        closed: of each shell whether all its edges have two faces.
    """

    of: np.ndarray
    flip: np.ndarray
    orientable: np.ndarray
    closed: np.ndarray


def shells(faces: np.ndarray, areas: np.ndarray) -> Shells:
    """Return the shells of faces ``[F, 3]`` with areas ``[F]``.

    A face and its other side are two nodes of a graph. Over an edge that both faces run through
    in opposite ways, sides go with like sides, over others with the opposite ones. A shell then
    is two components, or one, if it has a single side.
    """
    count = len(faces)
    found = edges(faces)
    order = np.argsort(found.of, kind="stable")
    firsts = np.cumsum(found.counts) - found.counts
    pair = firsts[found.counts == 2]
    one, two = order[pair], order[pair + 1]
    unlike = found.forward[one] == found.forward[two]
    one, two = one // 3, two // 3
    start = np.concatenate([one, one + count])
    end = np.concatenate([two + unlike * count, two + ~unlike * count])
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(2 * count, 2 * count))
    _, side = connected_components(graph.tocsr(), directed=False)
    # A shell's number is that of the lower of its two sides.
    lower, higher = np.minimum(side[:count], side[count:]), np.maximum(side[:count], side[count:])
    _, firsts, of = np.unique(lower, return_index=True, return_inverse=True)
    orientable = (lower != higher)[firsts]
    turned = (side[:count] != lower) & orientable[of]
    share = np.bincount(of, np.where(turned, areas, -areas))
    open_shells = of[np.unique(np.flatnonzero(found.counts[found.of] != 2) // 3)]
    closed = np.ones(len(firsts), bool)
    closed[open_shells] = False
    return Shells(of, turned ^ ((share > 0.0) & orientable)[of], orientable, closed)


def distinct(faces: np.ndarray) -> np.ndarray:
    """Tell which faces ``[F, 3]`` have three different corners, bool ``[F]``."""
    a, b, c = faces.T
    return (a != b) & (b != c) & (c != a)


def first_of_each(faces: np.ndarray) -> np.ndarray:
    """Return the numbers of faces ``[F, 3]`` that lie on the positions of no earlier one."""
    _, firsts = number_rows(list(np.sort(faces, axis=1).T))
    return np.sort(firsts)


def slivers(triangles: np.ndarray) -> np.ndarray:
    """Tell which triangles ``[F, 3, 3]`` have no area: all but no height on the longest side."""
    return 2.0 * areas(triangles) <= _FLAT * _longest_squared(triangles)


def _longest_squared(triangles: np.ndarray) -> np.ndarray:
    """Return the longest sides ``[F]`` of triangles ``[F, 3, 3]``, squared."""
    sides = np.array([((triangles[:, k] - triangles[:, k - 1]) ** 2).sum(1) for k in range(3)])
    return sides.max(0)


def areas(triangles: np.ndarray) -> np.ndarray:
    """Return areas ``[F]`` of triangles ``[F, 3, 3]``."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)


def volumes(triangles: np.ndarray) -> np.ndarray:
    """Return signed volumes ``[F]`` of the tetrahedra of triangles ``[F, 3, 3]`` and the origin.

    Their sum over a closed surface is its volume, above 0 where faces are wound to be seen from
    outside (Zhang and Chen 2001).
    """
    a, b, c = np.moveaxis(triangles, 1, 0)
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
