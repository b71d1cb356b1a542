"""PLY files: text and binary, with whatever elements and properties programs give them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.meshes.files import BLUE, GREEN, GREY, RED, area, colors, png, sides, write
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Mesh

FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
LETTERS = {
    "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f",
    "double": "d", "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i",
    "uint32": "I", "float32": "f", "float64": "d",
}  # fmt: skip
CUBE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]
QUADS = [(3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (2, 3, 7, 6), (0, 4, 7, 3), (1, 2, 6, 5)]
XYZ = ("float x", "float y", "float z")
LIST = "list uchar int vertex_indices"
VERTICES = ("vertex", XYZ, CUBE)
FACES = ("face", (LIST,), [(quad,) for quad in QUADS])
SIX = [RED, GREEN, BLUE, (255, 255, 0), (0, 255, 255), (255, 0, 255)]


def ply(
    *elements: tuple[str, Any, Any],
    form: str = "ascii",
    comments: tuple[str, ...] = (),
    end: str = "\n",
) -> bytes:
    """A file of elements: name, properties, and rows of numbers and lists of numbers."""
    lines = ["ply", f"format {form} 1.0", *(f"comment {text}" for text in comments)]
    for name, properties, rows in elements:
        lines.append(f"element {name} {len(rows)}")
        lines += [f"property {one}" for one in properties]
    head = end.join([*lines, "end_header", ""]).encode()
    return head + b"".join(
        _row(properties, row, FORMATS[form], end)
        for _, properties, rows in elements
        for row in rows
    )


def _row(properties: Any, row: Any, order: str, end: str) -> bytes:
    words, content = [], b""
    for one, value in zip(properties, row, strict=True):
        kinds = one.split()[1:3] if one.startswith("list") else [one.split()[0]]
        values = [len(value), *value] if len(kinds) == 2 else [value]
        for number, kind in zip(values, kinds[:1] + kinds[-1:] * (len(values) - 1), strict=True):
            words.append(f"{number:g}" if isinstance(number, float) else str(number))
            if order:
                content += struct.pack(order + LETTERS[kind], number)
    return content if order else (" ".join(words) + end).encode()


def load(folder: Path, content: bytes, **files: bytes) -> Mesh:
    return load_mesh(write(folder, a__ply=content, **files), normalise=False)


def with_columns(rows: Any, columns: Any) -> list[tuple[Any, ...]]:
    return [(*row, *more) for row, more in zip(rows, columns, strict=True)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", ["uchar", "uint8", "char", "ushort", "int", "uint32"])
@pytest.mark.parametrize("item", ["uchar", "short", "uint16", "int32", "uint"])
@pytest.mark.parametrize("place", ["float", "float64"])
def test_formats_and_types(tmp_path: Path, form: str, count: str, item: str, place: str) -> None:
    """All faces alike, and a quad among triangles."""
    for faces in (QUADS, [*QUADS[:5], QUADS[5][:3], (QUADS[5][0], *QUADS[5][2:])]):
        content = ply(
            ("vertex", [f"{place} {axis}" for axis in "xyz"], CUBE),
            ("face", [f"list {count} {item} vertex_index"], [(face,) for face in faces]),
            form=form,
        )
        found = facts(load(tmp_path, content))
        assert found.watertight and found.volume == 1.0 and found.faces == 12


@pytest.mark.parametrize("form", FORMATS)
def test_other_elements_and_properties_in_any_order(tmp_path: Path, form: str) -> None:
    content = ply(
        ("camera", ("float view_px", "list int float more"), [(1.0, (2.0, 3.0))]),
        ("empty", ("int a",), []),
        ("face", ("uchar flags", "list uchar float quality", LIST, "double last"),
         [(7, (0.5,) * (k % 3), quad, 1.0) for k, quad in enumerate(QUADS)]),
        ("edge", ("int vertex1", "int vertex2", "list uchar uchar tags"), [(0, 1, (1, 2, 3))]),
        ("vertex", ("uchar id", *XYZ, "list uchar int near"),
         [(k, *place, tuple(range(k))) for k, place in enumerate(CUBE)]),
        form=form,
    )  # fmt: skip
    found = facts(load(tmp_path, content))
    assert found.watertight and found.volume == 1.0


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_marks(tmp_path: Path, form: str, end: str) -> None:
    """Of binary files, too: a row that begins like a line's end is none."""
    faces = ("face", ("int flags", LIST), [(10, quad) for quad in QUADS])
    for vertices in ((faces, VERTICES), (VERTICES, faces)):
        content = ply(*vertices, form=form, end=end)
        assert facts(load(tmp_path, content)).volume == 1.0
    if form == "ascii":
        assert facts(load(tmp_path, b"\xef\xbb\xbf" + content)).volume == 1.0
        assert facts(load(tmp_path, content.decode().encode("utf-16"))).volume == 1.0
        assert facts(load(tmp_path, content + b"\x1a\0\0")).volume == 1.0


@pytest.mark.parametrize("form", FORMATS)
def test_what_follows_the_last_row_is_passed_over(tmp_path: Path, form: str) -> None:
    content = ply(VERTICES, FACES, form=form)
    assert facts(load(tmp_path, content + (b" 1 2" if form == "ascii" else b"\1\2"))).volume == 1.0


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("cut", [1, 20, 60])
def test_files_cut_off(tmp_path: Path, form: str, cut: int) -> None:
    content = ply(VERTICES, FACES, form=form)
    with pytest.raises(MeshError, match="as its header says, got a file that ends before"):
        load(tmp_path, content[: -cut - 1])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ply\nformat ascii 1.0\n", "without a whole header"),
        (ply(FACES), "expected a surface of triangles, got none"),
        (ply(("vertex", ("float x", "float y"), [(0, 0)]), FACES), "x, y and z"),
        (ply(VERTICES, ("face", ("int a",), [(1,)])), "vertex_indices, got some without"),
        (ply(VERTICES, ("face", (LIST,), [((0, 1, 8),)])), "from 0 to 7, got one of number 8"),
        (ply(VERTICES, FACES).replace(b"float x", b"half x"), "got 'property half x'"),
        (ply(VERTICES, FACES).replace(b"ascii", b"middle_endian"), "expected a PLY file in ascii"),
        (ply(VERTICES, FACES).replace(b"\n1 0 0", b"\n1 b 0"), "could not convert"),
        (ply(VERTICES, FACES).replace(b"4 3 2 1 0", b"4 3 nan 1 0"), "to 2147483647, got nan"),
        (ply(VERTICES, FACES).replace(b" int ", b" uint ").replace(b"4 3 2 1 0", b"4 3 -2 1 0"),
         "from 0 to 4294967295, got -2"),
    ],
)  # fmt: skip
def test_damage_is_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        load(tmp_path, content)


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("form", FORMATS)
def test_concave_faces(tmp_path: Path, form: str, first: int) -> None:
    positions = [(0, 0, 0), (2, 1, 0), (4, 0, 0), (2, 4, 0)]
    face = tuple((first + k) % 4 for k in range(4))
    content = ply(("vertex", XYZ, positions), ("face", (LIST,), [(face,)]), form=form)
    assert area(load(tmp_path, content)) == pytest.approx(6.0)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "names", ["red green blue", "diffuse_red diffuse_green diffuse_blue", "r g b"]
)
@pytest.mark.parametrize("kind", ["uchar", "ushort", "int", "float", "double", "float of 255"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_at_vertices(tmp_path: Path, form: str, names: str, kind: str, alpha: bool) -> None:
    most = {"uchar": 255, "ushort": 65535, "int": 255, "float of 255": 255.0}.get(kind, 1.0)
    words = names.split()
    if alpha:
        words.append({"red": "alpha", "diffuse_red": "diffuse_alpha", "r": "a"}[words[0]])
    columns = [f"{kind.split()[0]} {name}" for name in words]
    rows = with_columns(CUBE, [[most, 0 * most, 0 * most, most][: len(words)]] * 8)
    mesh = load(tmp_path, ply(("vertex", (*XYZ, *columns), rows), FACES, form=form))
    assert set(colors(mesh)) == {RED}
    assert mesh.vertex_colors is not None and bool((mesh.vertex_colors[:, 3] == 1.0).all())


def test_colours_at_vertices_with_coordinates_and_no_texture(tmp_path: Path) -> None:
    properties = (*XYZ, "float s", "float t", "uchar red", "uchar green", "uchar blue")
    rows = with_columns(CUBE, [(0.5, 0.5, *RED)] * 8)
    assert set(colors(load(tmp_path, ply(("vertex", properties, rows), FACES)))) == {RED}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", ["uchar", "float"])
@pytest.mark.parametrize("names", ["red green blue", "diffuse_red diffuse_green diffuse_blue"])
def test_colours_of_faces(tmp_path: Path, form: str, kind: str, names: str) -> None:
    shown = [tuple(c if kind == "uchar" else c / 255.0 for c in color) for color in SIX]
    rows = with_columns([(quad,) for quad in QUADS], shown)
    properties = (LIST, *(f"{kind} {name}" for name in names.split()))
    mesh = load(tmp_path, ply(VERTICES, ("face", properties, rows), form=form))
    assert colors(mesh) == [color for color in SIX for _ in range(2)]
    # Also in the corners, and with the vertices that faces share.
    assert colors(mesh, 1.0, 0.0, 0.0) == colors(mesh) and len(mesh.vertices) == 8


def test_many_colours_of_faces(tmp_path: Path) -> None:
    """More than a row of the palette holds, exact in all of them."""
    generator = np.random.default_rng(0)
    shown = generator.integers(0, 256, (1000, 3))
    positions = generator.random((3000, 3)).tolist()
    rows = [((3 * k, 3 * k + 1, 3 * k + 2), *color) for k, color in enumerate(shown.tolist())]
    properties = (LIST, "uchar red", "uchar green", "uchar blue")
    content = ply(("vertex", XYZ, positions), ("face", properties, rows), form="binary_big_endian")
    assert colors(load(tmp_path, content)) == [tuple(color) for color in shown.tolist()]


def test_colours_of_faces_beside_those_of_vertices(tmp_path: Path) -> None:
    """Vertices count first, unless they are all the same, as those of a default are."""
    rows = with_columns([(quad,) for quad in QUADS], SIX)
    faces = ("face", (LIST, "uchar red", "uchar green", "uchar blue"), rows)
    properties = (*XYZ, "uchar red", "uchar green", "uchar blue")
    for shown, expected in (([(255,) * 3] * 8, SIX[0]), ([GREEN] * 4 + [BLUE] * 4, GREEN)):
        content = ply(("vertex", properties, with_columns(CUBE, shown)), faces)
        assert colors(load(tmp_path, content))[0] == expected


SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
CORNERS = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("number", ["int", "uchar", "short"])
def test_several_textures(tmp_path: Path, form: str, number: str) -> None:
    """Triangles beside a quad, each with its texture and the coordinates of its own corners."""
    listed = "list uchar float texcoord"
    flat = [sum((CORNERS[k] for k in face), ()) for face in ((0, 1, 2), (0, 2, 3), (0, 1, 2, 3))]
    rows = [((0, 1, 2), flat[0], 0), ((0, 2, 3), flat[1], 1), ((0, 1, 2, 3), flat[2], 0)]
    content = ply(
        ("vertex", XYZ, SQUARE), ("face", (LIST, listed, f"{number} texnumber"), rows), form=form,
        comments=("made by hand", "TextureFile red one.png", "TextureFile blue.png"),
    )  # fmt: skip
    (tmp_path / "red one.png").write_bytes(png(RED))
    mesh = load(tmp_path, content, blue__png=png(BLUE))
    assert colors(mesh) == [RED, BLUE, RED, RED]
    assert mesh.uv is not None
    assert mesh.uv[1].tolist() == [list(CORNERS[k]) for k in (0, 2, 3)]


def test_faces_without_a_texture_among_others(tmp_path: Path) -> None:
    properties = (LIST, "list uchar float texcoord", "int texnumber")
    flat = sum(CORNERS[:3], ())
    rows = [((0, 1, 2), flat, 1), ((0, 2, 3), flat, -1), ((0, 1, 3), (), 0), ((0, 1, 3), flat, 2)]
    content = ply(("vertex", XYZ, SQUARE), ("face", properties, rows),
                  comments=("TextureFile red.png", "TextureFile blue.png"))  # fmt: skip
    files = {"red__png": png(RED), "blue__png": png(BLUE)}
    assert colors(load(tmp_path, content, **files)) == [BLUE, GREY, GREY, GREY]


@pytest.mark.parametrize("names", ["s t", "u v", "texture_u texture_v", "texture_s texture_t"])
def test_coordinates_at_vertices(tmp_path: Path, names: str) -> None:
    properties = (*XYZ, *(f"float {name}" for name in names.split()))
    faces = ("face", (LIST,), [((0, 1, 2, 3),)])
    content = ply(("vertex", properties, with_columns(SQUARE, CORNERS)), faces,
                  comments=("TextureFile t.png",))  # fmt: skip
    mesh = load(tmp_path, content, t__png=png(RED, BLUE))
    assert colors(mesh, 0.8, 0.1, 0.1)[0] == RED and colors(mesh, 0.1, 0.8, 0.1)[0] == BLUE
    mesh = load(tmp_path, ply(("vertex", XYZ, SQUARE), faces, comments=("TextureFile t.png",)))
    assert mesh.info["note"] == "the faces have no texture coordinates for their texture"


@pytest.mark.parametrize("form", FORMATS)
def test_normals(tmp_path: Path, form: str) -> None:
    properties = (*XYZ, "float nx", "float ny", "float nz")
    rows = with_columns(SQUARE, [(0.6, 0.0, 0.8)] * 4)
    content = ply(("vertex", properties, rows), ("face", (LIST,), [((0, 1, 2, 3),)]), form=form)
    expected = torch.tensor([0.6, 0.0, 0.8]).expand(2, 3, 3)
    torch.testing.assert_close(load(tmp_path, content).normals, expected)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("split", [False, True])
def test_triangle_strips(tmp_path: Path, form: str, split: bool) -> None:
    """Two strips of two triangles each, in one list with -1 between them or in two lists."""
    strips = [((0, 1, 3, 2),), ((4, 5, 7, 6),)] if split else [((0, 1, 3, 2, -1, 4, 5, 7, 6),)]
    content = ply(VERTICES, ("tristrips", ("list int int vertex_indices",), strips), form=form)
    mesh = load(tmp_path, content)
    assert area(mesh) == 2.0 and len(mesh.faces) == 4 and sides(mesh) == [1.0, 1.0, 1.0]
    assert mesh.normals is not None and bool((mesh.normals[..., 2] > 0.99).all())
