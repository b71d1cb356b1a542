"""OBJ and MTL files: what programs write, and what the format allows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.meshes.files import BLUE, GREEN, GREY, RED, area, box, colors, png, sides, write
from zero123lib.cli import main
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import to_linear

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
COORDINATES = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACE = "f 1/1 2/2 3/3 4/4\n"
HALVES = png(RED, BLUE)


def load(folder: Path, text: str | bytes, **files: str | bytes) -> Mesh:
    """Read an OBJ file as it stands, z up."""
    return load_mesh(write(folder, a__obj=text, **files), "z", normalise=False)


def painted(folder: Path, mtl: str, **files: str | bytes) -> Mesh:
    """A square with a material called a."""
    text = f"mtllib m.mtl\n{SQUARE}{COORDINATES}usemtl a\n{FACE}"
    return load(folder, text, m__mtl=f"newmtl a\n{mtl}\n", **files)


@pytest.mark.parametrize("gap", [" ", "\t", " \t  "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "  \n"])
def test_relative_indices_count_from_the_line_they_are_in(
    tmp_path: Path, gap: str, end: str
) -> None:
    """Each of the faces between the vertices has its own four."""
    face = "f -4/-4 -3/-3 -2/-2 -1/-1\n"
    far = SQUARE.replace(" 0\n", " 3\n")
    text = SQUARE + COORDINATES + face + far + COORDINATES.replace("vt 1", "vt 5") + face
    mesh = load(tmp_path, text.replace(" ", gap).replace("\n", end))
    assert len(mesh.vertices) == 8 and sides(mesh) == [1.0, 1.0, 3.0] and area(mesh) == 2.0
    assert mesh.uv is not None and mesh.uv[:2].amax() == 1.0 and mesh.uv[2:].amax() == 5.0


@pytest.mark.parametrize(
    ("face", "has"),
    [
        ("f 1 2 3", ""), ("f 1/ 2/ 3/", ""), ("f 1// 2// 3//", ""), ("f -4 -3 -2", ""),
        ("fo 1 2 3", ""), ("f +1 +2 +3", ""), ("f 1 2 3 # last", ""), ("f 1/1 2/2 3/3", "t"),
        ("f 1/1/ 2/2/ 3/3/", "t"), ("f 1//1 2//1 3//1", "n"), ("f 1/1/1 2/2/1 3/3/1", "tn"),
        ("f 1/-4/-1 2/-3/-1 3/-2/-1", "tn"),
    ],
)  # fmt: skip
def test_all_ways_of_writing_a_face(tmp_path: Path, face: str, has: str) -> None:
    """With texture coordinates, normals, both or neither."""
    mesh = load(tmp_path, f"{SQUARE}{COORDINATES}vn 0.6 0 0.8\n{face}\n")
    assert mesh.triangles.tolist() == [[[0, 0, 0], [1, 0, 0], [1, 1, 0]]]
    normals = torch.tensor([0.6, 0.0, 0.8] if "n" in has else [0.0, 0.0, 1.0])
    torch.testing.assert_close(mesh.normals, normals.expand(1, 3, 3))
    uv = None if mesh.uv is None else mesh.uv.tolist()
    assert uv == ([[[0, 0], [1, 0], [1, 1]]] if "t" in has else None)


@pytest.mark.parametrize(
    ("faces", "reason"),
    [
        ("f 1 2 9", "faces of 4 vertices, from 1 to 4, got one of number 9"),
        ("f 0 1 2", "faces of vertices from 1, got one of number 0"),
        ("f 1 2 -9", "faces of vertices before them, got one before the first"),
        ("f 1 2 99999999999", "got one of number 99999999999"),
        ("f 1/1/1/1 2/2/2/2 3/3/3/3", "corners of at most three numbers"),
        ("f 1 2 x", "'x'"),
        ("v 1 2\nf 1 2 3", "three numbers of each vertex, got fewer"),
        ("v 1 2 z\nf 1 2 3", "could not convert string to float: 'z'"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, faces: str, reason: str) -> None:
    with pytest.raises(MeshError, match=reason):
        load(tmp_path, SQUARE + faces + "\n")


@pytest.mark.parametrize("word", ["vt", "vn"])
def test_corners_whose_coordinates_are_not_there(tmp_path: Path, word: str) -> None:
    mesh = load(tmp_path, f"{SQUARE}{word} 0 0 1\nf 1/7/7 2/7/7 3/7/7\n")
    assert mesh.info["note"] == f"some corners have a {word} that is not in the file"
    assert mesh.normals is not None and bool((mesh.normals[..., 2] > 0.99).all())


def test_lines_go_on_after_a_backslash_but_comments_end(tmp_path: Path) -> None:
    text = f"# made by C:\\me\\\n{SQUARE}f 1 \\\n2\\\n 3 4\n"
    assert area(load(tmp_path, text)) == 1.0
    assert len(load(tmp_path, text.replace("\n", "\r\n")).vertices) == 4


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", "utf-16"])
def test_byte_order_marks_of_both_files(tmp_path: Path, start: bytes | str) -> None:
    def marked(text: str) -> bytes:
        return text.encode(start) if isinstance(start, str) else start + text.encode()

    text = f"{SQUARE}mtllib m.mtl\nusemtl a\nf 1 2 3 4\n"
    mesh = load(tmp_path, marked(text), m__mtl=marked("newmtl a\nKd 1 0 0\n"))
    assert len(mesh.vertices) == 4 and set(colors(mesh)) == {RED}


def test_numbers_in_all_forms(tmp_path: Path) -> None:
    mesh = load(tmp_path, "v -.5 0. 0\nv 1.0e+0 2.0E-1 0\nv 1e0 +2 0 # here\nf 1 2 3\n")
    expected = torch.tensor([[-0.5, 0, 0], [1, 0.2, 0], [1, 2, 0]])
    torch.testing.assert_close(mesh.vertices, expected)


@pytest.mark.parametrize("first", range(4))
def test_concave_faces_from_any_corner(tmp_path: Path, first: int) -> None:
    corners = "v 0 0 0\nv 2 1 0\nv 4 0 0\nv 2 4 0\n"
    order = " ".join(str((first + k) % 4 + 1) for k in range(4))
    assert area(load(tmp_path, f"{corners}f {order}\n")) == pytest.approx(6.0)


def test_a_closed_surface_stays_closed_along_seams(tmp_path: Path) -> None:
    vertices, faces = box(1.0, 2.0, 3.0)
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in vertices.tolist()) + COORDINATES
    text += "".join(f"f {a + 1}/1 {b + 1}/2 {c + 1}/3\n" for a, b, c in faces.tolist())
    mesh = load(tmp_path, text)
    assert len(mesh.vertices) == 8 and facts(mesh).volume == pytest.approx(6.0)


COLORED = {
    "six": "v {} 1 0 0",
    "of 255": "v {} 255 0 0",
    "with alpha": "v {} 1 0 0 1",
    "with a weight": "v {} 1 1 0 0",
    "with tabs": "v\t{}\t1.0\t0.0\t0.0",
}


@pytest.mark.parametrize("kind", COLORED)
@pytest.mark.parametrize("mtl", [None, "Kd 0.5 0.5 0.5", "Kd 0 0 1"])
@pytest.mark.parametrize("face", ["f 1 2 3 4\n", FACE])
def test_colours_at_vertices(tmp_path: Path, kind: str, mtl: str | None, face: str) -> None:
    """A material's colour does not darken them."""
    rows = [COLORED[kind].format(line[2:]) for line in SQUARE.splitlines()]
    text = "\n".join(rows) + "\n" + COORDINATES + "mtllib m.mtl\nusemtl a\n" * bool(mtl) + face
    mesh = load(tmp_path, text, m__mtl=f"newmtl a\n{mtl}\n")
    assert set(colors(mesh)) == {RED} and mesh.vertex_colors is not None


def test_vertices_that_are_all_white_say_nothing_beside_a_material(tmp_path: Path) -> None:
    text = SQUARE.replace(" 0\n", " 0 1 1 1\n") + "mtllib m.mtl\nusemtl a\nf 1 2 3 4\n"
    assert set(colors(load(tmp_path, text, m__mtl="newmtl a\nKd 1 0 0\n"))) == {RED}
    (tmp_path / "m.mtl").unlink()
    assert set(colors(load(tmp_path, text))) == {(255, 255, 255)}


def test_some_vertices_have_colours_and_others_are_white(tmp_path: Path) -> None:
    mesh = load(tmp_path, "v 0 0 0\nv 1 0 0 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert mesh.vertex_colors is not None
    assert mesh.vertex_colors[:, 1].tolist() == [1.0, 0.0, 1.0]


def test_a_texture_counts_before_colours_at_vertices(tmp_path: Path) -> None:
    """And its neighbours without one keep theirs."""
    text = f"mtllib m.mtl\n{COORDINATES}" + SQUARE.replace(" 0\n", " 0 0 1 0\n")
    text += f"usemtl a\n{FACE}usemtl b\nf 1 2 3 4\n"
    mesh = load(tmp_path, text, m__mtl="newmtl a\nmap_Kd t.png\nnewmtl b\n", t__png=png(RED))
    assert sorted(set(colors(mesh))) == [GREEN, RED]


def test_texture_coordinates_alone_leave_the_plain_colour(tmp_path: Path) -> None:
    mesh = load(tmp_path, SQUARE + COORDINATES + FACE)
    assert set(colors(mesh)) == {GREY} and mesh.materials[0].texture is None
    assert not mesh.info


@pytest.mark.parametrize(
    "libraries",
    ["mtllib x.mtl\nmtllib y.mtl\n", "mtllib x.mtl y.mtl\n", "mtllib x.mtl\tnone.mtl y.mtl\n"],
)
def test_several_material_files(tmp_path: Path, libraries: str) -> None:
    text = libraries + SQUARE + "usemtl a\nf 1 2 3\nusemtl b\nf 1 3 4\n"
    mesh = load(tmp_path, text, x__mtl="newmtl a\nKd 1 0 0\n",
                y__mtl="newmtl b\nKd 0 1 0\nnewmtl a\nKd 0 0 1\n")  # fmt: skip
    assert colors(mesh) == [RED, GREEN]
    assert ("none" in libraries) == ("'none.mtl' is not beside it" in mesh.info.get("note", ""))


def test_names_with_blanks_marks_and_the_words_of_the_format(tmp_path: Path) -> None:
    text = f"# mtllib no.mtl and usemtl no\nmtllib my file.mtl\n{SQUARE}"
    text += "usemtl  old wood #25 \nf 1 2 3\nusemtl b # the other\nf 1 3 4\n"
    (tmp_path / "my file.mtl").write_text("newmtl old wood #25\n\tKd 1 0 0\nnewmtl b\nkd 0 1 0\n")
    mesh = load(tmp_path, text)
    assert colors(mesh) == [RED, GREEN] and not mesh.info


OPTIONS = [
    "", "-s 1 1 1 -o 0 0 0", "-blendu on -blendv off", "-bm 1.5 -boost 2", "-cc on", "-clamp off",
    "-mm 0 1", "-imfchan m", "-t 0 0 0", "-texres 512", "-s 1 -o 0", "-type sphere",
    "-colorspace sRGB",
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["t.png", "my t 1.png", "2.png", "-o.png"])
@pytest.mark.parametrize("word", ["map_Kd", "map_kd", "\tmap_Kd"])
def test_options_of_textures(tmp_path: Path, options: str, name: str, word: str) -> None:
    (tmp_path / name).write_bytes(HALVES)
    for line in (f"{options} {name}", f"{name} {options}"):
        mesh = painted(tmp_path, f"{word} {line}")
        assert colors(mesh, 0.8, 0.1, 0.1)[0] == RED and colors(mesh, 0.1, 0.8, 0.1)[0] == BLUE


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [("-s 2 3", [0, 0], [2, 3]), ("-o 0.5 -0.25 0", [0.5, -0.25], [1.5, 0.75]),
     ("-s 2 2 2 -o 1 1 1", [1, 1], [3, 3]), ("-o .5", [0.5, 0], [1.5, 1])],
)  # fmt: skip
def test_textures_are_stretched_and_moved(
    tmp_path: Path, options: str, low: list[float], high: list[float]
) -> None:
    uv = painted(tmp_path, f"map_Kd {options} t.png", t__png=HALVES).uv
    assert uv is not None
    assert uv.amin((0, 1)).tolist() == low and uv.amax((0, 1)).tolist() == high


def test_clamped_textures_do_not_repeat(tmp_path: Path) -> None:
    for word, seen in (("on", BLUE), ("off", RED)):
        mesh = painted(tmp_path, f"map_Kd -clamp {word} -o 1 0 t.png", t__png=HALVES)
        assert colors(mesh, 0.8, 0.1, 0.1)[0] == seen


def test_base_and_gain_of_a_texture(tmp_path: Path) -> None:
    mesh = painted(tmp_path, "map_Kd -mm 1 -1 t.png", t__png=png(GREEN))
    assert set(colors(mesh)) == {(255, 0, 255)}


@pytest.mark.parametrize(
    "name", ["sub/t.png", "sub\\t.png", "C:\\old\\place\\t.png", '"t.png"', "SUB/T.PNG", "T.png"]
)
def test_paths_of_other_machines(tmp_path: Path, name: str) -> None:
    (tmp_path / "sub").mkdir()
    for place in (tmp_path / "sub", tmp_path):
        (place / "t.png").write_bytes(png(RED))
    assert set(colors(painted(tmp_path, f"map_Kd {name}"))) == {RED}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Kd 1 0 0", RED), ("Kd 0.5", (128, 128, 128)), ("Kd 255 0 0", RED), ("Ka 1 0 0", GREY),
        ("kd 1 0 0 # red", RED), ("Kd spectral x.rfl", GREY), ("", GREY), ("Kd xyz 1 1 1", GREY),
    ],
)  # fmt: skip
def test_colours_of_materials(tmp_path: Path, lines: str, expected: tuple[int, ...]) -> None:
    assert set(colors(painted(tmp_path, lines))) == {expected}


@pytest.mark.parametrize(
    ("lines", "alpha"),
    [("d 0.25", 0.25), ("Tr 0.25", 0.75), ("d 1\nTr 0.5", 1.0), ("d -halo 0.5", 0.5), ("d 1", 1.0),
     ("d 0", 1.0), ("Tr 1", 1.0), ("Tr 0", 1.0)],
)  # fmt: skip
@pytest.mark.parametrize("texture", ["", "map_Kd t.png\n"])
def test_transparency(tmp_path: Path, lines: str, alpha: float, texture: str) -> None:
    material = painted(tmp_path, texture + lines, t__png=png(RED)).materials[0]
    assert material.color[3] == pytest.approx(alpha)
    assert material.alpha == ("opaque" if alpha == 1.0 else "blend")


@pytest.mark.parametrize("mask", [png((255,) * 3, (0,) * 3), png((9, 9, 9, 255), (9, 9, 9, 0))])
def test_transparency_of_an_image(tmp_path: Path, mask: bytes) -> None:
    mesh = painted(tmp_path, "map_Kd t.png\nmap_d m.png", t__png=png(RED), m__png=mask)
    texture = mesh.materials[0].texture
    assert texture is not None and mesh.materials[0].alpha == "blend"
    assert texture[0, [0, -1], 3].tolist() == [255, 0] and texture[0, 0, :3].tolist() == [*RED]
    mesh = painted(tmp_path, "map_Kd t.png\nmap_d gone.png", t__png=png(RED))
    assert mesh.materials[0].alpha == "opaque" and "'gone.png'" in mesh.info["note"]


@pytest.mark.parametrize(
    ("lines", "bare"),
    [("", GREY), ("Kd 0 0 0\n", GREY), ("Kd 0 1 0\n", GREEN)],
)
def test_faces_without_coordinates_beside_faces_with_them(
    tmp_path: Path, lines: str, bare: tuple[int, ...]
) -> None:
    text = f"mtllib m.mtl\n{SQUARE}{COORDINATES}usemtl a\nf 1/1 2/2 3/3\nf 1 3 4\n"
    mesh = load(tmp_path, text, m__mtl=f"newmtl a\n{lines}map_Kd t.png\n", t__png=png(RED))
    assert colors(mesh) == [RED, bare]
    assert mesh.info["note"] == "some faces have no texture coordinates for their texture"


@pytest.mark.parametrize("coordinates", [True, False])
def test_without_its_material_file_a_mesh_has_the_plain_colour_and_says_so(
    tmp_path: Path, coordinates: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    face = FACE if coordinates else "f 1 2 3 4\n"
    mesh = load(tmp_path, f"mtllib ../m/model.mtl\n{SQUARE}{COORDINATES}usemtl a\n{face}")
    assert set(colors(mesh)) == {GREY}
    note = ("the material file '../m/model.mtl' is not beside it; "
            "the material 'a' is not known: it has the plain colour")  # fmt: skip
    assert mesh.info["note"] == note
    assert main(["mesh", "inspect", str(tmp_path / "a.obj")]) == 0
    assert f"  note: {note}\n" in capsys.readouterr().out
    assert main(["mesh", "inspect", str(tmp_path / "a.obj"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["note"] == note
    assert main(["mesh", "convert", str(tmp_path / "a.obj"), str(tmp_path / "a.ply")]) == 0
    assert capsys.readouterr().err == f"{tmp_path / 'a.obj'}: {note}\n"


def test_materials_count_where_they_are_used(tmp_path: Path) -> None:
    """A texture that is missing from a material that no face has stops nothing."""
    mtl = "newmtl b\nmap_Kd gone.png\nnewmtl a\nKd 1 0 0\n"
    text = f"mtllib m.mtl\n{SQUARE}usemtl b\nusemtl a\nf 1 2 3 4\nusemtl b\n"
    assert set(colors(load(tmp_path, text, m__mtl=mtl))) == {RED}


def test_colours_count_as_srgb(tmp_path: Path) -> None:
    color = torch.tensor(painted(tmp_path, "Kd 0.2 0.4 0.6").materials[0].color)
    torch.testing.assert_close(color, to_linear(torch.tensor([0.2, 0.4, 0.6, 1.0])))
