"""Small meshes with known geometry."""

from __future__ import annotations

import numpy as np
import torch
import trimesh

from zero123lib.meshes.mesh import Material, Mesh


def from_trimesh(mesh: trimesh.Trimesh, **fields: object) -> Mesh:
    return Mesh(
        torch.from_numpy(np.asarray(mesh.vertices, np.float32)),
        torch.from_numpy(np.asarray(mesh.faces, np.int64)),
        **fields,  # pyright: ignore[reportArgumentType]
    )


def sphere(radius: float = 0.5, subdivisions: int = 3) -> Mesh:
    return from_trimesh(trimesh.creation.icosphere(subdivisions, radius))


def box(*extents: float) -> Mesh:
    return from_trimesh(trimesh.creation.box(extents or (1.0, 1.0, 1.0)))


def square(x: float, material: Material | None = None, side: float = 1.0) -> Mesh:
    """A square in the plane x, facing +x; uv (0, 0) at its lower left seen from there."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    yz = (corners - 0.5) * side
    vertices = torch.cat([torch.full((4, 1), x), yz], dim=1)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces, (material or Material(),), uv=corners[faces])


def joined(*meshes: Mesh) -> Mesh:
    """Meshes of one material each, all with uv, as one."""
    firsts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)]).tolist()
    return Mesh(
        torch.cat([mesh.vertices for mesh in meshes]),
        torch.cat([mesh.faces + first for mesh, first in zip(meshes, firsts, strict=False)]),
        tuple(mesh.materials[0] for mesh in meshes),
        torch.cat([torch.full((len(mesh.faces),), i) for i, mesh in enumerate(meshes)]),
        torch.cat([mesh.uv for mesh in meshes if mesh.uv is not None]),
    )
