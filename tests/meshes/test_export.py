"""What is written is read back the same, upright, by us and by others; a crash leaves no half."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh
from torch import Tensor

from tests.meshes.shapes import box, joined, sphere, square
from zero123lib import _files
from zero123lib.meshes.axes import FORMATS
from zero123lib.meshes.export import SUFFIXES, write_mesh
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.normals import crease_normals, smooth_normals
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.views.poses import Pose


def checks(alpha: int = 255) -> Tensor:
    texture = torch.randint(0, 256, (4, 8, 4), generator=torch.Generator().manual_seed(1))
    texture[..., 3] = alpha
    return texture.to(torch.uint8)


def smooth() -> Mesh:
    mesh = sphere(0.5, 2)
    return replace(mesh, normals=smooth_normals(mesh.vertices, mesh.faces))


def sharp() -> Mesh:
    """A box with three colours at its vertices and its edges sharp."""
    mesh = box(0.4, 0.7, 1.0)
    colors = torch.cat([mesh.vertices + 0.5, torch.ones(8, 1)], dim=1)
    return replace(mesh, vertex_colors=colors, normals=crease_normals(mesh.vertices, mesh.faces))


def textured() -> Mesh:
    """Two squares, one with a texture and one with a colour, another way round on each."""
    mesh = joined(
        square(0.4, Material(texture=checks())),
        square(-0.4, Material(color=(0.2, 0.5, 0.8, 1.0)), side=0.5),
    )
    return replace(mesh, normals=crease_normals(mesh.vertices, mesh.faces))


def back(path: Path, mesh: Mesh, up: str = "auto") -> Mesh:
    write_mesh(path, mesh, up)
    return load_mesh(path, up, normalise=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("up", ["auto", "y", "z"])
def test_every_format_gives_the_surface_back_to_the_bit(
    tmp_path: Path, suffix: str, up: str
) -> None:
    for mesh in (smooth(), sharp()):
        read = back(tmp_path / f"a{suffix}", mesh, up)
        # Triangle by triangle: formats without indices have other vertices.
        assert torch.equal(read.triangles, mesh.triangles)


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_normals_come_back(tmp_path: Path, suffix: str) -> None:
    for mesh in (smooth(), sharp()):
        read = back(tmp_path / f"a{suffix}", mesh)
        assert read.normals is not None and mesh.normals is not None
        assert torch.allclose(read.normals, mesh.normals, atol=1e-6)


@pytest.mark.parametrize(("suffix", "within"), [(".glb", 1e-6), (".obj", 1e-2), (".ply", 2e-3)])
def test_colours_at_vertices_come_back(tmp_path: Path, suffix: str, within: float) -> None:
    mesh = sharp()
    read = back(tmp_path / f"a{suffix}", mesh)
    assert read.vertex_colors is not None and mesh.vertex_colors is not None
    got, put = read.vertex_colors[read.faces], mesh.vertex_colors[mesh.faces]
    assert torch.allclose(got, put, atol=within)


def by_texture(mesh: Mesh) -> list[Material]:
    """The materials, textured ones first: trimesh gives parts in an order of its own."""
    return sorted(mesh.materials, key=lambda material: material.texture is None)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_textures_and_their_coordinates_come_back(tmp_path: Path, suffix: str) -> None:
    mesh = textured()
    read = back(tmp_path / f"a{suffix}", mesh)
    assert read.face_material is not None and read.uv is not None and mesh.uv is not None
    paint, plain = by_texture(read)
    faces = read.face_material == read.materials.index(paint)
    assert torch.equal(read.triangles[faces], mesh.triangles[:2])
    assert torch.allclose(read.uv[faces], mesh.uv[:2], atol=1e-6)
    assert paint.texture is not None and torch.equal(paint.texture, checks())
    # trimesh reads colours of materials as bytes.
    assert plain.color == pytest.approx((0.2, 0.5, 0.8, 1.0), abs=0.005)
    camera = Camera.at(Pose(20.0, 30.0, 1.85), 32)
    seen, meant = (render(one, camera, AMBIENT).color for one in (read, mesh))
    assert (seen - meant).abs().max() < 0.01


def test_transparency_comes_back_from_glb(tmp_path: Path) -> None:
    material = Material((1.0, 0.5, 0.25, 0.5), checks(100), "blend")
    mask = Material(texture=checks(200), alpha="mask", alpha_cutoff=0.3)
    mesh = joined(square(0.4, material), square(-0.4, mask))
    read = back(tmp_path / "a.glb", mesh)
    blend, masked = sorted(read.materials, key=lambda material: material.alpha)
    assert (blend.alpha, masked.alpha) == ("blend", "mask")
    assert masked.alpha_cutoff == pytest.approx(0.3)
    assert blend.texture is not None and torch.equal(blend.texture, checks(100))
    assert write_mesh(tmp_path / "a.obj", mesh).dropped == ("transparency",)


def test_a_colour_over_a_texture_is_in_the_texture_of_an_obj(tmp_path: Path) -> None:
    mesh = square(0.0, Material((0.5, 0.25, 1.0, 1.0), checks()))
    camera = Camera.at(Pose(0.0, 0.0, 1.85), 32)
    seen, meant = (
        render(one, camera, AMBIENT).color for one in (back(tmp_path / "a.obj", mesh), mesh)
    )
    assert (seen - meant).abs().max() < 0.02


def test_ply_has_a_textures_colours_at_its_vertices_and_says_what_it_lacks(tmp_path: Path) -> None:
    texture = torch.full((2, 2, 4), 255, dtype=torch.uint8)
    texture[..., 1] = 40
    mesh = square(0.2, Material(texture=texture))
    written = write_mesh(tmp_path / "a.ply", mesh)
    assert written.dropped == ("textures, but for their colours at the vertices",)
    read = load_mesh(tmp_path / "a.ply")
    assert read.vertex_colors is not None
    assert torch.allclose(read.vertex_colors, torch.tensor([1.0, 40 / 255, 1.0, 1.0]), atol=0.002)
    assert write_mesh(tmp_path / "a.stl", mesh).dropped == ("colours and textures",)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_others_read_as_many_faces_and_a_closed_surface(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_mesh(path, smooth())
    theirs: Any = trimesh.load_mesh(path)
    assert len(theirs.faces) == len(smooth().faces)
    assert theirs.is_watertight and theirs.is_winding_consistent and theirs.volume > 0.0
    assert len(o3d.io.read_triangle_mesh(path).triangles) == len(smooth().faces)


def header_of(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (length,) = struct.unpack("<I", content[12:16])
    return json.loads(content[20 : 20 + length])


def test_a_glb_stands_upright_and_says_so(tmp_path: Path) -> None:
    # Our (x, y, z) is glTF's (x, z, -y).
    mesh = sharp()
    mesh = replace(mesh, vertices=mesh.vertices + torch.tensor([10.0, 20.0, 30.0]))
    write_mesh(tmp_path / "a.glb", replace(mesh, info={"copyright": "by me"}))
    header = header_of(tmp_path / "a.glb")
    position = header["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    assert header["accessors"][position]["max"] == pytest.approx([10.2, 30.5, -19.65])
    assert (
        header["asset"]["extras"]["axes"] == "y up, the camera of azimuth 0 along +x, right-handed"
    )
    assert header["asset"]["generator"].startswith("zero123lib")
    assert load_mesh(tmp_path / "a.glb").info["copyright"] == "by me"
    (material,) = header["materials"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0.0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("up", ["auto", "y", "z"])
def test_every_format_says_its_axes_and_its_scale(tmp_path: Path, suffix: str, up: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_mesh(path, smooth(), up)
    axis = FORMATS[suffix] if up == "auto" else up
    if suffix == ".glb":
        said = " ".join(header_of(path)["asset"]["extras"].values())
    else:
        said = path.read_bytes()[: 80 if suffix == ".stl" else 400].decode("ascii", "replace")
    azimuth = "azimuth 0 at +x" if suffix == ".stl" else "the camera of azimuth 0 along +x"
    assert f"{axis} up" in said and azimuth in said
    assert "no physical size" in said and "box" in said
    content = path.read_bytes()
    assert b"zero123lib" in content[: 80 if suffix == ".stl" else None]
    # Text comes first in an STL file of text alone.
    assert suffix != ".stl" or not content.startswith(b"solid")


def test_an_obj_is_replaced_together_with_its_files(tmp_path: Path) -> None:
    path = tmp_path / "my mug.obj"
    (tmp_path / "my_mug.mtl").write_text("# somebody else's\n")
    write_mesh(path, textured())
    first = {file.name for file in tmp_path.iterdir()}
    other = replace(textured(), materials=(Material(texture=checks() // 2), Material()))
    written = write_mesh(path, other)
    names = {file.name for file in written.files}
    assert {file.name for file in tmp_path.iterdir()} == names | {"my_mug.mtl"}
    assert (tmp_path / "my_mug.mtl").read_text() == "# somebody else's\n"
    assert first & names == {"my mug.obj"} and len(names) == 3
    texture = by_texture(load_mesh(path))[0].texture
    assert texture is not None and torch.equal(texture[..., :3], checks()[..., :3] // 2)
    assert write_mesh(path, sharp()).files == (path,)
    assert {file.name for file in tmp_path.iterdir()} == {"my mug.obj", "my_mug.mtl"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_fills_up_leaves_what_was_there(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    write_mesh(path, smooth())
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}

    def full(file: Path) -> None:
        if file.suffix == suffix:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(_files, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_mesh(path, textured())
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_no_such_format_or_axis(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="path: expected a name in .glb, .obj, .ply, .stl, got"):
        write_mesh(tmp_path / "a.fbx", smooth())
    with pytest.raises(ValueError, match="up: expected one of auto, y, z, got 'x'"):
        write_mesh(tmp_path / "a.glb", smooth(), "x")
    assert not list(tmp_path.iterdir())


def test_gradients_and_unused_vertices_are_no_hindrance(tmp_path: Path) -> None:
    mesh = smooth()
    loose = torch.cat([mesh.vertices, torch.full((1, 3), 9.0)]).requires_grad_()
    mesh = replace(mesh, vertices=loose)
    for suffix in SUFFIXES:
        read = back(tmp_path / f"a{suffix}", mesh)
        assert float(read.vertices.max()) < 1.0
    assert np.isfinite(read.vertices.numpy()).all()
