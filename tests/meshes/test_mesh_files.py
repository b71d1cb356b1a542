"""Files of every format come in upright, in one piece and coloured; bad ones in one clear line."""

from __future__ import annotations

import io
import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals, TextureVisuals
from trimesh.visual.material import PBRMaterial

from zero123lib.meshes import load
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.materials import PLAIN
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.render import Rendering, render
from zero123lib.meshes.shading import AMBIENT, to_linear
from zero123lib.views.poses import Pose

SIZE = 32
# The azimuth from which a y-up file's +z side is seen.
FRONT = -90.0
# A file's axes by colour: a long box along y, a red knob at its +x side, a green one at its +z
# side, a blue one on top. Nothing is mirrored where all three are found.
KNOBS = {"red": ([0.3, 0.2, 0.0], [255, 0, 0]), "green": ([0.0, 0.2, 0.3], [0, 255, 0]),
         "blue": ([0.0, 0.6, 0.0], [0, 0, 255])}  # fmt: skip


def signpost() -> dict[str, trimesh.Trimesh]:
    """Its parts, y up, front along +z."""
    parts = {"pole": painted(trimesh.creation.box((0.2, 1.0, 0.2)), [128, 128, 128, 255])}
    for name, (at, color) in KNOBS.items():
        parts[name] = painted(trimesh.creation.box((0.2, 0.2, 0.2)), [*color, 255])
        parts[name].apply_translation(at)
    return parts


def painted(part: trimesh.Trimesh, color: list[int]) -> trimesh.Trimesh:
    part.visual = ColorVisuals(part, vertex_colors=color)
    return part


def write_signpost(path: Path) -> None:
    """A scene of transformed nodes where the format has such, else one mesh."""
    parts = signpost()
    mesh: Any = trimesh.util.concatenate(list(parts.values()))
    if path.suffix == ".glb":
        scene = trimesh.Scene()
        turn: Any = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.4, 0.1, 0.2])
        for name, part in parts.items():
            part.apply_transform(np.linalg.inv(turn))
            scene.add_geometry(part, node_name=name, transform=turn)
        scene.export(path)
    elif path.suffix == ".obj":
        mesh.export(path, include_normals=False)
    else:
        # z-up formats: what "y" means done by hand, so that the same object comes in.
        mesh.vertices = mesh.vertices[:, [0, 2, 1]] * [1, -1, 1]
        mesh.export(path)


def look(mesh: Mesh, azimuth_deg: float, elevation_deg: float = 0.0) -> Rendering:
    return render(mesh, Camera.at(Pose(elevation_deg, azimuth_deg, 2.0), SIZE), AMBIENT, 2)


def place(seen: Rendering, channel: int) -> tuple[float, float]:
    """Right and up, in pixels, of the middle of what is bright in one channel alone; or NaN."""
    color = seen.color[..., :3] * seen.color[..., 3:]
    others = [index for index in range(3) if index != channel]
    hit = (color[..., channel] > 0.9) & (color[..., others].amax(-1) < 0.3)
    row, column = (at.float().mean().item() for at in hit.nonzero(as_tuple=True))
    return column, -row


@pytest.mark.parametrize("suffix", [".glb", ".gltf", ".obj", ".ply"])
def test_axes_are_blenders_and_nothing_is_mirrored(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"signpost{suffix}"
    if suffix == ".gltf":
        write_signpost(tmp_path / "signpost.glb")
        scene: Any = trimesh.load_scene(tmp_path / "signpost.glb", process=False)
        for name, content in scene.export(file_type="gltf").items():
            (tmp_path / name).write_bytes(content)
        (tmp_path / "model.gltf").rename(path)
    else:
        write_signpost(path)
    mesh = load_mesh(path)
    front, right, back = (look(mesh, FRONT + turn) for turn in (0.0, 90.0, 180.0))
    (red, _), (green, _), (blue, above) = (place(front, channel) for channel in range(3))
    # The file's +z looks at the camera, its +x is to the right, its +y is up.
    assert red - blue > 3 and abs(green - blue) < 1
    assert above - place(front, 0)[1] > 4
    # From the right: +x looks at the camera, +z is to the left.
    (red, _), (green, _), (blue, _) = (place(right, channel) for channel in range(3))
    assert green - blue < -3 and abs(red - blue) < 1
    (red, _), (green, _), (blue, _) = (place(back, channel) for channel in range(3))
    assert red - blue < -3 and math.isnan(green)
    assert not math.isnan(place(look(mesh, 0.0, 90.0), 2)[0])


def test_up_can_be_named(tmp_path: Path) -> None:
    write_signpost(tmp_path / "a.glb")
    by_y, by_z = (load_mesh(tmp_path / "a.glb", up) for up in ("y", "z"))
    torch.testing.assert_close(
        by_y.vertices, by_z.vertices[:, [0, 2, 1]] * torch.tensor([1, -1, 1])
    )
    with pytest.raises(ValueError, match="up: expected one of auto, y, z, got 'x'"):
        load_mesh(tmp_path / "a.glb", "x")


@pytest.mark.parametrize("far", [0.0, 1e6])
def test_normalised_centred_with_longest_side_1(tmp_path: Path, far: float) -> None:
    part = trimesh.creation.box((2.0, 5.0, 3.0))
    part.apply_translation([far, -far, 7.0])
    part.vertices = np.concatenate([part.vertices, [[1e9, 0.0, 0.0]]])  # belongs to no face
    part.export(tmp_path / "a.stl")
    mesh = load_mesh(tmp_path / "a.stl")
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    # STL's float32 leaves steps of 1/16 at a million.
    torch.testing.assert_close(high - low, torch.tensor([0.4, 1.0, 0.6]), atol=0.03, rtol=0)
    torch.testing.assert_close(high + low, torch.zeros(3), atol=1e-6, rtol=0)
    as_is = load_mesh(tmp_path / "a.stl", normalise=False)
    assert as_is.vertices[:, 2].amax() == pytest.approx(8.5)


def textured_square(image: Image.Image, **material: Any) -> trimesh.Trimesh:
    """A square that faces +z, y up."""
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    settings = {"name": "paint", "metallicFactor": 0.0, **material}
    look = PBRMaterial(baseColorTexture=image, **settings)
    return trimesh.Trimesh(
        np.concatenate([corners - 0.5, np.zeros((4, 1))], axis=1),
        [[0, 1, 2], [0, 2, 3]],
        visual=TextureVisuals(uv=corners, material=look),
        process=False,
    )


def quarters(mode: str = "RGB") -> Image.Image:
    """Red, green / blue, white."""
    corners = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    return Image.fromarray(corners.repeat(8, 0).repeat(8, 1)).convert(mode)


def quarters_seen(mesh: Mesh) -> torch.Tensor:
    seen = look(mesh, FRONT).color
    return torch.stack([seen[row, column] for row in (12, 20) for column in (12, 20)])


QUARTERS = torch.tensor([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 1, 1]])


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_textures_are_upright(tmp_path: Path, suffix: str) -> None:
    textured_square(quarters()).export(tmp_path / f"a{suffix}")
    mesh = load_mesh(tmp_path / f"a{suffix}")
    torch.testing.assert_close(quarters_seen(mesh), QUARTERS, atol=0.02, rtol=0)


def test_palettes_and_colour_factors(tmp_path: Path) -> None:
    factor = [255, 128, 255, 255]
    textured_square(quarters("P"), baseColorFactor=factor).export(tmp_path / "a.glb")
    seen = to_linear(quarters_seen(load_mesh(tmp_path / "a.glb")))
    expected = QUARTERS * torch.tensor([1.0, 128 / 255, 1.0, 1.0])
    torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize(("mode", "alpha"), [("MASK", 0.0), ("BLEND", 0.25), (None, 1.0)])
def test_alpha_modes(tmp_path: Path, mode: str | None, alpha: float) -> None:
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 64))
    textured_square(image, alphaMode=mode, alphaCutoff=0.5).export(tmp_path / "a.glb")
    seen = look(load_mesh(tmp_path / "a.glb"), FRONT).color[SIZE // 2, SIZE // 2, 3]
    assert seen == pytest.approx(alpha, abs=0.01)


def test_vertex_colours_of_gltf_are_linear_and_of_ply_srgb(tmp_path: Path) -> None:
    mesh = painted(trimesh.creation.box(), [188, 188, 188, 255])
    mesh.export(tmp_path / "a.glb")
    mesh.export(tmp_path / "a.ply")
    of = {suffix: load_mesh(tmp_path / f"a.{suffix}").vertex_colors for suffix in ("glb", "ply")}
    assert of["ply"][0, 0] == pytest.approx(188 / 255)  # pyright: ignore
    assert to_linear(of["glb"])[0, 0] == pytest.approx(188 / 255)  # pyright: ignore


def test_several_materials_stay_apart(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for index, color in enumerate(["red", "lime", "blue"]):
        part = textured_square(Image.new("RGB", (2, 2), color), name=color)
        scene.add_geometry(
            part, transform=trimesh.transformations.translation_matrix([index, 0, 0])
        )
    scene.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    assert len(mesh.materials) == 3
    row = look(mesh, FRONT).color[SIZE // 2, [11, 16, 20], :3]
    torch.testing.assert_close(row, torch.eye(3), atol=0.01, rtol=0)


def test_mirrored_nodes_keep_their_outside(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.icosphere(1), transform=np.diag([-1.0, 1.0, 1.0, 1.0]))
    scene.export(tmp_path / "a.glb")
    mesh = load_mesh(tmp_path / "a.glb")
    a, b, c = mesh.triangles.unbind(1)
    assert ((torch.linalg.cross(b - a, c - a) * (a + b + c)).sum(-1) > 0).all()
    assert mesh.normals is not None
    assert ((mesh.normals * mesh.triangles).sum(-1) > 0).all()


def test_normals_of_the_file_are_kept_where_they_are_of_use(tmp_path: Path) -> None:
    part = trimesh.creation.box()
    given = np.tile([[0.6, 0.8, 0.0]], (8, 1))
    part = trimesh.Trimesh(part.vertices, part.faces, vertex_normals=given, process=False)
    part.export(tmp_path / "a.glb", include_normals=True)
    normals = load_mesh(tmp_path / "a.glb").normals
    assert normals is not None
    kept = (normals - torch.tensor([0.6, 0.0, 0.8])).abs().amax(-1) < 1e-5
    # On the faces whose outside is on the normal's side; elsewhere they are made.
    assert kept.any() and not kept.all()
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(12, 3))


def glb(header: dict[str, Any], binary: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


def triangle_glb(change: Callable[[dict[str, Any]], object] = lambda header: None) -> bytes:
    """One triangle with uv and a texture, whose header was changed."""
    image = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(image, "PNG")
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
    uv = np.array([[0, 0], [1, 0], [0, 1]], np.float32).tobytes()
    parts = [points, uv, image.getvalue()]
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    header: dict[str, Any] = {
        "asset": {"version": "2.0", "copyright": "CC0, nobody"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [
            {"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "material": 0}]}
        ],
        "materials": [
            {"name": "paint", "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 2, "mimeType": "image/png"}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 3, "type": "VEC2"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": len(part)}
            for start, part in zip(starts, parts, strict=False)
        ],
        "buffers": [{"byteLength": starts[-1]}],
    }
    change(header)
    return glb(header, b"".join(parts))


def test_a_crafted_triangle_is_read_when_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "a.glb").write_bytes(triangle_glb())
    mesh = load_mesh(tmp_path / "a.glb")
    assert len(mesh.faces) == 1 and mesh.materials[0].texture is not None
    assert mesh.info["copyright"] == "CC0, nobody"


OBJ = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.obj", b"", "expected 1 to 1073741824 bytes, got 0"),
    "no mesh": ("a.obj", b"hello\n", "expected a surface of triangles, got none"),
    "points only": ("a.obj", OBJ.encode(), "expected a surface of triangles, got none"),
    "no area": ("a.obj", b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "triangles without any area"),
    "one point": ("a.obj", b"v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "an extent above 0, got 0"),
    "NaN": ("a.obj", b"v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite vertices, got NaN"),
    "infinite": ("a.obj", b"v 0 0 inf\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "finite vertices, got NaN"),
    "index too high": ("a.obj", (OBJ + "f 1 2 9\n").encode(), "from 1 to 3, got one of number 9"),
    "not a GLB": ("a.glb", b"PK\3\4 and so on", "damaged JSON"),
    "cut off in the head": ("a.glb", triangle_glb()[:15], "cut off"),
    "cut off in the JSON": ("a.glb", triangle_glb()[:200], "cut off"),
    "cut off in the data": ("a.glb", triangle_glb()[:-100], "damaged|chunk"),
    "a JSON list": ("a.gltf", b"[1, 2]", "expected glTF, got a JSON list"),
    "glTF 1": ("a.glb", b"glTF\1\0\0\0" + triangle_glb()[8:], "expected glTF version 2, got 1"),
    "draco": (
        "a.glb",
        triangle_glb(lambda h: h.update(extensionsRequired=["KHR_draco_mesh_compression"])),
        "without KHR_draco_mesh_compression",
    ),
    "glTF 1 in JSON": (
        "a.gltf", b'{"asset": {"version": "1.0"}}', "expected glTF version 2, got 1.0"
    ),
    "beyond its buffer": (
        "a.glb", triangle_glb(lambda h: h["accessors"][0].update(count=30)), "a view that ends at"
    ),
    "faces beyond its vertices": (
        "a.glb",
        triangle_glb(lambda h: (
            h["accessors"].append({"bufferView": 1, "componentType": 5121, "count": 24,
                                   "type": "SCALAR"}),
            h["meshes"][0]["primitives"][0].update(indices=2),
        )),
        "expected faces of 3 vertices, from 0 to 2, got one of number",
    ),
    "huge": (
        "a.glb",
        triangle_glb(lambda h: h["accessors"][0].update(count=10**10)),
        "at most 5000000 triangles, got more",
    ),
    "damaged texture": (
        "a.glb",
        triangle_glb(lambda h: h["images"][0].update(bufferView=0)),
        "a texture that can be read, got that of 'paint'",
    ),
    "circle": (
        "a.glb",
        triangle_glb(lambda h: h["nodes"][0].update(children=[0])),
        "expected a tree of nodes",
    ),
    "two parents": (
        "a.glb",
        triangle_glb(
            lambda h: h.update(nodes=[{"children": [2]}, {"children": [2]}, {"mesh": 0}])
        ),
        "one with two parents",
    ),
    "no such node": (
        "a.glb",
        triangle_glb(lambda h: h["nodes"][0].update(children=[7])),
        "one of 1 nodes, got 7: damaged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, case: str) -> None:
    name, content, reason = HOSTILE[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MeshError, match=reason) as caught:
        load_mesh(tmp_path / name)
    said = str(caught.value)
    assert str(tmp_path / name) in said and "\n" not in said and "0x" not in said


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="mesh: expected a file, got .*, and there is none"):
        load_mesh(tmp_path / "a.glb")
    with pytest.raises(MeshError, match=r"mesh: expected a file of \.glb, .*, got"):
        load_mesh(tmp_path / "a.fbx")


def test_too_many_triangles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_TRIANGLES", 100)
    trimesh.creation.icosphere(2).export(tmp_path / "a.ply")
    with pytest.raises(MeshError, match="expected at most 100 triangles, got more"):
        load_mesh(tmp_path / "a.ply")


def test_large_textures_are_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_TEXELS", 64)
    textured_square(quarters()).export(tmp_path / "a.glb")
    texture = load_mesh(tmp_path / "a.glb").materials[0].texture
    assert texture is not None and texture.shape == (8, 8, 4)


def test_smaller_textures_keep_the_colours_of_opaque_materials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "MAX_TEXELS", 4)
    textured_square(Image.new("RGBA", (16, 16), (255, 0, 0, 0))).export(tmp_path / "a.glb")
    texture = load_mesh(tmp_path / "a.glb").materials[0].texture
    assert texture is not None and texture[..., :3].unique(dim=1).tolist() == [[[255, 0, 0]]] * 2


def write_obj(folder: Path, material_file: str, texture: str) -> Path:
    """A textured triangle whose files are named so; the texture lies in `folder`/skin.png."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (2, 2), "red").save(folder / "skin.png")
    (folder / "a.mtl").write_text(f"newmtl paint\nmap_Kd {texture}\n")
    text = f"mtllib {material_file}\n{OBJ}vt 0 0\nvt 1 0\nvt 0 1\nusemtl paint\nf 1/1 2/2 3/3\n"
    (folder / "a.obj").write_text(text)
    return folder / "a.obj"


@pytest.mark.parametrize(
    "texture",
    ["skin.png", "./skin.png", "C:\\art\\skin.png", "/home/artist/skin.png", "../skin.png"],
)
def test_textures_are_found_beside_the_file(tmp_path: Path, texture: str) -> None:
    mesh = load_mesh(write_obj(tmp_path / "in", "a.mtl", texture))
    assert mesh.materials[0].texture is not None


@pytest.mark.parametrize(
    ("texture", "reason"),
    [
        ("../secret.png", "the file '../secret.png' beside it, and there is none"),
        ("link.png", "the file 'link.png' beside it"),
        ("LINK.PNG", "the file 'LINK.PNG' beside it"),
        ("http://127.0.0.1:9/skin.png", "which is not fetched"),
        ("a.obj", "expected an image, got 'a.obj', damaged"),
        ("gone.png", "the file 'gone.png' beside it, and there is none"),
    ],
)
def test_nothing_else_is_read(tmp_path: Path, texture: str, reason: str) -> None:
    path = write_obj(tmp_path / "in", "a.mtl", texture)
    for name in ("secret.png", "other.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "other.png")
    with pytest.raises(MeshError, match=reason) as caught:
        load_mesh(path)
    assert "0x" not in str(caught.value)
    mesh = load_mesh(path, textures="readable")
    assert mesh.materials[0].texture is None and re.search(reason, mesh.info["note"])


@pytest.mark.parametrize("name", ["../secret.mtl", "link.mtl", "file:///etc/passwd", "gone.mtl"])
def test_no_other_material_file_is_read(tmp_path: Path, name: str) -> None:
    path = write_obj(tmp_path / "in", name, "skin.png")
    (tmp_path / "secret.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    (tmp_path / "in" / "link.mtl").symlink_to(tmp_path / "secret.mtl")
    mesh = load_mesh(path)
    assert mesh.materials[0].color == PLAIN and mesh.materials[0].texture is None
    assert f"the material file {name!r} is not beside it" in mesh.info["note"]


def test_references_of_gltf_are_bound_to_the_folder_too(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    for uri, reason in [("../secret.png", "beside it"), ("https://a.example/b.png", "not fetched")]:
        content = triangle_glb(lambda h, uri=uri: h.update(images=[{"uri": uri}]))
        (tmp_path / "in" / "a.glb").write_bytes(content)
        with pytest.raises(MeshError, match=reason):
            load_mesh(tmp_path / "in" / "a.glb")


def test_real_meshes_load_textured(shared_data: Path) -> None:
    for path in sorted((shared_data / "meshes").iterdir()):
        mesh = load_mesh(path)
        textured = [material.texture is not None for material in mesh.materials]
        assert textured == [path.suffix == ".glb"], path.name
        seen = render(mesh, Camera.at(Pose(20.0, 40.0, 1.85), SIZE), AMBIENT, 1)
        assert 0.02 < seen.mask.float().mean() < 0.6, path.name
        assert bool(mesh.info.get("copyright")) == (path.suffix == ".glb"), path.name


def test_the_cow_stands_with_its_spots_where_they_belong(shared_data: Path) -> None:
    # Keenan Crane's Spot looks along -z in its file: we see its pink muzzle from azimuth 180,
    # below its dark eyes, and hooves at the bottom.
    seen = look(load_mesh(shared_data / "meshes" / "spot.glb"), FRONT + 180.0)
    color, mask = seen.color, seen.mask
    rows = mask.any(1).nonzero().flatten()
    top, bottom = int(rows[0]), int(rows[-1])
    muzzle = (color[..., 0] - color[..., 2] > 0.25) & mask
    centre = muzzle[:, SIZE // 2 - 2 : SIZE // 2 + 2].nonzero()[:, 0].float().mean()
    assert top + 0.2 * (bottom - top) < centre < top + 0.6 * (bottom - top)
    head, hooves = (
        color[row][mask[row]][:, :3].mean() for row in (top + (bottom - top) // 8, bottom - 1)
    )
    assert hooves < head - 0.2
