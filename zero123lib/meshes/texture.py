"""Colours of a surface written into a texture or into its vertices.

A colour function takes points of the world ``[N, 3]`` and gives sRGB ``[N, 3]`` in [0, 1]; a
radiance field's `color` is one, and so is what `surface_colors` makes of a mesh.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from zero123lib._optional import require
from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.shading import base_color, to_srgb
from zero123lib.meshes.texels import Texels, filled, locate
from zero123lib.views.eight_bits import to_uint8

ColorFn = Callable[[Tensor], Tensor]

# Of coordinates that were made for one texture; those of files may repeat or mirror parts of it.
_MOST_OVERLAP = 0.01


def bake(mesh: Mesh, color_fn: ColorFn, size: int = 1024, *, chunk: int = 2**18) -> Mesh:
    """Write a colour function into a texture.

    Every texel near a face has the colour of its own point of the surface, those a little beyond
    the edges of charts that of the plane continued; all others that of the nearest such texel.

    Args:
        mesh: its texture coordinates are used where it has some, else it is unwrapped.
        color_fn: see above; called without gradients.
        size: of the square texture, texels.
        chunk: points per call of the colour function.

    Returns:
        The mesh with an opaque uint8 texture ``[size, size, 4]``, and without vertex colours.

    Raises:
        ValueError: the coordinates overlap or leave [0, 1], the colours have another shape or are
            not finite, or unwrapping has failed: see `unwrap`.
    """
    mesh = mesh if mesh.uv is not None else unwrap(mesh, size)
    texels = atlas_texels(mesh, size)
    near = texels.face_ids >= 0
    texture = mesh.vertices.new_zeros(size, size, 3)
    texture[near] = colors_at(color_fn, texels.points(mesh), chunk)
    return textured(mesh, filled(texture, near))


def with_vertex_colors(mesh: Mesh, color_fn: ColorFn, *, chunk: int = 2**18) -> Mesh:
    """Give each vertex the colour of its place, the light option; textures go.

    Raises:
        ValueError: the colours have another shape or are not finite.
    """
    colors = colors_at(color_fn, mesh.vertices, chunk)
    colors = torch.cat([colors, torch.ones_like(colors[:, :1])], dim=-1)
    return replace(mesh, materials=(Material(),), face_material=None, uv=None, vertex_colors=colors)


def surface_colors(mesh: Mesh) -> ColorFn:
    """Return a mesh's unlit colours as a function of points: those of its nearest point.

    For textures that are to be baked anew, after a mesh was cleaned or decimated. Alpha plays no
    part.

    Raises:
        MissingExtraError: Open3D is not installed.
    """
    open3d = require("open3d", "meshes")
    scene = open3d.t.geometry.RaycastingScene()
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    faces = mesh.faces.cpu().numpy().astype(np.uint32)
    scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(faces))

    def color_fn(points: Tensor) -> Tensor:
        query = np.ascontiguousarray(points.detach().cpu().numpy(), np.float32)
        found = scene.compute_closest_points(open3d.core.Tensor(query))
        face_ids = torch.from_numpy(found["primitive_ids"].numpy().astype(np.int64))
        second, third = torch.from_numpy(found["primitive_uvs"].numpy()).to(mesh.vertices).unbind(1)
        weights = torch.stack([1.0 - second - third, second, third], -1)
        color = to_srgb(base_color(mesh, face_ids.to(mesh.device), weights))
        return color[:, :3].to(points)

    return color_fn


def atlas_texels(mesh: Mesh, size: int) -> Texels:
    """Return the texels of a mesh's texture.

    Raises:
        ValueError: it has no coordinates, or they overlap or leave [0, 1].
    """
    if mesh.uv is None:
        raise ValueError("mesh: expected texture coordinates, got none: unwrap it first")
    texels = locate(mesh.uv, size)
    if texels.overlap > _MOST_OVERLAP:
        raise ValueError(
            f"uv: expected coordinates that do not overlap, got {texels.overlap:.0%} of the "
            "texture used more than once: unwrap the mesh"
        )
    return texels


def colors_at(color_fn: ColorFn, points: Tensor, chunk: int) -> Tensor:
    """Return colours ``[N, 3]`` of points, clipped to [0, 1].

    Raises:
        ValueError: they have another shape or are not finite.
    """
    parts = []
    with torch.no_grad():
        for part in points.detach().split(chunk):
            colors = color_fn(part)
            if tuple(colors.shape) != (len(part), 3):
                got, wanted = list(colors.shape), [len(part), 3]
                raise ValueError(f"color_fn: expected colours of shape {wanted}, got {got}")
            if not bool(torch.isfinite(colors).all()):
                raise ValueError("color_fn: expected finite colours, got NaN or infinity")
            parts.append(colors.to(points).clamp(0.0, 1.0))
    return torch.cat(parts)


def textured(mesh: Mesh, texture: Tensor) -> Mesh:
    """Return the mesh with sRGB ``[S, S, 3]`` in [0, 1] as its only, opaque, uint8 texture."""
    opaque = torch.cat([texture, torch.ones_like(texture[..., :1])], dim=-1)
    rounded = to_uint8(opaque)
    material = Material(texture=rounded)
    return replace(mesh, materials=(material,), face_material=None, vertex_colors=None)
