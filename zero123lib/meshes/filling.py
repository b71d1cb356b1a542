"""Colours for texels that no view shows, from around them on the surface.

Texels are joined to those beside them in the same chart, and across seams to those at the same
place of the surface. On this graph unseen colours are harmonic: each is the mean of its neighbours'
(as in the membrane interpolant of Pérez et al. 2003, eq. 2).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.texels import Texels, expand

# So many unknown texels are solved for at once, several times as fast; factors of more take
# gigabytes. Beyond, colours begin as the nearest seen texel's, and so many rounds smooth them.
_DIRECT = 400_000
_ROUNDS = 300


def inpaint(mesh: Mesh, texels: Texels, texture: Tensor, seen: Tensor) -> Tensor:
    """Fill the texels of faces that are not seen.

    A part of the surface of which nothing is seen takes, texel by texel, the colour of the nearest
    seen texel in space.

    Args:
        mesh: with the texture coordinates that `texels` are of.
        texture: ``[S, S, C]``.
        seen: bool ``[S, S]``, texels that keep their colour.

    Returns:
        The texture; texels without a face stay as they are.

    Raises:
        ValueError: nothing is seen.
    """
    near = texels.face_ids >= 0
    number = torch.full(near.shape, -1, device=near.device)
    number[near] = torch.arange(int(near.sum()), device=near.device)
    known = seen[near].cpu().numpy()
    if not known.any():
        raise ValueError("seen: expected at least one texel with a face, got none")
    links = torch.cat([_beside(mesh, texels, number), _across(mesh, number)]).cpu().numpy()
    values = texture.detach()[near].double().cpu().numpy()
    points = texels.points(mesh).detach().cpu().numpy()
    result = texture.detach().clone()
    result[near] = torch.from_numpy(_harmonic(links, values, known, points)).to(result)
    return result


def charts(mesh: Mesh) -> Tensor:
    """Tell which chart of the atlas each face is in: int64 ``[F]``.

    Faces of a chart are joined by corners at one place of the surface and of the atlas.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if mesh.uv is None:
        raise ValueError("mesh: expected texture coordinates, got none")
    corners = torch.cat([mesh.triangles, mesh.uv], -1).detach().flatten(0, 1)
    _, corner = torch.unique(corners, dim=0, return_inverse=True)
    corner, faces = corner.cpu().numpy(), len(mesh.faces)
    face = np.repeat(np.arange(faces), 3)
    count = faces + int(corner.max()) + 1
    graph = coo_matrix((np.ones(len(face)), (face, faces + corner)), (count, count))
    return torch.from_numpy(connected_components(graph)[1][:faces].astype(np.int64))


def _beside(mesh: Mesh, texels: Texels, number: Tensor) -> Tensor:
    """Return pairs ``[N, 2]`` of texels side by side in one chart."""
    chart = charts(mesh).to(number.device)[texels.face_ids.clamp(min=0)]
    pairs = []
    for axis in (0, 1):
        count = number.shape[axis] - 1
        first, second = number.narrow(axis, 0, count), number.narrow(axis, 1, count)
        same = chart.narrow(axis, 0, count) == chart.narrow(axis, 1, count)
        joined = same & (first >= 0) & (second >= 0)
        pairs.append(torch.stack([first[joined], second[joined]], -1))
    return torch.cat(pairs)


def _across(mesh: Mesh, number: Tensor) -> Tensor:
    """Return pairs ``[N, 2]`` of texels on both sides of seams."""
    size = len(number)
    uv = mesh.uv
    assert uv is not None
    _, place = torch.unique(mesh.vertices.detach(), dim=0, return_inverse=True)
    place = place[mesh.faces]
    ends = torch.stack([place, place.roll(-1, 1)], -1).flatten(0, 1)
    at = torch.stack([uv, uv.roll(-1, 1)], 2).detach().flatten(0, 1)
    # Both sides of an edge run the same way, from the place of the smaller number.
    backwards = ends[:, 0] > ends[:, 1]
    ends = torch.where(backwards[:, None], ends.flip(1), ends)
    at = torch.where(backwards[:, None, None], at.flip(1), at)
    key = ends[:, 0] * (int(place.max()) + 1) + ends[:, 1]
    order = torch.argsort(key, stable=True)
    one, other = order[:-1], order[1:]
    seam = (key[one] == key[other]) & (at[one] != at[other]).any(-1).any(-1)
    one, other = at[one[seam]], at[other[seam]]
    length = torch.maximum(
        *(torch.linalg.vector_norm(s[:, 1] - s[:, 0], dim=-1) for s in (one, other))
    )
    steps = (length * size).ceil().long() + 1
    whose, step = expand(steps)
    share = ((step + 0.5) / steps[whose]).to(at).unsqueeze(-1)
    both = [torch.lerp(s[whose, 0], s[whose, 1], share.expand(-1, 2)) for s in (one, other)]
    pairs = torch.stack([_texel(point, number) for point in both], -1)
    return pairs[(pairs >= 0).all(-1)]


def _texel(uv: Tensor, number: Tensor) -> Tensor:
    """Return the numbers of the texels at coordinates ``[N, 2]``."""
    size = len(number)
    column = (uv[:, 0] * size).floor().long().clamp(0, size - 1)
    row = ((1.0 - uv[:, 1]) * size).floor().long().clamp(0, size - 1)
    return number[row, column]


def _harmonic(
    links: np.ndarray, values: np.ndarray, known: np.ndarray, points: np.ndarray
) -> np.ndarray:
    """Return values ``[N, C]`` with those not known replaced by harmonic ones."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components, dijkstra
    from scipy.sparse.linalg import cg, splu
    from scipy.spatial import KDTree

    count = len(values)
    both = np.concatenate([links, links[:, ::-1]])
    graph = coo_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), (count, count)).tocsr()
    _, part = connected_components(graph, directed=False)
    alone = ~np.isin(part, part[known])
    values, known = values.copy(), known | alone
    if alone.any():
        given = known & ~alone
        _, index = KDTree(points[given]).query(points[alone])
        values[alone] = values[given][index]
    wanted = np.flatnonzero(~known)
    if not len(wanted):
        return values
    rows = graph[wanted]
    degree = coo_matrix(
        (np.asarray(rows.sum(1))[:, 0], (np.arange(len(wanted)), np.arange(len(wanted))))
    )
    inner = (degree - rows[:, wanted]).tocsr()
    outer = rows[:, np.flatnonzero(known)] @ values[known]
    if len(wanted) <= _DIRECT:
        # As symmetric and positive as it is, it needs no pivots.
        options = {"SymmetricMode": True}
        factor = splu(inner.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
        values[wanted] = factor.solve(outer)
        return values
    _, _, source = dijkstra(
        graph, unweighted=True, indices=np.flatnonzero(known), min_only=True,
        return_predecessors=True,
    )  # fmt: skip
    values[wanted] = values[source[wanted]]
    for channel in range(values.shape[1]):
        start = values[wanted, channel]
        values[wanted, channel] = cg(
            inner, outer[:, channel], x0=start, rtol=1e-4, maxiter=_ROUNDS
        )[0]
    return values
