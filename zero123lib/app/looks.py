"""A mesh as the page's viewer shows it besides its texture: by its normals, and as bare edges."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from zero123lib._files import write_bytes
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.normals import smooth_normals

# What the page shows of a mesh: the file, and how Gradio's viewer draws it.
LOOKS = {
    "texture": ("mesh.glb", "solid"),
    "normals": ("normals.glb", "solid"),
    "wireframe": ("wireframe.glb", "wireframe"),
}
_EDGES = (0.2, 0.25, 0.33)
_UNLIT = "KHR_materials_unlit"


def write_looks(folder: Path, mesh: Mesh) -> None:
    """Write the files of the looks that are not the mesh's own, into its folder."""
    normals = (normals_at_vertices(mesh) + 1) / 2
    write_unlit(folder / LOOKS["normals"][0], mesh, normals)
    edges = torch.tensor(_EDGES).expand(len(mesh.vertices), 3)
    write_unlit(folder / LOOKS["wireframe"][0], mesh, edges)


def normals_at_vertices(mesh: Mesh) -> Tensor:
    """Return the smooth unit normals of our world at vertices ``[V, 3]``; 0 where no face is."""
    vertices = mesh.vertices.float().cpu()
    faces = mesh.faces.cpu()
    normals = torch.zeros_like(vertices)
    normals[faces.flatten()] = smooth_normals(vertices, faces).reshape(-1, 3)
    return normals


def write_unlit(path: Path, mesh: Mesh, colors: Tensor) -> None:
    """Write a GLB that shows sRGB colours ``[V, 3]`` of its vertices as they are, without light."""
    opaque = torch.cat([colors, torch.ones(len(colors), 1)], 1)
    write_mesh(
        path,
        replace(mesh, materials=(Material(),), face_material=None, uv=None, vertex_colors=opaque),
    )
    write_bytes(path, unlit(path.read_bytes()))


def unlit(glb: bytes) -> bytes:
    """Return a GLB whose materials are shown without light (glTF's KHR_materials_unlit)."""
    (length,) = struct.unpack_from("<I", glb, 12)
    tree, rest = json.loads(glb[20 : 20 + length]), glb[20 + length :]
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), _UNLIT]
    for material in tree["materials"]:
        material.setdefault("extensions", {})[_UNLIT] = {}
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + rest
