"""What each texel of an atlas shows: the face, and where on it.

Texels are addressed ``[row, column]``, row 0 on top; texture coordinates have v up. A face's own
texels are those whose centres it covers. Around them, texels within reach of a bilinear look-up
belong to it, too, and show its plane a little beyond its edge, so that a look-up on an edge is not
mixed with anything else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.mesh import Mesh

# A bilinear look-up at an edge reaches texels whose centres are nearer than this.
_REACH = math.sqrt(2.0)
# Beyond its edge, a face is continued by at most its own height; slivers would go anywhere.
_BEYOND = -1.0
_ROWS, _PAIRS = 2**18, 2**20


@dataclass(frozen=True, eq=False)
class Texels:
    """The atlas, texel by texel.

    Attributes:
        face_ids: int64 ``[S, S]``, -1 where no face is near.
        barycentrics: weights of the corners ``[S, S, 3]``, sum 1, negative beyond an edge; 0 where
            no face is near.
        inside: bool ``[S, S]``, the face covers the texel's centre.
        overlap: share of covered texels that more than one face covers.
    """

    face_ids: Tensor
    barycentrics: Tensor
    inside: Tensor
    overlap: float

    def points(self, mesh: Mesh) -> Tensor:
        """Tell where the texels with a face are in the world ``[N, 3]``, in the order of rows."""
        near = self.face_ids >= 0
        triangles = mesh.vertices[mesh.faces[self.face_ids[near]]]
        return (self.barycentrics[near].unsqueeze(-1) * triangles).sum(1)


def locate(uv: Tensor, size: int) -> Texels:
    """Return the texels of an atlas.

    Where several faces are within reach, a texel belongs to the nearest, then to the first.

    Args:
        uv: corners of the faces ``[F, 3, 2]`` in [0, 1].
        size: of the texture.

    Raises:
        ValueError: coordinates are outside [0, 1].
    """
    low, high = (float(bound) for bound in torch.aminmax(uv.detach()))
    if low < -1e-4 or high > 1.0 + 1e-4:
        raise ValueError(
            f"uv: expected coordinates in [0, 1], got {low:.4g} to {high:.4g}: unwrap the mesh"
        )
    # In texels, x right and y down, centres at whole numbers.
    flipped = torch.stack([uv[..., 0], 1.0 - uv[..., 1]], -1).detach().double()
    corners = flipped * size - 0.5
    nobody = len(corners)
    best = torch.full((size * size,), math.inf, dtype=torch.float64, device=uv.device)
    owner = torch.full((size * size,), nobody, device=uv.device)
    covering = torch.zeros(size * size, dtype=torch.int32, device=uv.device)
    for face, texel in _candidates(corners, size):
        weights, away = nearest(corners[face], _centres(texel, size))
        covering += torch.bincount(texel[weights.amin(-1) > 1e-3], minlength=size * size).int()
        reached = away <= _REACH**2
        face, texel, away = face[reached], texel[reached], away[reached]
        before = best.clone()
        best.scatter_reduce_(0, texel, away, "amin")
        owner[best < before] = nobody
        wins = away == best[texel]
        owner.scatter_reduce_(0, texel[wins], face[wins], "amin")
    weights = torch.zeros(size * size, 3, dtype=uv.dtype, device=uv.device)
    (owned,) = torch.nonzero(owner < nobody, as_tuple=True)
    for part in owned.split(_PAIRS):
        found = nearest(corners[owner[part]], _centres(part, size))[0]
        weights[part] = found.to(uv.dtype)
    covered = max(int((covering > 0).sum()), 1)
    return Texels(
        owner.masked_fill(owner == nobody, -1).reshape(size, size),
        weights.reshape(size, size, 3),
        (best == 0.0).reshape(size, size),
        int((covering > 1).sum()) / covered,
    )


def nearest(corners: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Tell where points are on triangles, in the plane.

    Args:
        corners: ``[N, 3, 2]``.
        points: ``[N, 2]``.

    Returns:
        Weights of the corners ``[N, 3]``: of the point itself, also beyond an edge by up to the
        triangle's height, else of the triangle's nearest point; and the squared distance to the
        triangle ``[N]``, 0 inside.
    """
    a, b, c = corners.unbind(1)
    area = _cross(b - a, c - a)
    flat = area.abs() < 1e-12
    safe = torch.where(flat, 1.0, area)
    second, third = _cross(points - a, c - a) / safe, _cross(b - a, points - a) / safe
    exact = torch.stack([1.0 - second - third, second, third], -1)
    inside = ~flat & (exact.amin(-1) >= 0.0)
    sides = corners.roll(-1, 1) - corners
    towards = points.unsqueeze(1) - corners
    along = (sides * towards).sum(-1) / (sides * sides).sum(-1).clamp(min=1e-30)
    along = along.clamp(0.0, 1.0)
    away, side = (along.unsqueeze(-1) * sides - towards).square().sum(-1).min(1)
    share = along.gather(1, side.unsqueeze(1))[:, 0]
    eye = torch.eye(3, dtype=corners.dtype, device=corners.device)
    on_edge = torch.lerp(eye[side], eye[(side + 1) % 3], share.unsqueeze(-1).expand(-1, 3))
    keep = ~flat & (exact.amin(-1) >= _BEYOND)
    weights = torch.where(keep.unsqueeze(-1), exact, on_edge)
    return weights, away.masked_fill(inside, 0.0)


def filled(texture: Tensor, known: Tensor) -> Tensor:
    """Give texels ``[S, S, C]`` that are not known ``[S, S]`` the value of the nearest that is.

    So no look-up, however blurred by mip-maps, meets a background that is no part of the surface.

    Raises:
        ValueError: none is known.
    """
    from scipy.ndimage import distance_transform_edt

    if not bool(known.any()):
        raise ValueError("known: expected at least one texel, got none")
    empty = ~known.cpu().numpy()
    place = distance_transform_edt(empty, return_distances=False, return_indices=True)
    rows, columns = torch.from_numpy(np.asarray(place, np.int64)).to(texture.device)
    return texture[rows, columns]


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Tell of each of ``sum(counts)`` items whose it is, and its number among those."""
    whose = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    starts = counts.cumsum(0) - counts
    return whose, torch.arange(len(whose), device=counts.device) - starts[whose]


def _candidates(corners: Tensor, size: int):
    """Yield pairs of faces and texels, in order of faces: all within reach of each other."""
    y = corners[..., 1]
    first = (y.amin(1) - _REACH).ceil().clamp(min=0).long()
    rows = ((y.amax(1) + _REACH).floor().clamp(max=size - 1).long() - first + 1).clamp(min=0)
    for faces in _parts(rows, _ROWS):
        whose, number = expand(rows[faces])
        face = faces[whose]
        row = first[face] + number
        left, right = _span(corners[face], row.double())
        left = left.ceil().clamp(min=0).long()
        columns = (right.floor().clamp(max=size - 1).long() - left + 1).clamp(min=0)
        for part in _parts(columns, _PAIRS):
            line, step = expand(columns[part])
            line = part[line]
            yield face[line], row[line] * size + left[line] + step


def _parts(counts: Tensor, limit: int) -> list[Tensor]:
    """Return indices of `counts` in pieces of about `limit` items together."""
    piece = torch.div(counts.cumsum(0), limit, rounding_mode="floor")
    sizes = torch.unique_consecutive(piece, return_counts=True)[1].tolist()
    return list(torch.arange(len(counts), device=counts.device).split(sizes))


def _span(corners: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Return from where to where triangles ``[N, 3, 2]`` reach in the band around a row ``[N]``."""
    x, y = corners.unbind(-1)
    next_x, next_y = x.roll(-1, 1), y.roll(-1, 1)
    lows, highs = [], []
    bands = [row.unsqueeze(1) + shift for shift in (-_REACH, _REACH)]
    within = (y >= bands[0]) & (y <= bands[1])
    found = [(x, within)]
    for band in bands:
        share = (band - y) / torch.where(next_y == y, 1.0, next_y - y)
        crosses = (next_y != y) & (share >= 0.0) & (share <= 1.0)
        found.append((x + share * (next_x - x), crosses))
    for at, valid in found:
        lows.append(at.masked_fill(~valid, math.inf).amin(1))
        highs.append(at.masked_fill(~valid, -math.inf).amax(1))
    low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
    none = low > high
    return (low - _REACH).masked_fill(none, 0.0), (high + _REACH).masked_fill(none, -1.0)


def _centres(texel: Tensor, size: int) -> Tensor:
    row = torch.div(texel, size, rounding_mode="floor")
    return torch.stack([texel % size, row], -1).double()


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
