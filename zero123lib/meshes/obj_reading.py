"""OBJ files, read: polygons, materials, and colours at vertices, which are none of the standard."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

import numpy as np

from zero123lib.meshes.materials import PLAIN_LOOK, Look, as_shares
from zero123lib.meshes.mtl import Paint, names_in, read_mtl, read_paint
from zero123lib.meshes.parsing import decoded, numbers
from zero123lib.meshes.piece import Piece, check_faces, split_by_texture
from zero123lib.meshes.polygons import triangulate
from zero123lib.meshes.resolver import FileResolver

# Faces are read so many at a time.
_CHUNK = 2**16


@dataclass
class _Lines:
    """The lines of a file by their first word, without it.

    Attributes:
        v, vt, vn, faces: as in the file.
        relative: of the faces that count backwards, the face's number and how many v, vt and vn
            there are before it.
        uses: the number of the first face of each usemtl line, and the material's name.
        libraries: what mtllib lines say.
    """

    v: list[str] = field(default_factory=list)
    vt: list[str] = field(default_factory=list)
    vn: list[str] = field(default_factory=list)
    faces: list[str] = field(default_factory=list)
    relative: list[tuple[int, int, int, int]] = field(default_factory=list)
    uses: list[tuple[int, str]] = field(default_factory=list)
    libraries: list[str] = field(default_factory=list)


def read_obj(content: bytes, resolver: FileResolver) -> list[Piece]:
    """Read the faces of a file.

    A material that is not there has the plain colour, and so have faces without one; `resolver` is
    told. A texture counts before colours at vertices, and those before a material's colour, unless
    all of them are white.

    Raises:
        ValueError: the file is damaged.
    """
    lines = _sorted_lines(decoded(content))
    rows, sizes = _corner_rows(lines)
    if sizes.max(initial=0) < 3:
        return []
    values, counts = _table(lines.v, 7)
    if not len(counts) or counts.min() < 3:
        raise ValueError("expected three numbers of each vertex, got fewer")
    vertices = values[:, :3]
    check_faces(rows[:, 0], len(vertices), first=1)
    triangles, owner = triangulate(vertices[rows[:, 0]], sizes)
    rows = rows[triangles]
    paints, kinds = _paints(lines, resolver)
    kinds = kinds[owner]
    uv = _attribute(lines.vt, rows[..., 1], 2, "vt", resolver)
    bare = np.ones(len(rows), bool)
    if uv is not None:
        bare = np.isnan(uv).any((1, 2))
        uv[bare] = 0.0
        for index, paint in enumerate(paints):
            if (paint.scale, paint.offset) != (Paint.scale, Paint.offset):
                uv[kinds == index] = uv[kinds == index] * paint.scale + paint.offset
    textured = np.array([paint.look.image is not None for paint in paints])
    if (textured[kinds] & bare).any():
        resolver.note("some faces have no texture coordinates for their texture")
    normals = _attribute(lines.vn, rows[..., 2], 3, "vn", resolver)
    colors = _colors(values, counts)
    piece = Piece(
        vertices,
        rows[..., 0],
        _looks(paints, colors),
        2 * kinds + bare,
        uv,
        colors,
        None if normals is None else np.nan_to_num(normals),
    )
    return split_by_texture(piece)


def _sorted_lines(text: str) -> _Lines:
    found = _Lines()
    tables = {"v": found.v, "vt": found.vt, "vn": found.vn}
    if "\\\n" in text:  # a line goes on in the next one, but a comment, which may end in a path
        text = re.sub(r"^(?!\s*#)(.*)\\\n", r"\1 ", text, flags=re.MULTILINE)
    for line in text.split("\n"):
        word, *rest = line.split(None, 1) or [""]
        if word in tables:
            tables[word].append(rest[0] if rest else "")
        elif word in ("f", "fo") and rest:
            if "-" in rest[0]:
                before = (len(found.v), len(found.vt), len(found.vn))
                found.relative.append((len(found.faces), *before))
            found.faces.append(rest[0])
        elif word == "usemtl":
            found.uses.append((len(found.faces), rest[0].strip() if rest else ""))
        elif word == "mtllib" and rest:
            found.libraries.append(rest[0])
    return found


def _without_comments(rows: list[str]) -> list[str]:
    return [row.partition("#")[0] if "#" in row else row for row in rows]


def _table(rows: list[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first `width` numbers of rows, NaN where a row has fewer; and how many each
    has."""
    rows = _without_comments(rows)
    counts = np.array([len(row.split()) for row in rows], np.int64)
    values = numbers(" ".join(rows))
    columns = np.arange(min(width, counts.max(initial=0)))
    there = columns < counts[:, None]
    table = np.full(there.shape, np.nan)
    table[there] = values[((np.cumsum(counts) - counts)[:, None] + columns)[there]]
    return table, counts


def _corner_rows(lines: _Lines) -> tuple[np.ndarray, np.ndarray]:
    """Return indices of v, vt and vn of all faces' corners ``[C, 3]``, from 0, -1 where there is
    none; and how many corners each face has ``[P]``."""
    faces = _without_comments(lines.faces)
    sizes = np.array([len(row.split()) for row in faces], np.int64)
    chunks = [_indices(faces[at : at + _CHUNK]) for at in range(0, len(faces), _CHUNK)]
    rows = np.concatenate(chunks) if chunks else np.empty((0, 3), np.int64)
    if bool((rows[:, 0] == 0).any()):
        raise ValueError("expected faces of vertices from 1, got one of number 0")
    backwards = rows < 0
    if backwards.any():
        before = np.zeros((len(faces), 3), np.int64)
        for number, *counts in lines.relative:
            before[number] = counts
        rows = np.where(backwards, rows + np.repeat(before, sizes, axis=0) + 1, rows)
        if bool((rows[backwards] < 1).any()):
            raise ValueError("expected faces of vertices before them, got one before the first")
    return rows - 1, sizes


def _indices(faces: list[str]) -> np.ndarray:
    """Return the numbers ``[C, 3]`` of ``v``, ``v/vt``, ``v//vn`` and ``v/vt/vn``, 0 where one is
    left out."""
    text = " ".join(faces)
    raw = np.frombuffer(text.encode(), np.uint8)
    blank, slash = raw <= ord(" "), raw == ord("/")
    starts = ~blank & np.r_[True, blank[:-1]]
    digit = ~blank & ~slash
    first = np.flatnonzero(digit & np.r_[True, ~digit[:-1]])
    corner = np.cumsum(starts) - 1
    slashes = np.cumsum(slash)
    place = slashes[first] - (slashes - slash)[np.flatnonzero(starts)][corner[first]]
    table = np.zeros((int(starts.sum()), 3), np.int64)
    if place.max(initial=0) > 2:
        raise ValueError("expected corners of at most three numbers, got more")
    table[corner[first], place] = numbers(text.replace("/", " "), int)
    return table


def _attribute(
    lines: list[str], indices: np.ndarray, width: int, word: str, resolver: FileResolver
) -> np.ndarray | None:
    """Return the corners' texture coordinates or normals ``[F, 3, width]``, NaN where there are
    none."""
    if not len(lines) or not (indices >= 0).any():
        return None
    table, _ = _table(lines, width)
    table = np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=np.nan)
    if word == "vt":
        table[:, 1] = np.nan_to_num(table[:, 1])  # a single number is u
    outside = indices >= len(table)
    if outside.any():
        resolver.note(f"some corners have a {word} that is not in the file")
    table = np.concatenate([table, np.full((1, width), np.nan)])
    return table[np.where(outside | (indices < 0), len(table) - 1, indices)]


def _colors(values: np.ndarray, counts: np.ndarray) -> np.ndarray | None:
    """Return sRGB with alpha ``[V, 4]`` of vertices of six numbers and more, white of others.

    Six are a place and a colour. Seven have alpha last, unless that is not always 1 and the fourth
    number is: then that is the place's weight.
    """
    colored = counts >= 6
    if not colored.any():
        return None
    four = values[colored, 3:]
    if four.shape[1] > 3 and not np.isnan(four[:, 3]).any():
        weighted = bool((four[:, 0] == 1.0).all()) and not bool((four[:, 3] == 1.0).all())
        four = four[:, 1:] if weighted else four
    colors = np.ones((len(values), 4))
    colors[colored, :3] = as_shares(four[:, :3])
    return colors


def _looks(paints: list[Paint], colors: np.ndarray | None) -> tuple[Look, ...]:
    """Return each paint's look of faces with texture coordinates, and of those without.

    Without a texture, vertices' colours take the paint's place: they would be darkened by it.
    """
    looks = [look for paint in paints for look in (paint.look, paint.bare)]
    if colors is None:
        return tuple(looks)
    tell = bool((colors[:, :3] < 1.0).any())
    return tuple(
        replace(look, color=(1.0, 1.0, 1.0, look.color[3]))
        if look.image is None and (tell or look is PLAIN_LOOK)
        else look
        for look in looks
    )


def _paints(lines: _Lines, resolver: FileResolver) -> tuple[list[Paint], np.ndarray]:
    """Return the materials in use, and which each face has ``[P]``."""
    known: dict[str, dict[str, str]] = {}
    for rest in lines.libraries:
        for name in names_in(rest, resolver):
            if resolver.has(name):
                known = {**read_mtl(decoded(resolver.read(name))), **known}
            else:
                resolver.note(f"the material file {name[:80]!r} is not beside it")
    firsts = [0, *(first for first, _ in lines.uses), len(lines.faces)]
    names = ["", *(name for _, name in lines.uses)]
    used = [name for name, count in zip(names, np.diff(firsts), strict=True) if count]
    paints = []
    for name in dict.fromkeys(used):
        entry = known.get(name, known.get(name.partition(" #")[0].strip()))
        if entry is None and name:
            resolver.note(f"the material {name[:80]!r} is not known: it has the plain colour")
        paints.append(Paint() if entry is None else read_paint(entry, resolver))
    order = {name: index for index, name in enumerate(dict.fromkeys(used))}
    return paints, np.repeat([order.get(name, 0) for name in names], np.diff(firsts))
