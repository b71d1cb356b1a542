"""glTF files that name what is not there, or say it in an odd way: refused, or read as it is meant.

Python counts negative indices from the end, which would read such a file as another one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.meshes.files import Gltf, box
from zero123lib.meshes.load import MeshError, load_mesh


def two_boxes() -> Gltf:
    """Boxes of two sizes, a skin and a texture: the last of each list is another than the first."""
    file = Gltf()
    for side in (1.0, 3.0):
        file.mesh(*box(side, side, side))
    file.header["nodes"] = [{"mesh": 0}, {"mesh": 1}]
    file.header["materials"] = [{}, {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}}]
    return file


def primitive(file: Gltf) -> dict[str, Any]:
    return file.header["meshes"][0]["primitives"][0]


def change(*path: Any, value: Any) -> Callable[[Gltf], None]:
    """Put a value at a place of the header."""

    def put(file: Gltf) -> None:
        place: Any = file.header
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return put


FIRST = ("meshes", 0, "primitives", 0)
WRONG: dict[str, Callable[[Gltf], None]] = {
    "a mesh before the first": change("nodes", 0, "mesh", value=-1),
    "a mesh after the last": change("nodes", 0, "mesh", value=2),
    "a mesh by name": change("nodes", 0, "mesh", value="0"),
    "a mesh that is true": change("nodes", 0, "mesh", value=True),
    "a mesh and a half": change("nodes", 0, "mesh", value=0.5),
    "a scene before the first": change("scene", value=-1),
    "a node before the first": change("scenes", 0, "nodes", value=[-1]),
    "a child before the first": change("nodes", 0, "children", value=[-1]),
    "positions before the first": change(*FIRST, "attributes", "POSITION", value=-2),
    "indices before the first": change(*FIRST, "indices", value=-1),
    "a material before the first": change(*FIRST, "material", value=-1),
    "a view before the first": change("accessors", 0, "bufferView", value=-2),
    "a buffer before the first": change("bufferViews", 0, "buffer", value=-1),
    "values that overlap": change("bufferViews", 0, "byteStride", value=4),
    "indices three at a time": lambda file: file.header["accessors"][1].update(
        type="VEC3", count=12
    ),
    "indices with a fraction": lambda file: file.header["accessors"][1].update(
        componentType=5126
    ),
    "meshes that are no list": lambda file: file.header.update(
        meshes=dict(enumerate(file.header["meshes"]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_not_there_is_refused(kind: str, tmp_path: Path) -> None:
    file, path = two_boxes(), tmp_path / "a.glb"
    file.write(path)
    assert len(load_mesh(path).faces) == 12
    WRONG[kind](file)
    file.write(path)
    with pytest.raises(MeshError) as caught:
        load_mesh(path)
    assert "\n" not in str(caught.value)


def test_base64_with_what_is_none_is_refused(tmp_path: Path) -> None:
    """Passed over, it would shift all that follows."""
    triangle = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    text = base64.b64encode(triangle).decode()
    file, path = Gltf(), tmp_path / "a.gltf"
    file.mesh(np.eye(3))
    for body, good in ((text, True), (f"{text[:20]}\n{text[20:]}", True), (f"*{text}", False)):
        uri = f"data:application/octet-stream;base64,{body}"
        path.write_text(json.dumps({**file.header, "buffers": [{"uri": uri, "byteLength": 36}]}))
        if good:
            assert len(load_mesh(path).faces) == 1
        else:
            with pytest.raises(MeshError, match="base64"):
                load_mesh(path)


def test_whole_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    file, path = two_boxes(), tmp_path / "a.glb"
    for accessor in file.header["accessors"]:
        for key in ("bufferView", "componentType", "count"):
            accessor[key] = float(accessor[key])
    file.header["nodes"][0]["mesh"] = 0.0
    primitive(file).update(indices=1.0, mode=4.0)
    file.write(path)
    assert len(load_mesh(path).faces) == 12


def test_a_node_is_shown_once_however_often_the_scene_names_it(tmp_path: Path) -> None:
    file, path = two_boxes(), tmp_path / "a.glb"
    file.header["nodes"][0]["children"] = [1]
    file.header["scenes"][0]["nodes"] = [0, 1, 0]
    file.write(path)
    mesh = load_mesh(path, normalise=False)
    assert len(mesh.faces) == 24 and np.isclose(float(mesh.vertices.max()), 1.5)


def test_what_a_file_says_of_itself_is_no_command_of_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.gltf"
    required = ["EXT_\x1b[2J\r\nOK", "x" * 10_000]
    path.write_text(json.dumps({"asset": {"version": "2.0"}, "extensionsRequired": required}))
    with pytest.raises(MeshError) as caught:
        load_mesh(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000
