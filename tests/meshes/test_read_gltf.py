"""glTF is read as the specification and its extensions say."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.meshes.files import BLUE, GREEN, GREY, RED, Gltf, area, box, colors, png, sides
from zero123lib.cli import main
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import MeshError, load_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import to_linear

TRIANGLE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
SQUARE = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
TWO = np.array([0, 1, 2, 0, 2, 3])
# The image's left half is red, its right half blue; v runs down.
HALVES = png(RED, BLUE)
UV = np.array([[0.0, 1], [1, 1], [1, 0], [0, 0]])
MOST = {"b": 127, "B": 255, "h": 32767, "H": 65535}
QUARTER_TURN = [0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)]  # about z


def load(file: Gltf, folder: Path, **options: Any) -> Mesh:
    """As written: the file's y is up and stays y."""
    return load_mesh(file.write(folder / "a.glb"), "z", normalise=False, **options)


def textured(file: Gltf, uv: int, name: str = "TEXCOORD_0", **more: Any) -> Gltf:
    """A square whose left half is red and whose right half is blue."""
    file.mesh(SQUARE, TWO)["attributes"][name] = uv
    file.paint(baseColorTexture={"index": file.image(HALVES), **more})
    return file


def left_right(mesh: Mesh) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The colours beside the square's lower left and its lower right corner."""
    return colors(mesh, 0.8, 0.1, 0.1)[0], colors(mesh, 0.1, 0.8, 0.1)[0]


@pytest.mark.parametrize("kind", MOST)
def test_normalised_texture_coordinates(tmp_path: Path, kind: str) -> None:
    file = Gltf()
    uv = file.accessor(np.round(UV * MOST[kind]), kind, normalized=True)
    mesh = load(textured(file, uv), tmp_path)
    assert mesh.uv is not None and (mesh.uv.amin(), mesh.uv.amax()) == (0.0, 1.0)
    assert left_right(mesh) == (RED, BLUE)


@pytest.mark.parametrize("kind", MOST)
@pytest.mark.parametrize("normalized", [False, True])
def test_quantised_positions(tmp_path: Path, kind: str, normalized: bool) -> None:
    file = Gltf(extensionsRequired=["KHR_mesh_quantization"])
    low = -MOST[kind] - 1 if kind.islower() else 0
    whole = np.array([[low, 0, 0], [MOST[kind], 0, 0], [0, 100, 0]])
    primitive = file.mesh(whole, None, kind)
    file.header["accessors"][primitive["attributes"]["POSITION"]]["normalized"] = normalized
    file.header["nodes"][0]["scale"] = [2.0, 2.0, 2.0]
    shares = np.maximum(whole / MOST[kind], -1.0) if normalized else whole
    made = load(file, tmp_path).vertices.numpy()
    np.testing.assert_allclose(made, 2.0 * shares, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["b", "h"])
def test_quantised_normals(tmp_path: Path, kind: str) -> None:
    file = Gltf()
    most = MOST[kind]
    normals = file.accessor(np.round(np.tile([[0.6, 0.0, 0.8]], (3, 1)) * most), kind,
                            normalized=True)  # fmt: skip
    file.mesh(TRIANGLE, None, NORMAL=normals)
    mesh = load(file, tmp_path)
    assert mesh.normals is not None
    expected = torch.tensor([0.6, 0.0, 0.8]).expand(1, 3, 3)
    torch.testing.assert_close(mesh.normals, expected, atol=1 / most, rtol=0)


@pytest.mark.parametrize("kind", ["f", "B", "H"])
@pytest.mark.parametrize("alpha", [False, True])
def test_vertex_colours_are_linear_of_three_numbers_or_four(
    tmp_path: Path, kind: str, alpha: bool
) -> None:
    file = Gltf()
    rows = np.tile([1.0, 0.5, 0.0, 0.25][: 4 if alpha else 3], (3, 1))
    values = rows if kind == "f" else np.round(rows * MOST[kind])
    file.mesh(TRIANGLE, None, COLOR_0=file.accessor(values, kind, normalized=kind != "f"))
    found = load(file, tmp_path).vertex_colors
    assert found is not None
    expected = torch.tensor([1.0, 0.5, 0.0, 0.25 if alpha else 1.0]).expand(3, 4)
    torch.testing.assert_close(to_linear(found), expected, atol=0.003, rtol=0)


@pytest.mark.parametrize("base", [True, False])
def test_sparse_accessors(tmp_path: Path, base: bool) -> None:
    """Two of the three vertices are put elsewhere, or stand alone against zeros."""
    file = Gltf()
    file.mesh(TRIANGLE)
    accessor = file.header["accessors"][0]
    accessor["sparse"] = {
        "count": 2,
        "indices": {"bufferView": file.view(bytes([1, 2])), "componentType": 5121},
        "values": {"bufferView": file.view(np.array([[5, 0, 0], [0, 7, 1]], "<f4").tobytes())},
    }
    if not base:
        del accessor["bufferView"]
    assert sides(load(file, tmp_path)) == [5.0, 7.0, 1.0]


@pytest.mark.parametrize("mode", [5, 6])
def test_strips_and_fans_are_wound_alike(tmp_path: Path, mode: int) -> None:
    file = Gltf()
    order = [0, 1, 3, 2] if mode == 5 else [0, 1, 2, 3]
    file.mesh(SQUARE, order)["mode"] = mode
    mesh = load(file, tmp_path)
    assert area(mesh) == 1.0 and len(mesh.faces) == 2
    assert mesh.normals is not None and bool((mesh.normals[..., 2] > 0.99).all())


def test_a_texture_takes_the_coordinates_that_it_names(tmp_path: Path) -> None:
    file = Gltf()
    wrong = file.accessor(np.zeros((4, 2)))
    mesh = textured(file, file.accessor(UV), "TEXCOORD_1", texCoord=1)
    mesh.header["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = wrong
    assert left_right(load(file, tmp_path)) == (RED, BLUE)


def test_a_texture_without_coordinates_is_left_out_and_said(tmp_path: Path) -> None:
    file = textured(Gltf(), 0, "_OTHER")
    mesh = load(file, tmp_path)
    assert mesh.materials[0].texture is None
    assert mesh.info["note"] == "some faces have no texture coordinates for their texture"


def test_texture_transforms(tmp_path: Path) -> None:
    """The extension's own example: the lower left quadrant, the image turned by a quarter."""
    file = Gltf(extensionsRequired=["KHR_texture_transform"])
    transform = {"offset": [0.0, 1.0], "rotation": math.pi / 2, "scale": [0.5, 0.5], "texCoord": 1}
    textured(file, file.accessor(UV), "TEXCOORD_1", extensions={"KHR_texture_transform": transform})
    uv = load(file, tmp_path).uv
    assert uv is not None
    # (u, v) becomes (v / 2, 1 - u / 2), v down; (v / 2, u / 2), v up.
    expected = np.stack([UV[:, 1], UV[:, 0]], axis=1)[TWO].reshape(2, 3, 2) / 2
    np.testing.assert_allclose(uv.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        (10497, [RED, BLUE, RED, BLUE, RED, BLUE]),
        (33071, [RED, RED, RED, BLUE, BLUE, BLUE]),
        (33648, [BLUE, RED, RED, BLUE, BLUE, RED]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_what_lies_beside_an_image(
    tmp_path: Path, mode: int, seen: list[tuple[int, ...]], axis: int
) -> None:
    """An image over a strip three times as long: repeated, clamped and mirrored."""
    file = Gltf(samplers=[{"wrapS": mode, "wrapT": mode}])
    edges = np.linspace(-1.0, 2.0, 7)
    uv = np.array([[[low, 0.5], [high, 0.4], [high, 0.6]]
                   for low, high in pairwise(edges)])  # fmt: skip
    # Across, or down with red above blue.
    flat = (uv if axis == 0 else uv[..., ::-1]).reshape(-1, 2)
    image = HALVES if axis == 0 else png(RED, BLUE, down=True)
    file.mesh(np.random.default_rng(0).random((18, 3)), None, TEXCOORD_0=file.accessor(flat))
    file.paint(baseColorTexture={"index": file.image(image)})
    file.header["textures"][0]["sampler"] = 0
    assert colors(load(file, tmp_path)) == seen


def older(**model: Any) -> dict[str, Any]:
    return {"extensions": {"KHR_materials_pbrSpecularGlossiness": model}}


@pytest.mark.parametrize("textures", [(True, True), (True, False), (False, True), (False, False)])
def test_specular_glossiness_stands_in_place_of_its_fallback(
    tmp_path: Path, textures: tuple[bool, bool]
) -> None:
    """Red is right, and blue what those see who do not know the extension."""
    own, fallback = textures
    file = Gltf()
    file.mesh(SQUARE, TWO, TEXCOORD_0=file.accessor(UV))
    file.paint(baseColorFactor=[0, 0, 1, 1])
    material = file.header["materials"][0]
    if fallback:
        index = file.image(png(BLUE))
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": index}
    model: dict[str, Any] = {} if own else {"diffuseFactor": [1, 0, 0, 1]}
    if own:
        model["diffuseTexture"] = {"index": file.image(png(RED))}
    material.update(older(**model))
    assert set(colors(load(file, tmp_path))) == {RED}


def skinned(file: Gltf, joints: list[Any], matrices: Any = None, kind: str = "B") -> None:
    """A box of 1 x 3 x 0.5 whose upper half hangs on the second joint, half and half at both."""
    vertices, faces = box(1.0, 3.0, 0.5)
    upper = vertices[:, 1] > 0
    which = np.where(upper[:, None], [1, 0, 0, 0], [0, 1, 0, 0])
    weights = np.tile([1.0, 0.0, 0.0, 0.0], (8, 1))
    share = kind != "f"
    numbers = weights * (MOST[kind] if share else 1)
    file.mesh(
        vertices, faces, JOINTS_0=file.accessor(which, "B"),
        WEIGHTS_0=file.accessor(numbers, kind, **({"normalized": True} if share else {})),
    )  # fmt: skip
    skin: dict[str, Any] = {"joints": [1, 2]}
    if matrices is not None:
        skin["inverseBindMatrices"] = file.accessor(matrices)
    file.header.update(skins=[skin], scenes=[{"nodes": [0, 1]}])
    file.header["nodes"] = [{"mesh": 0, "skin": 0}, *joints]


@pytest.mark.parametrize("kind", ["f", "B", "H"])
def test_skins_at_rest(tmp_path: Path, kind: str) -> None:
    """The second joint hangs on the first: both turn, and it is moved by what is 2 up there."""
    file = Gltf()
    skinned(file, [{"rotation": QUARTER_TURN, "children": [2]}, {"translation": [0, 2, 0]}],
            kind=kind)  # fmt: skip
    file.header["nodes"][0].update(translation=[90, 0, 0], scale=[5, 5, 5])  # does not count
    mesh = load(file, tmp_path)
    np.testing.assert_allclose(sides(mesh), [5.0, 1.0, 0.5], atol=1e-6)
    assert mesh.vertices[:, 0].amin() == pytest.approx(-3.5)
    assert facts(mesh).volume == pytest.approx(2.5)


def test_inverse_bind_matrices(tmp_path: Path) -> None:
    """What joints are moved by is taken back: the box stays, but for the second one's stretch."""
    file = Gltf()
    back = np.tile(np.eye(4), (2, 1, 1))
    back[:, :3, 3] = [[-7.0, 0, 0], [0, -1.5, 0]]
    joints = [{"translation": [7, 0, 0], "children": [2]},
              {"translation": [-7, 1.5, 0], "scale": [3, 1, 1]}]  # fmt: skip
    skinned(file, joints, back.transpose(0, 2, 1).reshape(2, 16))
    np.testing.assert_allclose(sides(load(file, tmp_path)), [3.0, 3.0, 0.5], atol=1e-6)


def test_weights_of_eight_joints_make_one(tmp_path: Path) -> None:
    """Two sets of weights, of a sum of 2, share a vertex between two joints."""
    file = Gltf(skins=[{"joints": [1, 2]}], scenes=[{"nodes": [0, 1, 2]}])
    ones = file.accessor(np.tile([1.0, 0, 0, 0], (3, 1)))
    first, second = (file.accessor(np.tile([k, 0, 0, 0], (3, 1)), "B") for k in (0, 1))
    file.mesh(TRIANGLE, None, JOINTS_0=first, WEIGHTS_0=ones, JOINTS_1=second, WEIGHTS_1=ones)
    file.header["nodes"] = [{"mesh": 0, "skin": 0}, {}, {"translation": [4, 0, 0]}]
    assert load(file, tmp_path).vertices[:, 0].tolist() == [2.0, 3.0, 2.0]


def test_one_skin_of_several_meshes_and_meshes_without(tmp_path: Path) -> None:
    file = Gltf()
    skinned(file, [{"translation": [0, 0, 9]}, {"translation": [0, 0, 9]}])
    file.mesh(TRIANGLE)
    file.header["meshes"].append(file.header["meshes"][0])
    file.header["nodes"] += [{"mesh": 1, "translation": [0, 0, 1]}, {"mesh": 2, "skin": 0}]
    file.header["scenes"][0]["nodes"] = [0, 1, 2, 3, 4]
    mesh = load(file, tmp_path)
    assert len(mesh.faces) == 25
    assert mesh.vertices[:, 2].amin() == 1.0 and mesh.vertices[:, 2].amax() == 9.25


def test_a_mirrored_joint_keeps_the_outside(tmp_path: Path) -> None:
    file = Gltf()
    skinned(file, [{"scale": [-1, 1, 1], "children": [2]}, {}])
    assert facts(load(file, tmp_path)).volume == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("mesh", "node", "height"),
    [(None, None, 1.0), ([1.0], None, 3.0), ([1.0], [0.5], 2.0), (None, [1.0], 3.0),
     ([1.0], [0.0], 1.0)],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["f", "h"])
def test_morph_targets(
    tmp_path: Path, mesh: list[float] | None, node: list[float] | None, height: float, kind: str
) -> None:
    file = Gltf()
    vertices, faces = box(1.0, 1.0, 1.0)
    delta = np.where(vertices[:, 1:2] > 0, [0, 2, 0], [0, 0, 0])
    file.mesh(vertices, faces)["targets"] = [{"POSITION": file.accessor(delta, kind)}]
    if mesh is not None:
        file.header["meshes"][0]["weights"] = mesh
    if node is not None:
        file.header["nodes"][0]["weights"] = node
    assert sides(load(file, tmp_path)) == [1.0, height, 1.0]


def test_morph_targets_come_before_the_skin_and_move_colours_and_coordinates(
    tmp_path: Path,
) -> None:
    file = Gltf()
    skinned(file, [{"scale": [1, 2, 1], "children": [2]}, {}])
    primitive = file.header["meshes"][0]["primitives"][0]
    primitive["attributes"]["COLOR_0"] = file.accessor(np.tile([1.0, 0, 0], (8, 1)))
    primitive["targets"] = [
        {"POSITION": file.accessor(np.sign(box(1, 1, 1)[0]) * [0, 0.5, 0]),
         "COLOR_0": file.accessor(np.tile([-1.0, 1, 0], (8, 1)))}
    ]  # fmt: skip
    file.header["meshes"][0]["weights"] = [1.0]
    mesh = load(file, tmp_path)
    np.testing.assert_allclose(sides(mesh), [1.0, 8.0, 0.5], atol=1e-6)
    assert set(colors(mesh)) == {GREEN}


@pytest.mark.parametrize("kind", ["f", "b", "h"])
def test_instances(tmp_path: Path, kind: str) -> None:
    """Three boxes, the second one turned and the third stretched, in a node that is moved too."""
    file = Gltf(extensionsRequired=["EXT_mesh_gpu_instancing"])
    vertices, faces = box(1.0, 2.0, 1.0)
    file.mesh(vertices, faces)
    most = MOST.get(kind, 1)
    turns = np.array([[0, 0, 0, 1], QUARTER_TURN, [0, 0, 0, 1]]) * most
    attributes = {
        "TRANSLATION": file.accessor([[0, 0, 0], [5, 0, 0], [10, 0, 0]]),
        "ROTATION": file.accessor(turns if kind == "f" else np.round(turns), kind,
                                  **({} if kind == "f" else {"normalized": True})),
        "SCALE": file.accessor([[1, 1, 1], [1, 1, 1], [1, 3, 1]]),
    }  # fmt: skip
    placed = {"mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}
    file.header["nodes"] = [{"children": [1], "scale": [2, 2, 2]}, placed]
    mesh = load(file, tmp_path)
    assert len(mesh.faces) == 36
    x = mesh.vertices.reshape(3, 8, 3)
    lengths = (x.amax(1) - x.amin(1)).numpy()
    np.testing.assert_allclose(lengths, [[2, 4, 2], [4, 2, 2], [2, 12, 2]], atol=1e-4)
    np.testing.assert_allclose(x.mean(1).numpy(), [[0, 0, 0], [10, 0, 0], [20, 0, 0]], atol=1e-4)


def test_instances_are_counted_before_they_are_made(tmp_path: Path) -> None:
    file = Gltf()
    file.mesh(np.tile(TRIANGLE, (2000, 1)))
    many = {"TRANSLATION": file.accessor(np.zeros((2600, 3)))}
    file.header["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": many}}
    with pytest.raises(MeshError, match="at most 5000000 triangles, got more"):
        load(file, tmp_path)


@pytest.mark.parametrize(
    "hidden",
    [{"scale": [0, 0, 0]}, {"scale": [1e-9, 1e-9, 1e-9]}, {"scale": [0, 1, 0]},
     {"matrix": [0] * 15 + [1]}],
)  # fmt: skip
@pytest.mark.parametrize("far", [50.0, 1e9])
def test_parts_scaled_to_nothing_do_not_count(
    tmp_path: Path, hidden: dict[str, Any], far: float
) -> None:
    file = Gltf(scenes=[{"nodes": [0, 1]}])
    file.mesh(*box(1.0, 2.0, 0.5))
    part = {"mesh": 0, **hidden}
    if "matrix" in part:
        part["matrix"] = [0] * 12 + [far, 0, 0, 1]
    else:
        part["translation"] = [far, 0, 0]
    file.header["nodes"] = [{"mesh": 0}, part]
    mesh = load(file, tmp_path)
    assert sides(mesh) == [1.0, 2.0, 0.5] and len(mesh.faces) == 12
    file.header["nodes"] = file.header["nodes"][1:]
    file.header["scenes"] = [{"nodes": [0]}]
    if max(hidden.get("scale", [0])) < 1e-9:
        with pytest.raises(MeshError, match="without any area|an extent above 0"):
            load(file, tmp_path)


def test_small_parts_count(tmp_path: Path) -> None:
    file = Gltf(scenes=[{"nodes": [0, 1]}])
    file.mesh(*box(1.0, 1.0, 1.0))
    tiny = {"mesh": 0, "scale": [1e-4, 1e-4, 1e-4], "translation": [5, 0, 0]}
    file.header["nodes"] = [{"mesh": 0}, tiny]
    assert sides(load(file, tmp_path))[0] == pytest.approx(5.50005)


def test_only_the_scene_is_seen(tmp_path: Path) -> None:
    file = Gltf(scenes=[{"nodes": [1]}, {"nodes": [0]}], scene=1)
    file.mesh(TRIANGLE)
    unseen = {"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": False}}}
    file.header["nodes"] = [{"mesh": 0, "children": [2]}, {"mesh": 0}, unseen]
    assert len(load(file, tmp_path).faces) == 1
    del file.header["scenes"], file.header["scene"]
    assert len(load(file, tmp_path).faces) == 3


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("start", [b"", BOM])
def test_text_with_a_byte_order_mark_and_files_beside_it(tmp_path: Path, start: bytes) -> None:
    file = Gltf()
    file.mesh(TRIANGLE)
    (tmp_path / "my files").mkdir()
    (tmp_path / "my files" / "b in.bin").write_bytes(file.binary)
    file.header["buffers"] = [{"byteLength": len(file.binary), "uri": "my%20files/b%20in.bin"}]
    (tmp_path / "a.gltf").write_bytes(start + json.dumps(file.header).encode())
    mesh = load_mesh(tmp_path / "a.gltf")
    assert len(mesh.faces) == 1
    assert mesh.info.get("note", "") == ("the file begins with a byte order mark" if start else "")
    (tmp_path / "my files" / "b in.bin").unlink()
    with pytest.raises(MeshError, match="my%20files/b%20in.bin' beside it, and there is none"):
        load_mesh(tmp_path / "a.gltf")


KTX2 = b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(64)


@pytest.mark.parametrize("what", ["missing", "damaged", "KTX2", "no such texture"])
def test_only_what_colours_the_surface_has_to_be_there(
    tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(name: str) -> Gltf:
        file = textured(Gltf(), 0)
        primitive = file.header["meshes"][0]["primitives"][0]
        primitive["attributes"]["TEXCOORD_0"] = file.accessor(UV)
        file.header["images"].append({"uri": "gone.png"})
        file.header["textures"].append({"source": 1})
        if what in ("damaged", "KTX2"):
            content = KTX2 if what == "KTX2" else b"no image"
            file.header["images"][1] = {"bufferView": file.view(content)}
        if what == "KTX2":
            texture = {"extensions": {"KHR_texture_basisu": {"source": 1}}}
            file.header["textures"][1] = texture
            file.header["extensionsRequired"] = ["KHR_texture_basisu"]
        index = 7 if what == "no such texture" else 1
        material = file.header["materials"][0]
        for map_ in ("normalTexture", "occlusionTexture", "emissiveTexture"):
            material[map_] = {"index": index}
        material["pbrMetallicRoughness"]["metallicRoughnessTexture"] = {"index": index}
        if name == "base":
            material["pbrMetallicRoughness"]["baseColorTexture"]["index"] = index
        return file

    assert left_right(load(spoil("normal"), tmp_path)) == (RED, BLUE)
    if what == "no such texture":
        return
    with pytest.raises(MeshError, match="a texture that can be read, got that of 'paint'") as said:
        load(spoil("base"), tmp_path)
    assert "0x" not in str(said.value) and "\n" not in str(said.value)
    assert (what == "KTX2") == ("KTX2" in str(said.value))
    assert main(["mesh", "inspect", str(tmp_path / "a.glb")]) == 0
    text = capsys.readouterr().out
    assert "note: a texture is left out: expected a texture that can be read" in text
    mesh = load(spoil("base"), tmp_path, textures="readable")
    assert mesh.materials[0].texture is None
    assert "a texture is left out" in mesh.info["note"]


def test_a_texture_has_several_images_of_which_one_can_be_read(tmp_path: Path) -> None:
    file = textured(Gltf(), 0)
    primitive = file.header["meshes"][0]["primitives"][0]
    primitive["attributes"]["TEXCOORD_0"] = file.accessor(UV)
    file.header["images"].append({"bufferView": file.view(KTX2)})
    file.header["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": 1},
                                                "EXT_texture_webp": {"source": 1}}  # fmt: skip
    assert left_right(load(file, tmp_path)) == (RED, BLUE)


def test_compressed_geometry_without_another_is_refused(tmp_path: Path) -> None:
    file = Gltf()
    primitive = file.mesh(TRIANGLE)
    primitive["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0, "attributes": {}}}
    assert set(colors(load(file, tmp_path))) == {GREY}  # what it stands in for is there
    del file.header["accessors"][0]["bufferView"]
    with pytest.raises(MeshError, match="without KHR_draco_mesh_compression"):
        load(file, tmp_path)


def test_what_follows_the_file_is_no_part_of_it(tmp_path: Path) -> None:
    file = Gltf()
    file.mesh(TRIANGLE)
    path = file.write(tmp_path / "a.glb")
    path.write_bytes(path.read_bytes() + b"\xff" * 40)
    assert len(load_mesh(path).faces) == 1
