"""The colours that a mesh already has, at its vertices and at any point near its surface."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123lib._optional import require
from zero123lib.meshes.materials import PLAIN
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import base_color, to_srgb


def is_plain(mesh: Mesh) -> bool:
    """Whether a mesh has no colour but the grey of files without any."""
    only = mesh.materials[0]
    return (
        mesh.vertex_colors is None
        and mesh.face_material is None
        and only.texture is None
        and only.alpha == "opaque"
        and only.color == PLAIN
    )


def vertex_colors(mesh: Mesh) -> Tensor:
    """sRGB with straight alpha ``[V, 4]`` at the vertices, of textures and materials too.

    A vertex on a seam has the colour of one of its corners; one without faces is white.
    """
    corner = first_corners(mesh.faces, len(mesh.vertices))
    (used,) = torch.nonzero(corner >= 0, as_tuple=True)
    weights = torch.eye(3, device=mesh.device)[corner[used] % 3].to(mesh.vertices)
    color = mesh.vertices.new_ones(len(mesh.vertices), 4)
    color[used] = to_srgb(base_color(mesh, corner[used] // 3, weights)).detach()
    return color


def first_corners(faces: Tensor, vertices: int) -> Tensor:
    """Of each vertex one corner, ``3 * face + place``, int64 ``[V]``; -1 where it has no face."""
    corner = torch.full((vertices,), -1, dtype=torch.int64, device=faces.device)
    flat = faces.flatten()
    numbers = torch.arange(len(flat), device=faces.device)
    return corner.scatter_reduce(0, flat, numbers, "amax", include_self=True)


def surface_color(mesh: Mesh) -> Callable[[Tensor], Tensor]:
    """A function from points ``[..., 3]`` to the sRGB ``[..., 3]`` of the surface nearest to them.

    Raises:
        MissingExtraError: Open3D is not installed.
    """
    o3d: Any = require("open3d", "meshes")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        np.ascontiguousarray(mesh.vertices.detach().cpu().numpy(), np.float32),
        np.ascontiguousarray(mesh.faces.cpu().numpy(), np.uint32),
    )

    def color(points: Tensor) -> Tensor:
        flat = np.ascontiguousarray(points.detach().reshape(-1, 3).cpu().numpy(), np.float32)
        near = scene.compute_closest_points(flat)
        faces = torch.from_numpy(near["primitive_ids"].numpy().astype(np.int64))
        # Weights of the second and third corner, as Embree gives them.
        second, third = torch.from_numpy(near["primitive_uvs"].numpy()).to(mesh.vertices).unbind(-1)
        weights = torch.stack([1.0 - second - third, second, third], dim=-1)
        found = to_srgb(base_color(mesh, faces.to(mesh.device), weights.to(mesh.device)))[..., :3]
        return found.detach().to(points).reshape(points.shape)

    return color
