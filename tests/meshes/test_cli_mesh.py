"""`zero123 mesh`: what it writes is right, what it says is true, what is wrong is one line."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.meshes.shapes import joined, sphere, square
from tests.meshes.test_cleanup import moved, together, without
from zero123lib.cli import main
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Material
from zero123lib.meshes.texture import with_vertex_colors
from zero123lib.views.transforms import read_frames


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A ball with a hole, and a small one beside it."""
    ball = sphere(0.5, 3)
    write_mesh(tmp_path / "scan.ply", together(without(ball, 5), moved(sphere(0.02, 1), 0, 1, 0)))
    return tmp_path / "scan.ply"


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    """Two squares facing azimuth 0, the right one red, the left one with a blue texture."""
    texture = torch.tensor([0, 0, 255, 255], dtype=torch.uint8).expand(4, 4, 4)
    left = moved(square(0.0, Material(texture=texture.clone()), 0.4), 0.0, -0.25, 0.0)
    right = moved(square(0.0, Material(color=(1.0, 0.0, 0.0, 1.0)), 0.4), 0.0, 0.25, 0.0)
    write_mesh(tmp_path / "painted.glb", joined(left, right))
    return tmp_path / "painted.glb"


def run(*words: object) -> int:
    return main(["mesh", *map(str, words)])


def test_clean_repairs_and_says_what_it_did(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "clean.glb"
    assert run("clean", scan, out, "--keep", 0.05, "--smooth", 1, "--faces", 500) == 0
    found = facts(load_mesh(out, normalise=False))
    assert found.watertight and found.components == 1 and found.faces == 500
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{scan}: 1359 faces in 2 parts, not watertight (3 edges of one face)"
    assert lines[1] == "  parts: 1279 faces in 1 part, not watertight (3 edges of one face)"
    assert lines[3].startswith("  holes: 1280 faces in 1 part, watertight, volume 0.5")
    assert lines[-1] == f"wrote 500 faces to {out}"


def test_nothing_is_lost_unless_told(scan: Path, tmp_path: Path) -> None:
    run("clean", scan, tmp_path / "all.ply", "--holes", 0)
    made = load_mesh(tmp_path / "all.ply", normalise=False)
    assert torch.equal(made.triangles, load_mesh(scan, normalise=False).triangles)


def test_convert_keeps_size_and_stands_upright(scan: Path, tmp_path: Path) -> None:
    for up, expected in (("auto", [1.0, 1.52, 1.0]), ("y", [1.0, 1.0, 1.52])):
        assert run("convert", scan, tmp_path / "a.obj", "--up", up) == 0
        made = load_mesh(tmp_path / "a.obj", normalise=False).vertices
        assert (made.amax(0) - made.amin(0)).tolist() == pytest.approx(expected, abs=0.02)
    assert run("convert", scan, tmp_path / "b.glb", "--normalise") == 0
    made = load_mesh(tmp_path / "b.glb", normalise=False).vertices
    assert float((made.amax(0) - made.amin(0)).max()) == pytest.approx(1.0)


def test_convert_says_what_a_format_cannot_hold(
    painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("convert", painted, tmp_path / "a.stl") == 0
    assert "left out: colours and textures" in capsys.readouterr().out


@pytest.mark.parametrize("options", [[], ["--vertices"]])
def test_bake_makes_one_texture_or_colours_at_vertices(
    painted: Path, tmp_path: Path, options: list[str]
) -> None:
    out = tmp_path / "baked.glb"
    assert run("bake", painted, out, "--size", 64, *options) == 0
    made = load_mesh(out)
    assert len(made.materials) == 1 and (made.materials[0].texture is None) == bool(options)
    assert run("render", out, tmp_path / "views", "--views", 1, "--size", 32, "--elevation", 0,
               "--light", "ambient") == 0  # fmt: skip
    image = np.asarray(Image.open(tmp_path / "views" / "000.png")).astype(int)
    assert abs(image[16, 10] - [0, 0, 255, 255]).max() < 12
    assert abs(image[16, 22] - [255, 0, 0, 255]).max() < 12


def test_bake_takes_the_colours_of_another_mesh(painted: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.stl"
    run("convert", painted, bare)
    assert run("bake", bare, tmp_path / "a.ply", "--vertices", "--colors-of", painted) == 0
    colors = load_mesh(tmp_path / "a.ply").vertex_colors
    assert colors is not None
    assert set(map(tuple, (colors * 255).round().int().tolist())) == {
        (0, 0, 255, 255),
        (255, 0, 0, 255),
    }


def test_bake_takes_another_mesh_in_its_own_axes(painted: Path, tmp_path: Path) -> None:
    bare, turned = tmp_path / "bare.stl", tmp_path / "turned.obj"
    run("convert", painted, bare)
    run("convert", painted, turned, "--out-up", "z")
    words = ["bake", bare, tmp_path / "a.ply", "--vertices", "--colors-of", turned]
    assert run(*words, "--colors-up", "z") == 0
    colors = load_mesh(tmp_path / "a.ply", normalise=False)
    assert colors.vertex_colors is not None
    left = colors.vertices[:, 1] < 0
    assert (colors.vertex_colors[left, 2] > 0.9).all() and (
        colors.vertex_colors[~left, 0] > 0.9
    ).all()


def test_texture_paints_what_render_has_imaged(
    painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare, views, out = tmp_path / "bare.stl", tmp_path / "views", tmp_path / "out.glb"
    run("convert", painted, bare)
    assert run("render", painted, views, "--views", 4, "--size", 48, "--light", "ambient") == 0
    assert run("texture", bare, views, out, "--size", 64, "--normalise") == 0
    assert capsys.readouterr().out.endswith(f"wrote 4 faces to {out}\n")
    assert run("render", out, tmp_path / "again", "--views", 1, "--size", 48, "--elevation", 0,
               "--light", "ambient") == 0  # fmt: skip
    image = np.asarray(Image.open(tmp_path / "again" / "000.png")).astype(int)
    assert abs(image[24, 14] - [0, 0, 255, 255]).max() < 12
    assert abs(image[24, 34] - [255, 0, 0, 255]).max() < 12
    busy = np.asarray(Image.open(views / "000.png")).copy()
    busy[::2, ::2, :3] = 255 - busy[::2, ::2, :3]
    Image.fromarray(busy).save(views / "000.png")
    made = set()
    for words in ([], ["--steps", 4], ["--steps", 0]):  # 4 unless told
        assert run("texture", bare, views, out, "--size", 64, "--normalise", *words) == 0
        made.add(out.read_bytes())
    assert len(made) == 2


@pytest.mark.parametrize("mode", ["RGBA", "RGB"])
def test_texture_refines_the_shape(mode: str, tmp_path: Path) -> None:
    """A ball becomes the flatter one of the images, with alpha and without."""
    truth = sphere(0.5, 3)
    truth = replace(truth, vertices=truth.vertices * torch.tensor([1.0, 1.0, 0.7]))
    truth = with_vertex_colors(truth, lambda points: 0.5 + 0.4 * torch.sin(8.0 * points))
    write_mesh(tmp_path / "truth.glb", truth)
    write_mesh(tmp_path / "ball.ply", sphere(0.45, 3))
    run("render", tmp_path / "truth.glb", tmp_path / "views", "--views", 6, "--size", 48,
        "--light", "ambient", "--elevation", 10)  # fmt: skip
    for file in (tmp_path / "views").glob("*.png"):
        image = Image.open(file)
        if mode == "RGB":
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image).convert("RGB")
        image.save(file)
    out = tmp_path / "out.glb"
    words = ["texture", tmp_path / "ball.ply", tmp_path / "views", out, "--size", 64]
    assert run(*words, "--refine", 120) == 0
    made = load_mesh(out, normalise=False)
    assert made.materials[0].texture is not None and facts(made).watertight
    sides = made.vertices.amax(0) - made.vertices.amin(0)
    assert sides.tolist() == pytest.approx([1.0, 1.0, 0.7], abs=0.06)


def test_render_writes_images_with_alpha_and_their_cameras(painted: Path, tmp_path: Path) -> None:
    out = tmp_path / "views"
    assert run("render", painted, out, "--views", 4, "--size", 32, "--azimuth", 10) == 0
    listed = read_frames(out / "transforms.json")
    names = [one.file_path for one in listed]
    cameras = torch.stack([one.camera_to_world for one in listed])
    assert names == ["000.png", "001.png", "002.png", "003.png"]
    assert sorted(file.name for file in out.iterdir()) == [*names, "transforms.json"]
    angles = [math.degrees(one.intrinsics["camera_angle_x"]) for one in listed]
    assert angles == pytest.approx([49.13] * 4)
    turn = torch.rad2deg(torch.atan2(cameras[:, 1, 3], cameras[:, 0, 3])).tolist()
    assert turn == pytest.approx([10.0, 100.0, -170.0, -80.0], abs=1e-3)
    image = np.asarray(Image.open(out / "000.png"))
    assert image.shape == (32, 32, 4)
    assert (image[..., 3].min(), image[..., 3].max()) == (0, 255)


def test_inspect_for_people_and_programs(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", scan) == 0
    text = capsys.readouterr().out
    assert "1359 faces, 684 vertices" in text
    assert "closed: not watertight (3 edges of one face)" in text and "parts: 2" in text
    assert run("inspect", scan, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["border_edges"] == 3 and content["volume"] is None
    assert content["watertight"] is False and content["oriented"] is True


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["inspect", "gone.glb"], "MESH: expected a file, got 'gone.glb', and there is none"),
        (["clean", "SCAN", "a.fbx"], "OUT: expected a name in .glb, .obj, .ply, .stl, got 'a.fbx'"),
        (["clean", "SCAN", "SCAN/a.glb"], "OUT: expected a file in a folder that can be written"),
        (
            ["clean", "SCAN", "a.glb", "--keep", "2"],
            "--keep: expected a share from 0 to 1, got '2'",
        ),
        (["clean", "SCAN", "a.glb", "--faces", "3"], "--faces: expected a whole number from 4"),
        (["bake", "SCAN", "a.ply"], "OUT: expected .glb or .obj for a texture, got 'a.ply'"),
        (["convert", "SCAN", "a.glb", "--up", "x"], "--up: expected one of auto, y, z, got 'x'"),
        (["render", "SCAN", "SCAN"], "DIR: expected a folder, got"),
        (["texture", "SCAN", "gone", "a.ply"], "OUT: expected .glb or .obj for a texture, got"),
        (
            ["texture", "SCAN", "gone", "a.glb"],
            "VIEWS: expected a folder with a transforms.json",
        ),
        (
            ["texture", "SCAN", "gone", "a.glb", "--refine", "-1"],
            "--refine: expected a whole number",
        ),
        (["texture", "SCAN", "gone", "a.glb", "--steps", "-1"], "--steps: expected a whole number"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    scan: Path,
    words: list[str],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(scan.parent)
    assert run(*(word.replace("SCAN", "scan.ply") for word in words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("zero123 mesh") and complaint in said and said.count("\n") == 1
    assert [file.name for file in scan.parent.iterdir()] == ["scan.ply"]
