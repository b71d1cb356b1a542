"""Mesh files from outside, read safely into one form: GLB, glTF, OBJ, PLY and STL.

A file's axes become ours, see :mod:`zero123lib.meshes.axes`.

Nothing is fetched, and no file outside the mesh file's own folder is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from zero123lib._errors import one_line
from zero123lib.meshes.axes import FORMATS, UPS, Up, from_file
from zero123lib.meshes.gltf import read_gltf
from zero123lib.meshes.materials import (
    Look,
    as_material,
    read_texture,
    unfolded,
    without_image,
)
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.normals import crease_normals
from zero123lib.meshes.obj_reading import read_obj
from zero123lib.meshes.piece import Piece
from zero123lib.meshes.ply import read_ply
from zero123lib.meshes.resolver import FileResolver
from zero123lib.meshes.stl import read_stl
from zero123lib.meshes.topology import areas, slivers

MAX_FILE_BYTES = 2**30
MAX_TRIANGLES = 5_000_000
# All textures of a mesh together; larger ones are made smaller.
MAX_TEXELS = 2**24

# What becomes of textures that cannot be read: the file is refused, or they are left out.
Textures = Literal["all", "readable"]

# Of the largest part's longest side: smaller parts are nothing.
_NOTHING = 1e-6


class MeshError(ValueError):
    """A mesh that cannot be used; the message names the file and what is wrong with it."""


def load_mesh(
    path: str | Path, up: str = "auto", normalise: bool = True, textures: Textures = "all"
) -> Mesh:
    """Read a mesh file into our world.

    All parts of a scene are joined, each where its transforms put it. Where the file has no
    normals, smooth ones are made (see `normals.crease_normals`). Faces without area that lie
    outside the box of all others are left out.

    Args:
        path: .glb, .gltf, .obj (with its .mtl and textures), .ply or .stl.
        up: the file's axis that is up, "y", "z", or "auto" by its format (see `axes.FORMATS`).
        normalise: centre the bounding box at the origin and make its longest side 1.
        textures: "all" refuses a file whose texture of the surface's colour cannot be read;
            "readable" leaves such a texture out and says so.

    Returns:
        float32, on the CPU, at most `MAX_TRIANGLES` faces. `info` has what a glTF file says of
        itself, "copyright" and "generator", and as "note" what is missing from it, such as an OBJ
        file's materials, or had to be read otherwise than it is written.

    Raises:
        MeshError: the file is missing, damaged, too large, has no surface, or needs something
            that is not there.
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
    resolver = FileResolver(path.parent)
    try:
        size = path.stat().st_size
        if not 0 < size <= MAX_FILE_BYTES:
            raise ValueError(f"expected 1 to {MAX_FILE_BYTES} bytes, got {size}")
        kind: Any = FORMATS[suffix] if up == "auto" else up
        with np.errstate(all="ignore"):  # what is not finite is refused at the end
            content = path.read_bytes()
            if content.startswith(b"version https://git-lfs"):
                raise ValueError("expected a mesh, got a Git LFS pointer: run git lfs pull")
            pieces = _limited(_pieces(content, suffix, resolver))
            return _join(pieces, kind, normalise, textures, resolver)
    except Exception as error:
        # Readers meet damaged files with errors of any type; all mean the same to the caller.
        reason = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(error).split()))[:300]
        if not isinstance(error, ValueError) or not reason:
            reason = f"damaged: {type(error).__name__} {reason}".rstrip()
        notes = "".join(f" ({note})" for note in resolver.notes)
        raise MeshError(one_line(f"{str(path)!r}: {reason}{notes}")) from error


def _pieces(content: bytes, suffix: str, resolver: FileResolver) -> Iterable[Piece]:
    if suffix in (".glb", ".gltf"):
        return read_gltf(content, resolver, MAX_TRIANGLES)
    if suffix == ".obj":
        return read_obj(content, resolver)
    return read_ply(content, resolver) if suffix == ".ply" else read_stl(content, resolver)


def _limited(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the pieces, or ValueError as soon as they are too many."""
    kept, triangles = [], 0
    for piece in pieces:
        triangles += len(piece.faces)
        if triangles > MAX_TRIANGLES:
            raise ValueError(f"expected at most {MAX_TRIANGLES} triangles, got more")
        kept.append(piece)
    if not triangles:
        raise ValueError("expected a surface of triangles, got none")
    return kept


def _join(
    pieces: list[Piece], up: Up, normalise: bool, textures: Textures, resolver: FileResolver
) -> Mesh:
    """Return one mesh of all pieces, in our axes."""
    looks, kinds = _looks(pieces)
    firsts = np.cumsum([0, *(len(piece.vertices) for piece in pieces)])
    faces = np.concatenate([p.faces + first for p, first in zip(pieces, firsts, strict=False)])
    uv, normals = _corners(pieces, "uv", 2), _corners(pieces, "normals", 3)
    vertices = from_file(np.concatenate([piece.vertices for piece in pieces]), up)
    used, faces = _used(faces)
    if not np.isfinite(vertices[used]).all():
        raise ValueError("expected finite vertices, got NaN or infinity")
    keep = _counted(vertices[used], faces, _nothing(pieces))
    if not keep.all():
        kinds = kinds[keep]
        uv, normals = (None if part is None else part[keep] for part in (uv, normals))
        left, faces = _used(faces[keep])
        used = used[left]
    faces = torch.from_numpy(faces)
    positions = torch.from_numpy(_placed(vertices[used], normalise).astype(np.float32))
    if not areas(positions[faces].numpy()).any():
        raise ValueError("expected a surface, got triangles without any area")
    materials, uv = _materials(looks, kinds, uv, textures, resolver)
    if resolver.notes:
        resolver.info["note"] = "; ".join(resolver.notes)
    return Mesh(
        positions,
        faces,
        materials,
        torch.from_numpy(kinds),
        uv=None if uv is None else torch.from_numpy(uv),
        vertex_colors=_colors(pieces, used),
        normals=_normals(normals, up, positions, faces),
        info=resolver.info,
    )


def _used(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the vertices that faces use ``[V]``, and the faces as indices of those ``[F, 3]``."""
    there = np.zeros(int(faces.max()) + 1, bool)
    there[faces] = True
    number = np.cumsum(there) - 1
    return np.flatnonzero(there), number[faces]


def _nothing(pieces: list[Piece]) -> np.ndarray:
    """Return which faces ``[F]`` are of pieces that are scaled to nothing, beside others that are
    not."""
    if len(pieces) == 1:
        return np.zeros(len(pieces[0].faces), bool)
    sizes = [np.ptp(piece.vertices[piece.faces], axis=(0, 1)).max() for piece in pieces]
    return np.repeat(sizes <= _NOTHING * max(sizes), [len(piece.faces) for piece in pieces])


def _counted(vertices: np.ndarray, faces: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Return which faces ``[F]`` have area, or lie within the box of those that have.

    Scenes hide parts by scaling them to nothing, wherever those are.
    """

    def flat(these: np.ndarray) -> np.ndarray:
        return nothing[these] | slivers(vertices[faces[these]])

    low, high = vertices.min(0), vertices.max(0)
    # Where solid faces reach to all sides of the box, none has to be left out. Few are looked at.
    outermost = ((vertices == low) | (vertices == high)).any(1)
    reach = np.flatnonzero(outermost[faces].any(1))
    corners = vertices[faces[reach[~flat(reach)]]]
    keep = np.ones(len(faces), bool)
    if len(corners) and (corners.min((0, 1)) == low).all() and (corners.max((0, 1)) == high).all():
        return keep
    gone = flat(np.arange(len(faces)))
    if gone.all():
        return keep
    solid = vertices[faces[~gone]]
    inside = ((vertices >= solid.min((0, 1))) & (vertices <= solid.max((0, 1)))).all(1)
    return ~gone | inside[faces].all(1)


def _placed(vertices: np.ndarray, normalise: bool) -> np.ndarray:
    """Centred, longest side 1: in float64, since files put small objects far away."""
    low, high = vertices.min(0), vertices.max(0)
    longest = float((high - low).max())
    if not 0.0 < longest < np.inf:
        raise ValueError(f"expected an extent above 0, got {longest:g}")
    return (vertices - 0.5 * (low + high)) / longest if normalise else vertices


def _looks(pieces: list[Piece]) -> tuple[list[Look], np.ndarray]:
    """Return each look that faces have, once, and which each face has ``[F]``."""
    order: dict[int, int] = {}
    found: list[Look] = []
    kinds = []
    for piece in pieces:
        own = np.zeros(len(piece.faces), np.int64) if piece.kinds is None else piece.kinds
        table = np.zeros(len(piece.looks), np.int64)
        for index in np.unique(own).tolist():
            look = piece.looks[index]
            if id(look) not in order:
                order[id(look)] = len(found)
                found.append(look)
            table[index] = order[id(look)]
        kinds.append(table[own])
    return found, np.concatenate(kinds)


def _materials(
    looks: list[Look],
    kinds: np.ndarray,
    uv: np.ndarray | None,
    textures: Textures,
    resolver: FileResolver,
) -> tuple[tuple[Material, ...], np.ndarray | None]:
    """Return the materials, and the corners' coordinates ``[F, 3, 2]`` in their textures."""
    made = []
    budget = MAX_TEXELS // max(sum(look.image is not None for look in looks), 1)
    for index, look in enumerate(looks):
        try:
            texture = read_texture(look, budget)
        except ValueError as error:
            if textures == "all":
                raise
            resolver.note(f"a texture is left out: {error}")
            look, texture = without_image(look), None
        if texture is not None and uv is not None and look.wrap != ("repeat", "repeat"):
            texture, uv[kinds == index] = unfolded(texture, uv[kinds == index], look.wrap)
        made.append(as_material(look, texture))
    return tuple(made), uv


def _corners(pieces: list[Piece], name: str, width: int) -> np.ndarray | None:
    """Return values of the faces' corners, float32 ``[F, 3, width]``, 0 where a piece has none."""
    if all(getattr(piece, name) is None for piece in pieces):
        return None
    parts = [
        np.zeros((len(piece.faces), 3, width)) if values is None else values
        for piece in pieces
        for values in [getattr(piece, name)]
    ]
    return np.concatenate(parts).astype(np.float32)


def _colors(pieces: list[Piece], used: np.ndarray) -> torch.Tensor | None:
    """Return vertices' colours ``[V, 4]``, white where a piece has none."""
    if all(piece.colors is None for piece in pieces):
        return None
    parts = [np.ones((len(p.vertices), 4)) if p.colors is None else p.colors for p in pieces]
    return torch.from_numpy(np.concatenate(parts)[used].astype(np.float32))


def _normals(
    given: np.ndarray | None, up: Up, vertices: torch.Tensor, faces: torch.Tensor
) -> torch.Tensor:
    """Return unit normals ``[F, 3, 3]``: those of the files where they are of use, else made
    here."""
    own = crease_normals(vertices, faces)
    if given is None:
        return own
    turned = torch.from_numpy(from_file(given, up))
    length = torch.linalg.vector_norm(turned, dim=-1, keepdim=True)
    # A normal that is missing, or on the other side of its face, would be shaded wrongly.
    good = torch.isfinite(length) & (length > 1e-6) & ((turned * own).sum(-1, keepdim=True) > 0)
    return torch.where(good, turned / length.clamp(min=1e-6), own)
