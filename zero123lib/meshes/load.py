"""Mesh files from outside, read safely into one form: GLB, glTF, OBJ, PLY and STL, by trimesh.

A file's axes become ours, see :mod:`zero123lib.meshes.axes`.

Nothing is fetched, and no file outside the mesh file's own folder is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zero123lib._optional import require
from zero123lib.meshes import gltf
from zero123lib.meshes.axes import FORMATS, UPS, Up, from_file
from zero123lib.meshes.materials import read_material, read_vertex_colors
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.nearby import Nearby
from zero123lib.meshes.normals import crease_normals
from zero123lib.meshes.topology import areas

MAX_FILE_BYTES = 2**30
MAX_TRIANGLES = 5_000_000
# All textures of a mesh together; larger ones are made smaller.
MAX_TEXELS = 2**24


class MeshError(ValueError):
    """A mesh that cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True, eq=False)
class _Piece:
    """One geometry of a file, in the file's axes. Arrays as in `Mesh`; normals per vertex."""

    vertices: np.ndarray
    faces: np.ndarray
    material: Any
    uv: np.ndarray | None
    colors: np.ndarray | None
    normals: np.ndarray | None


def load_mesh(path: str | Path, up: str = "auto", normalise: bool = True) -> Mesh:
    """Read a mesh file into our world.

    All parts of a scene are joined, each where its transforms put it. Where the file has no
    normals, smooth ones are made (see `normals.crease_normals`).

    Args:
        path: .glb, .gltf, .obj (with its .mtl and textures), .ply or .stl.
        up: the file's axis that is up, "y", "z", or "auto" by its format (see `axes.FORMATS`).
        normalise: centre the bounding box at the origin and make its longest side 1.

    Returns:
        float32, on the CPU, at most `MAX_TRIANGLES` faces. `info` has what a glTF file says of
        itself: "copyright", "generator".

    Raises:
        MeshError: the file is missing, damaged, too large, has no surface, or needs something
            that is not there.
        MissingExtraError: trimesh is not installed.
        ValueError: no such `up`.
    """
    path = Path(path)
    if up not in UPS:
        raise ValueError(f"up: expected one of {', '.join(UPS)}, got {up!r}")
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        names = ", ".join(FORMATS)
        raise MeshError(f"mesh: expected a file of {names}, got {str(path)!r}")
    if not path.is_file():
        raise MeshError(f"mesh: expected a file, got {str(path)!r}, and there is none")
    trimesh = require("trimesh", "meshes")
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise ValueError(f"expected 1 to {MAX_FILE_BYTES} bytes, got {size}")
        header = gltf.read_header(path) if suffix in (".glb", ".gltf") else {}
        gltf.check_header(header, MAX_TRIANGLES)
        pieces = list(_pieces(trimesh, path, header))
        if suffix == ".ply":
            _check_promise(path, sum(len(piece.faces) for piece in pieces))
        kind: Any = FORMATS[suffix] if up == "auto" else up
        return _join(pieces, kind, normalise, _info(header))
    except Exception as error:
        # Parsers meet damaged files with errors of any type; all mean the same to the caller.
        reason = " ".join(str(error).split())[:300]
        if not isinstance(error, ValueError) or not reason:
            reason = f"damaged: {type(error).__name__} {reason}".rstrip()
        raise MeshError(f"{str(path)!r}: {reason}") from error


def _pieces(trimesh: Any, path: Path, header: dict[str, Any]) -> Iterator[_Piece]:
    """The geometries of a file where the scene's transforms put them."""
    nearby = Nearby(path.parent)
    with path.open("rb") as file:
        scene = trimesh.load_scene(
            file, file_type=path.suffix.lower()[1:], resolver=nearby, process=False
        )
    if nearby.problems:
        raise ValueError(nearby.problems[0])
    triangles = 0
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or not len(geometry.faces):
            continue
        triangles += len(geometry.faces)
        if triangles > MAX_TRIANGLES:
            raise ValueError(f"expected at most {MAX_TRIANGLES} triangles, got more")
        yield _piece(geometry, transform, header)


def _check_promise(path: Path, faces: int) -> None:
    """Refuse a PLY file with fewer faces than its header says: trimesh takes what there is."""
    with path.open("rb") as file:
        header = file.read(2**16).partition(b"end_header")[0]
    promised = re.search(rb"^element face (\d{1,18})\s*$", header, re.MULTILINE)
    if promised and faces < int(promised[1]):
        raise ValueError(f"expected {int(promised[1])} faces, as its header says, got {faces}")


def _piece(geometry: Any, transform: np.ndarray, header: dict[str, Any]) -> _Piece:
    visual = geometry.visual
    material, uv = getattr(visual, "material", None), getattr(visual, "uv", None)
    if (
        getattr(material, "baseColorTexture", None) is None
        and material is not None
        and gltf.has_texture(header, material.name)
    ):
        raise ValueError(f"expected a texture that can be read, got that of {material.name!r}")
    vertices = np.asarray(geometry.vertices, np.float64)
    faces = np.asarray(geometry.faces, np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(
            f"expected faces of {len(vertices)} vertices, got one of number "
            f"{faces.max() if faces.min() >= 0 else faces.min()}"
        )
    linear = np.asarray(transform[:3, :3], np.float64)
    normals = None
    # Normals of the file are in trimesh's cache already, others would be made when asked for.
    if "vertex_normals" in geometry._cache.cache:
        normals = np.asarray(geometry.vertex_normals) @ np.linalg.pinv(linear)
    mirrored = np.linalg.det(linear) < 0.0
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is refused later
        placed = vertices @ linear.T + transform[:3, 3]
    return _Piece(
        placed,
        faces[:, ::-1] if mirrored else faces,
        material,
        None if uv is None or len(uv) != len(vertices) else np.asarray(uv, np.float64)[:, :2],
        read_vertex_colors(visual, len(vertices), linear=bool(header)),
        normals,
    )


def _join(pieces: list[_Piece], up: Up, normalise: bool, info: dict[str, str]) -> Mesh:
    """One mesh of all pieces, in our axes."""
    if not pieces:
        raise ValueError("expected a surface of triangles, got none")
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = np.concatenate([p.faces + first for p, first in zip(pieces, firsts, strict=False)])
    vertices = from_file(np.concatenate([piece.vertices for piece in pieces]), up)
    if not np.isfinite(vertices[faces]).all():
        raise ValueError("expected finite vertices, got NaN or infinity")
    used, faces = np.unique(faces, return_inverse=True)
    vertices = _placed(vertices[used], normalise)
    faces = torch.from_numpy(faces.reshape(-1, 3))
    positions = torch.from_numpy(vertices.astype(np.float32))
    if not areas(positions[faces].numpy()).any():
        raise ValueError("expected a surface, got triangles without any area")
    materials, face_material = _materials(pieces)
    return Mesh(
        positions,
        faces,
        materials,
        face_material,
        uv=_corners(pieces, "uv", 2),
        vertex_colors=_colors(pieces, used),
        normals=_normals(pieces, up, positions, faces),
        info=info,
    )


def _placed(vertices: np.ndarray, normalise: bool) -> np.ndarray:
    """Centred, longest side 1: in float64, since files put small objects far away."""
    low, high = vertices.min(0), vertices.max(0)
    longest = float((high - low).max())
    if not 0.0 < longest < np.inf:
        raise ValueError(f"expected an extent above 0, got {longest:g}")
    return (vertices - 0.5 * (low + high)) / longest if normalise else vertices


def _materials(pieces: list[_Piece]) -> tuple[tuple[Material, ...], torch.Tensor]:
    """Each material once, and which each face has."""

    def key(piece: _Piece) -> tuple[int, bool]:
        return id(piece.material), piece.colors is not None

    sources = {key(piece): piece.material for piece in pieces}
    order = {which: index for index, which in enumerate(sources)}
    budget = MAX_TEXELS // len(sources)
    materials = tuple(
        read_material(source, budget, colored) for (_, colored), source in sources.items()
    )
    indices = [np.full(len(piece.faces), order[key(piece)], np.int64) for piece in pieces]
    return materials, torch.from_numpy(np.concatenate(indices))


def _corners(pieces: list[_Piece], name: str, width: int) -> torch.Tensor | None:
    """Values of the faces' corners ``[F, 3, width]``, 0 where a piece has none."""
    if all(getattr(piece, name) is None for piece in pieces):
        return None
    parts = [
        np.zeros((len(piece.faces), 3, width)) if values is None else values[piece.faces]
        for piece in pieces
        for values in [getattr(piece, name)]
    ]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def _colors(pieces: list[_Piece], used: np.ndarray) -> torch.Tensor | None:
    """Vertices' colours ``[V, 4]``, white where a piece has none."""
    if all(piece.colors is None for piece in pieces):
        return None
    parts = [np.ones((len(p.vertices), 4)) if p.colors is None else p.colors for p in pieces]
    return torch.from_numpy(np.concatenate(parts)[used].astype(np.float32))


def _normals(
    pieces: list[_Piece], up: Up, vertices: torch.Tensor, faces: torch.Tensor
) -> torch.Tensor:
    """Unit normals ``[F, 3, 3]``: those of the files where they are of use, else made here."""
    own = crease_normals(vertices, faces)
    given = _corners(pieces, "normals", 3)
    if given is None:
        return own
    given = from_file(given, up)
    length = torch.linalg.vector_norm(given, dim=-1, keepdim=True)
    # A normal that is missing, or on the other side of its face, would be shaded wrongly.
    good = torch.isfinite(length) & (length > 1e-6) & ((given * own).sum(-1, keepdim=True) > 0)
    return torch.where(good, given / length.clamp(min=1e-6), own)


def _info(header: dict[str, Any]) -> dict[str, str]:
    asset = header.get("asset", {})
    return {key: str(asset[key])[:1000] for key in ("copyright", "generator") if asset.get(key)}
