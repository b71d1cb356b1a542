"""PLY files: their faces, triangle strips, colours and textures."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from zero123lib.meshes.materials import PLAIN_LOOK, WHITE_LOOK, Look, as_shares, open_image
from zero123lib.meshes.piece import Piece, check_faces, split_by_texture
from zero123lib.meshes.ply_data import Rows, read_elements
from zero123lib.meshes.polygons import triangulate
from zero123lib.meshes.resolver import FileResolver

_CORNERS = ("vertex_indices", "vertex_index", "vertex_indexes")
_COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"),
                ("tx", "ty"), ("s0", "t0"), ("u0", "v0"))  # fmt: skip
_COLORS = (("red", "green", "blue", "alpha"), ("r", "g", "b", "a"),
           ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"))  # fmt: skip


def read_ply(content: bytes, resolver: FileResolver) -> list[Piece]:
    """Read the faces of a file, and its triangle strips.

    A texture counts before colours at vertices, and those before colours of faces, unless all
    vertices have the same.

    Raises:
        ValueError: the file is damaged, or shorter than its header says.
    """
    rows, textures = read_elements(content)
    if "vertex" not in rows:
        return []
    places = rows["vertex"].table("xyz")
    if places is None:
        raise ValueError("expected vertices with x, y and z, got some without")
    pieces = []
    if "face" in rows:
        pieces += _faces(rows["face"], rows["vertex"], places, textures, resolver)
    if "tristrips" in rows:
        pieces += _faces(_unrolled(rows["tristrips"]), rows["vertex"], places, textures, resolver)
    return pieces


def _faces(
    face: Rows, vertex: Rows, places: np.ndarray, textures: list[str], resolver: FileResolver
) -> list[Piece]:
    sizes, corners = _corners(face)
    corners = check_faces(corners, len(places))
    vertices = places.astype(np.float64)
    triangles, owner = triangulate(vertices[corners], sizes)
    faces = corners[triangles]
    uv = _coordinates(face, vertex, sizes, triangles, faces)
    colors, at_faces, kinds = _colors(vertex), _colors(face), None
    looks = [PLAIN_LOOK if colors is None else WHITE_LOOK]
    if textures and uv is None:
        resolver.note("the faces have no texture coordinates for their texture")
    if textures and uv is not None:
        looks += [Look(image=partial(_open, resolver, name)) for name in textures]
        number = face.single.get("texnumber", np.zeros(len(sizes)))[owner]
        # What points beyond the textures, or has no coordinates, has none.
        has = (number >= 0) & (number < len(textures)) & np.isfinite(uv).all((1, 2))
        kinds = np.where(has, number + 1, 0).astype(np.int64)
    elif at_faces is not None and (colors is None or not np.ptp(colors, 0).any()):
        colors, look, uv = None, *_palette(at_faces[owner])
        looks = [look]
    normals = vertex.table(("nx", "ny", "nz"))
    piece = Piece(
        vertices,
        faces,
        tuple(looks),
        kinds,
        None if uv is None else np.nan_to_num(uv),
        colors,
        None if normals is None else normals.astype(np.float64)[faces],
    )
    return split_by_texture(piece)


def _corners(face: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return how many corners each face has, and the vertices of all of them."""
    for name in _CORNERS:
        if name in face.lists:
            return face.lists[name]
    raise ValueError("expected faces with vertex_indices, got some without")


def _unrolled(strips: Rows) -> Rows:
    """Return the triangles of strips, of which several may be in one list with -1 between them."""
    lengths, corners = _corners(strips)
    corners = corners.astype(np.int64)
    begins = np.zeros(len(corners) + 1, bool)
    begins[np.cumsum(lengths) - lengths] = True
    begins[1:] |= corners < 0
    at = np.arange(len(corners))
    place = at - np.maximum.accumulate(np.where(begins[:-1], at, 0))
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    odd = place[:-2] % 2 == 1  # every second one is wound the other way
    faces[odd] = faces[odd][:, [1, 0, 2]]
    faces = faces[(place[2:] >= 2) & (faces >= 0).all(1)]
    return Rows({}, {_CORNERS[0]: (np.full(len(faces), 3), faces.ravel())})


def _coordinates(
    face: Rows, vertex: Rows, sizes: np.ndarray, triangles: np.ndarray, faces: np.ndarray
) -> np.ndarray | None:
    """Texture coordinates of the corners ``[T, 3, 2]``: those that faces list, else the vertices'.

    A face whose list does not fit its corners has NaN.
    """
    if "texcoord" in face.lists:
        lengths, values = face.lists["texcoord"]
        fits = lengths == 2 * sizes
        table = np.full((int(sizes.sum()), 2), np.nan)
        table[np.repeat(fits, sizes)] = values[np.repeat(fits, lengths)].reshape(-1, 2)
        return table[triangles]
    for names in _COORDINATES:
        columns = vertex.table(names)
        if columns is not None:
            return columns.astype(np.float64)[faces]
    return None


def _colors(rows: Rows) -> np.ndarray | None:
    """Return sRGB with alpha ``[N, 4]`` in [0, 1]."""
    for *names, alpha in _COLORS:
        columns = rows.table(names)
        if columns is not None:
            shares = as_shares(columns)
            opaque = np.ones(len(shares))
            opacity = as_shares(rows.single[alpha]) if alpha in rows.single else opaque
            return np.column_stack([shares, opacity])
    return None


def _palette(colors: np.ndarray) -> tuple[Look, np.ndarray]:
    """Return a texture with a texel for each of the faces' colours ``[F, 4]``, and the coordinates
    of the texels' middles ``[F, 3, 2]``: the faces keep the vertices that they share."""
    levels = (colors * 255.0).round().astype(np.uint8)
    kinds, number = np.unique(levels, axis=0, return_inverse=True)
    width = int(np.ceil(np.sqrt(len(kinds))))
    height = -(-len(kinds) // width)
    texels = np.zeros((height * width, 4), np.uint8)
    texels[: len(kinds)] = kinds
    image = Image.fromarray(texels.reshape(height, width, 4))
    row, column = np.divmod(number.reshape(-1), width)
    uv = np.stack([(column + 0.5) / width, 1.0 - (row + 0.5) / height], axis=1)
    return Look(image=lambda: image), np.repeat(uv[:, None], 3, axis=1)


def _open(resolver: FileResolver, name: str) -> Image.Image:
    return open_image(resolver.read(name), repr(name))
