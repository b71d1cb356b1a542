"""PLY files: their faces, triangle strips, colours and textures."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from zero123lib.meshes.materials import PLAIN_LOOK, WHITE_LOOK, Look, as_shares, open_image
from zero123lib.meshes.nearby import Nearby
from zero123lib.meshes.piece import Piece, check_faces, split_by_texture
from zero123lib.meshes.ply_data import Rows, read_elements
from zero123lib.meshes.polygons import triangulate

_CORNERS = ("vertex_indices", "vertex_index", "vertex_indexes")
_COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"),
                ("tx", "ty"), ("s0", "t0"), ("u0", "v0"))  # fmt: skip
_COLORS = (("red", "green", "blue", "alpha"), ("r", "g", "b", "a"),
           ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"))  # fmt: skip


def read_ply(content: bytes, nearby: Nearby) -> list[Piece]:
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
        pieces += _faces(rows["face"], rows["vertex"], places, textures, nearby)
    if "tristrips" in rows:
        pieces += _strips(rows["tristrips"], rows["vertex"], places)
    return pieces


def _faces(
    face: Rows, vertex: Rows, places: np.ndarray, textures: list[str], nearby: Nearby
) -> list[Piece]:
    name = next((name for name in _CORNERS if name in face.lists), None)
    if name is None:
        raise ValueError("expected faces with vertex_indices, got some without")
    sizes, corners = face.lists[name]
    corners = check_faces(corners, len(places))
    triangles, owner = triangulate(places.astype(np.float64)[corners], sizes)
    faces = corners[triangles]
    uv = _corner_coordinates(face, sizes, triangles)
    if uv is None:
        at_vertices = next(filter(_is_given, map(vertex.table, _COORDINATES)), None)
        uv = None if at_vertices is None else at_vertices.astype(np.float64)[faces]
    looks, kinds = [PLAIN_LOOK], None
    colors = _colors(vertex)
    if colors is not None:
        looks = [WHITE_LOOK]
    if uv is None and textures:
        nearby.note("the faces have no texture coordinates for their texture")
    if uv is not None and textures:
        looks = [Look(image=partial(_open, nearby, one)) for one in textures]
        numbered = face.single.get("texnumber")
        if numbered is not None and len(textures) > 1:
            looks.append(PLAIN_LOOK if colors is None else WHITE_LOOK)
            # What points beyond the textures has none.
            outside = (numbered < 0) | (numbered >= len(textures))
            kinds = np.where(outside, len(textures), numbered).astype(np.int64)[owner]
    elif (own := _colors(face)) is not None and (colors is None or not np.ptp(colors, 0).any()):
        colors, look, uv = None, *_palette(own[owner])
        looks = [look]
    normals = vertex.table(("nx", "ny", "nz"))
    piece = Piece(
        places.astype(np.float64),
        faces,
        tuple(looks),
        kinds,
        uv,
        colors,
        None if normals is None else normals.astype(np.float64)[faces],
    )
    return split_by_texture(piece)


def _strips(strips: Rows, vertex: Rows, places: np.ndarray) -> list[Piece]:
    """Triangle strips, one after the other with -1 between them."""
    name = next((name for name in _CORNERS if name in strips.lists), None)
    if name is None:
        return []
    lengths, corners = strips.lists[name]
    corners = corners.astype(np.int64)
    start = np.zeros(len(corners) + 1, np.int64)
    start[np.cumsum(lengths)] = 1
    strip = np.cumsum(start)[:-1] + 2 * np.cumsum(corners < 0)
    at = np.arange(len(corners))
    first = np.r_[True, (strip[1:] != strip[:-1])] | np.r_[False, corners[:-1] < 0]
    place = at - np.maximum.accumulate(np.where(first, at, 0))
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    odd = place[:-2] % 2 == 1
    faces[odd] = faces[odd][:, [1, 0, 2]]
    whole = (strip[:-2] == strip[2:]) & (faces >= 0).all(1)
    faces = check_faces(faces[whole], len(places))
    colors = _colors(vertex)
    look = PLAIN_LOOK if colors is None else WHITE_LOOK
    return [Piece(places.astype(np.float64), faces, (look,), colors=colors)]


def _corner_coordinates(face: Rows, sizes: np.ndarray, triangles: np.ndarray) -> np.ndarray | None:
    """The texture coordinates that faces list for their corners ``[T, 3, 2]``.

    A face whose list does not fit its corners has 0.
    """
    if "texcoord" not in face.lists:
        return None
    lengths, values = face.lists["texcoord"]
    fits = lengths == 2 * sizes
    table = np.zeros((int(sizes.sum()), 2))
    table[np.repeat(fits, sizes)] = values[np.repeat(fits, lengths)].reshape(-1, 2)
    return table[triangles]


def _colors(rows: Rows) -> np.ndarray | None:
    """sRGB with alpha ``[N, 4]`` in [0, 1]."""
    for *names, alpha in _COLORS:
        columns = rows.table(names)
        if columns is not None:
            shares = as_shares(columns)
            opaque = np.ones(len(shares))
            opacity = as_shares(rows.single[alpha]) if alpha in rows.single else opaque
            return np.column_stack([shares, opacity])
    return None


def _palette(colors: np.ndarray) -> tuple[Look, np.ndarray]:
    """A texture with a texel for each of the faces' colours ``[F, 4]``, and the coordinates of the
    texels' middles ``[F, 3, 2]``: the faces keep the vertices that they share."""
    levels = (colors * 255.0).round().astype(np.uint8)
    kinds, number = np.unique(levels, axis=0, return_inverse=True)
    width = int(np.ceil(np.sqrt(len(kinds))))
    height = -(-len(kinds) // width)
    texels = np.zeros((height * width, 4), np.uint8)
    texels[: len(kinds)] = kinds
    image = Image.fromarray(texels.reshape(height, width, 4))
    row, column = np.divmod(number.reshape(-1), width)
    uv = np.stack([(column + 0.5) / width, 1.0 - (row + 0.5) / height], axis=1)
    alpha = "blend" if (kinds[:, 3] < 255).any() else "opaque"
    return Look(image=lambda: image, alpha=alpha), np.repeat(uv[:, None], 3, axis=1)


def _open(nearby: Nearby, name: str) -> Image.Image:
    return open_image(nearby.read(name), repr(name))


def _is_given(table: np.ndarray | None) -> bool:
    return table is not None
