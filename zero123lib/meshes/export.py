"""Meshes as files that others open: GLB, OBJ with MTL and PNG, PLY and STL.

GLB and OBJ are written y-up, PLY and STL as they are, z-up; :mod:`zero123lib.meshes.axes` says how.
`load.load_mesh` reads each back to the same numbers, and every file says its axes in words.

Files appear whole or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zero123lib import __version__
from zero123lib._files import write_bytes
from zero123lib._optional import require
from zero123lib.meshes import obj
from zero123lib.meshes.axes import FORMATS, IN_WORDS, SUFFIXES, UPS, Up, to_file
from zero123lib.meshes.colors import colors_at_vertices, is_plain
from zero123lib.meshes.corners import distinct_corners, per_vertex
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.shading import to_linear
from zero123lib.views.eight_bits import to_uint8

GENERATOR = f"zero123lib {__version__}"
SCALE = "no physical size: 1 unit is the side of the box that a reconstructed object fits in"
# For the 80 bytes of an STL file.
_SHORT: dict[Up, str] = {
    "y": "y up, azimuth 0 at +x; no physical size: 1 = object's box",
    "z": "z up, azimuth 0 at +x; no physical size: 1 = object's box",
}
# What vertices' colours are called until they get the name that trimesh keeps for bytes.
_COLORS = "_COLOR_LINEAR"


@dataclass(frozen=True)
class Written:
    """Holds what `write_mesh` has written.

    Attributes:
        files: the mesh file, and those that it refers to.
        dropped: what the mesh has and the format cannot hold, in words.
    """

    files: tuple[Path, ...]
    dropped: tuple[str, ...] = ()


def write_mesh(path: str | Path, mesh: Mesh, up: str = "auto") -> Written:
    """Write a mesh in the format that the file's name ends in.

        .glb   everything: materials, textures (PNG), vertices' colours, normals, alpha.
        .obj   with NAME.mtl and NAME.png beside it; no transparency, and vertices' colours only
               where there is no texture.
        .ply   colours at vertices: textures give theirs there. Normals that are one per vertex.
        .stl   the surface alone.

    Args:
        path: where; a file that is there already is replaced once the new one is whole.
        mesh: in our world, z-up.
        up: the file's axis that is up, "y", "z", or "auto": y for GLB and OBJ, z for PLY and STL,
            which is what readers expect.

    Raises:
        ValueError: no such format, or no such `up`.
        MissingExtraError: trimesh is not installed.
        OSError: it could not be written; what was there stays.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"path: expected a name in {', '.join(SUFFIXES)}, got {str(path)!r}")
    if up not in UPS:
        raise ValueError(f"up: expected one of {', '.join(UPS)}, got {up!r}")
    axis: Any = FORMATS[suffix] if up == "auto" else up
    mesh = _turned(mesh.to("cpu"), axis)
    if suffix == ".obj":
        notes = [f"{GENERATOR}: {IN_WORDS[axis]}", SCALE, *_copyright(mesh)]
        return Written(tuple(obj.write_obj(path, mesh, notes)), tuple(obj.dropped(mesh)))
    trimesh = require("trimesh", "meshes")
    write, dropped = {
        ".glb": (_glb, []),
        ".ply": (_ply, _dropped_by_ply(mesh)),
        ".stl": (_stl, [] if is_plain(mesh) else ["colours and textures"]),
    }[suffix]
    write_bytes(path, write(trimesh, mesh, axis))
    return Written((path,), tuple(dropped))


def _turned(mesh: Mesh, up: Up) -> Mesh:
    """Return the mesh in the file's axes, without gradients and in float32."""
    return replace(
        mesh,
        vertices=to_file(mesh.vertices.detach().float(), up),
        normals=None if mesh.normals is None else to_file(mesh.normals.detach().float(), up),
        uv=None if mesh.uv is None else mesh.uv.detach().float(),
        vertex_colors=None if mesh.vertex_colors is None else mesh.vertex_colors.detach().float(),
    )


def _copyright(mesh: Mesh) -> list[str]:
    text = " ".join(mesh.info.get("copyright", "").split())
    return [f"copyright: {text}"] if text else []


def _glb(trimesh: Any, mesh: Mesh, up: Up) -> bytes:
    scene = trimesh.Scene()
    kinds = mesh.face_material
    for index, material in enumerate(mesh.materials):
        faces = torch.arange(len(mesh.faces)) if kinds is None else (kinds == index).nonzero()[:, 0]
        if len(faces) and (kinds is not None or index == 0):
            scene.add_geometry(_part(trimesh, mesh, faces, material, f"material_{index}"))
    kept = {f"material_{index}": material for index, material in enumerate(mesh.materials)}

    def describe(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = GENERATOR
        tree["asset"]["extras"] = {"axes": IN_WORDS[up], "scale": SCALE}
        if mesh.info.get("copyright"):
            tree["asset"]["copyright"] = mesh.info["copyright"]
        _exact_colors(tree, kept)

    return trimesh.exchange.gltf.export_glb(
        scene, include_normals=mesh.normals is not None, tree_postprocessor=describe
    )


def _part(trimesh: Any, mesh: Mesh, faces: torch.Tensor, material: Material, name: str) -> Any:
    """Return the faces of one material as trimesh's, a vertex for each kind of corner."""
    corners, indices = distinct_corners(mesh, faces)
    at = mesh.faces.flatten()[corners].numpy()
    uv = None if mesh.uv is None else mesh.uv.reshape(-1, 2)[corners].numpy()
    attributes = {}
    if mesh.vertex_colors is not None:
        attributes[_COLORS] = to_linear(mesh.vertex_colors.clamp(0.0, 1.0)).numpy()[at]
    made = trimesh.Trimesh(
        mesh.vertices.numpy()[at],
        indices.numpy(),
        vertex_normals=None if mesh.normals is None else _unit_normals(mesh, corners),
        visual=trimesh.visual.TextureVisuals(uv=uv, material=_pbr(trimesh, material, name)),
        vertex_attributes=attributes,
        process=False,
    )
    return made


def _unit_normals(mesh: Mesh, corners: torch.Tensor) -> np.ndarray:
    """Return normals of corners; glTF wants length 1 even of faces without area, which have
    none."""
    assert mesh.normals is not None
    normals = mesh.normals.reshape(-1, 3)[corners]
    length = torch.linalg.vector_norm(normals, dim=-1, keepdim=True)
    fallback = torch.tensor([0.0, 1.0, 0.0])
    return torch.where(length > 1e-6, normals / length.clamp(min=1e-6), fallback).numpy()


def _pbr(trimesh: Any, material: Material, name: str) -> Any:
    return trimesh.visual.material.PBRMaterial(
        name=name,
        baseColorTexture=None if material.texture is None else base_color_image(material),
        metallicFactor=0.0,
        roughnessFactor=1.0,
        # As our own renderer: files from the wild have faces that look the wrong way.
        doubleSided=True,
        alphaMode=material.alpha.upper(),
        alphaCutoff=float(material.alpha_cutoff) if material.alpha == "mask" else None,
    )


def _exact_colors(tree: dict[str, Any], materials: Mapping[str, Material]) -> None:
    """Keep colours as the numbers they are: trimesh would round both kinds to bytes."""
    for written in tree.get("materials", []):
        factor = [float(value) for value in materials[written["name"]].color]
        written.setdefault("pbrMetallicRoughness", {})["baseColorFactor"] = factor
    for made in tree["meshes"]:
        for primitive in made["primitives"]:
            attributes = primitive["attributes"]
            if _COLORS in attributes:
                attributes["COLOR_0"] = attributes.pop(_COLORS)


def base_color_image(material: Material) -> Image.Image:
    """Return a material's texture; without alpha where that means nothing."""
    assert material.texture is not None
    texture = material.texture.detach()
    if texture.is_floating_point():
        texture = to_uint8(texture)
    channels = 3 if material.alpha == "opaque" else 4
    return Image.fromarray(np.ascontiguousarray(texture.cpu().numpy()[..., :channels]))


def _ply(trimesh: Any, mesh: Mesh, up: Up) -> bytes:
    normals = per_vertex(mesh.normals, mesh)
    made = trimesh.Trimesh(
        mesh.vertices.numpy(),
        mesh.faces.numpy(),
        vertex_normals=None if normals is None else normals.numpy(),
        process=False,
    )
    if not is_plain(mesh):
        colors = to_uint8(colors_at_vertices(mesh)).numpy()
        made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=colors)
    content = trimesh.exchange.ply.export_ply(made, vertex_normal=normals is not None)
    magic, form, rest = content.split(b"\n", 2)
    comments = [f"{GENERATOR}: {IN_WORDS[up]}", SCALE, *_copyright(mesh)]
    header = [magic, form, *(f"comment {line}".encode("ascii", "replace") for line in comments)]
    return b"\n".join([*header, rest])


def _dropped_by_ply(mesh: Mesh) -> list[str]:
    dropped = []
    if any(material.texture is not None for material in mesh.materials):
        dropped.append("textures, but for their colours at the vertices")
    if mesh.normals is not None and per_vertex(mesh.normals, mesh) is None:
        dropped.append("normals, which differ between the corners of a vertex")
    return dropped


def _stl(trimesh: Any, mesh: Mesh, up: Up) -> bytes:
    made = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    content = trimesh.exchange.stl.export_stl(made)
    # Not the word "solid" first: readers would take the file for text.
    header = f"{_SHORT[up]}; {GENERATOR}".encode("ascii", "replace")[:80]
    return header.ljust(80) + content[80:]
