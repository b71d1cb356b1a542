"""Normals for meshes that bring none: smooth over gentle edges, sharp over steep ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from zero123lib.meshes.topology import weld

CREASE_DEG = 40.0

# Around a vertex with more faces than this, faces stay flat; pairs are made in pieces of this.
_MAX_FACES = 256
_PAIRS = 2**22


def crease_normals(vertices: Tensor, faces: Tensor, crease_deg: float = CREASE_DEG) -> Tensor:
    """Return unit normals of the faces' corners: area-weighted means over a vertex's faces.

    Of those only the faces count whose own normal is within the crease's angle. Vertices at the
    same place are one: files repeat them along the seams of their textures.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.

    Returns:
        ``[F, 3, 3]``; 0 at faces without area.
    """
    a, b, c = vertices[faces].unbind(1)
    weighted = torch.linalg.cross(b - a, c - a)
    flat = F.normalize(weighted, dim=-1, eps=1e-30)
    numbers, _ = weld(vertices.detach().cpu().numpy(), faces.cpu().numpy())
    place = torch.from_numpy(numbers).to(faces.device)[faces].flatten()
    by_place = torch.argsort(place, stable=True)
    counts = torch.bincount(place)
    starts = counts.cumsum(0) - counts
    result = flat.repeat_interleave(3, dim=0)
    limit = math.cos(math.radians(crease_deg))
    for count in torch.unique(counts).tolist():
        if not 1 < count <= _MAX_FACES:
            continue
        (at,) = torch.nonzero(counts == count, as_tuple=True)
        for piece in at.split(max(_PAIRS // count**2, 1)):
            corners = by_place[starts[piece, None] + torch.arange(count, device=at.device)]
            around = torch.div(corners, 3, rounding_mode="floor")
            near = flat[around] @ flat[around].transpose(1, 2) > limit
            mean = F.normalize(near.to(weighted) @ weighted[around], dim=-1, eps=1e-30)
            result = result.index_put((corners,), mean)
    return result.reshape(-1, 3, 3)


def smooth_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return unit normals of the faces' corners: area-weighted means over all a vertex's faces.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``.

    Returns:
        ``[F, 3, 3]``, the same at all corners of a vertex; 0 where its faces have no area.
    """
    a, b, c = vertices[faces].unbind(1)
    weighted = torch.linalg.cross(b - a, c - a).repeat_interleave(3, dim=0)
    total = torch.zeros_like(vertices).index_add(0, faces.flatten(), weighted)
    return F.normalize(total, dim=-1, eps=1e-30)[faces]
