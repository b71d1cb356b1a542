"""The colours that a mesh already has, as those of its vertices."""

from __future__ import annotations

import torch
from torch import Tensor

from zero123lib.meshes.materials import PLAIN
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import base_color, to_srgb


def is_plain(mesh: Mesh) -> bool:
    """Tell whether a mesh has no colour but the grey of files without any."""
    only = mesh.materials[0]
    return (
        mesh.vertex_colors is None
        and mesh.face_material is None
        and only.texture is None
        and only.alpha == "opaque"
        and only.color == PLAIN
    )


def colors_at_vertices(mesh: Mesh) -> Tensor:
    """Return sRGB with straight alpha ``[V, 4]`` at vertices, of textures and materials too.

    A vertex on a seam has the colour of one of its corners; one without faces is white.
    """
    corner = first_corners(mesh.faces, len(mesh.vertices))
    (used,) = torch.nonzero(corner >= 0, as_tuple=True)
    weights = torch.eye(3, device=mesh.device)[corner[used] % 3].to(mesh.vertices)
    color = mesh.vertices.new_ones(len(mesh.vertices), 4)
    color[used] = to_srgb(base_color(mesh, corner[used] // 3, weights)).detach()
    return color


def first_corners(faces: Tensor, vertices: int) -> Tensor:
    """Return a corner of each vertex, ``3 * face + place``, int64 ``[V]``; -1: it has no face."""
    corner = torch.full((vertices,), -1, dtype=torch.int64, device=faces.device)
    flat = faces.flatten()
    numbers = torch.arange(len(flat), device=faces.device)
    return corner.scatter_reduce(0, flat, numbers, "amax", include_self=True)
