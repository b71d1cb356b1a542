"""What the header of a glTF file promises, checked before anything is read by it.

trimesh reads glTF well and skips in silence what it does not know. What would change the picture
is refused here by name instead.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MAX_HEADER_BYTES = 64 * 2**20

# Of the extensions that a file may say it cannot be read without, those that trimesh reads and
# those that change nothing about base colours.
_KNOWN = {
    "KHR_materials_pbrSpecularGlossiness", "KHR_materials_unlit", "KHR_materials_specular",
    "KHR_materials_ior", "KHR_materials_clearcoat", "KHR_materials_sheen",
    "KHR_materials_emissive_strength", "KHR_materials_iridescence", "KHR_materials_anisotropy",
    "KHR_lights_punctual", "EXT_texture_webp",
}  # fmt: skip
_MAX_DEPTH = 200
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def read_header(path: Path) -> dict[str, Any]:
    """The JSON of a .gltf file, or of the first chunk of a .glb file.

    Raises:
        ValueError: it is not one, or it is damaged.
    """
    with path.open("rb") as file:
        head = file.read(20)
        if head[:4] != b"glTF":
            text = head + file.read(MAX_HEADER_BYTES)
        elif len(head) < 20 or head[16:20] != b"JSON":
            raise ValueError("expected a GLB file, got one cut off or without its JSON chunk")
        else:
            version, _, length = struct.unpack("<3I", head[4:16])
            if version != 2:
                raise ValueError(f"expected glTF version 2, got {version}")
            text = file.read(min(length, MAX_HEADER_BYTES + 1))
            if len(text) < min(length, MAX_HEADER_BYTES + 1):
                raise ValueError("expected a whole GLB file, got one cut off in its JSON chunk")
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"expected at most {MAX_HEADER_BYTES} bytes of JSON, got more")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected glTF, got damaged JSON: {str(error)[:120]}") from error
    if not isinstance(header, dict):
        raise ValueError(f"expected glTF, got a JSON {type(header).__name__}")
    return header


def check_header(header: Mapping[str, Any], max_triangles: int) -> None:
    """Refuse what trimesh would read as something else, and what would not fit in memory.

    Raises:
        ValueError: it says what.
    """
    unknown = sorted(set(header.get("extensionsRequired", [])) - _KNOWN)
    if unknown:
        raise ValueError(f"expected glTF without {', '.join(unknown)}, which is not read here")
    _check_nodes(header)
    accessors = header.get("accessors", [])
    triangles = 0
    for primitive in _primitives(header):
        mode, attributes = primitive.get("mode", _TRIANGLES), primitive["attributes"]
        if mode == _FAN:
            raise ValueError("expected triangles or strips, got a triangle fan")
        if mode not in (_TRIANGLES, _STRIP):
            continue
        used = [attributes[name] for name in attributes if not name.startswith("_")]
        used += [primitive["indices"]] if "indices" in primitive else []
        if any("sparse" in accessors[index] for index in used):
            raise ValueError("expected glTF without sparse accessors, got one in a mesh")
        count = accessors[primitive.get("indices", attributes["POSITION"])]["count"]
        triangles += count // 3 if mode == _TRIANGLES else count
        if triangles > max_triangles:
            raise ValueError(f"expected at most {max_triangles} triangles, got more")
    for material in _used_materials(header):
        _check_texture(header, material)


def has_texture(header: Mapping[str, Any], name: str | None) -> bool:
    """Whether all used materials of that name have a texture of their base colour."""
    named = [m for m in _used_materials(header) if m.get("name") == name]
    return bool(named) and all(_texture(material) for material in named)


def _primitives(header: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for mesh in header.get("meshes", []):
        yield from mesh["primitives"]


def _used_materials(header: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    used = {p["material"] for p in _primitives(header) if "material" in p}
    return [header["materials"][index] for index in sorted(used)]


def _texture(material: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The base colour's texture reference, of either of the two material models."""
    older = material.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness", {})
    rough = material.get("pbrMetallicRoughness", {})
    return older.get("diffuseTexture") or rough.get("baseColorTexture")


def _check_texture(header: Mapping[str, Any], material: Mapping[str, Any]) -> None:
    reference = _texture(material)
    if reference is None:
        return
    name = material.get("name", "a material")
    if reference.get("texCoord", 0) != 0:
        raise ValueError(
            f"expected textures on the first set of coordinates, got {name!r} on another"
        )
    transform = reference.get("extensions", {}).get("KHR_texture_transform", {})
    moved = (
        transform.get("offset", [0, 0]) != [0, 0]
        or transform.get("scale", [1, 1]) != [1, 1]
        or transform.get("rotation", 0) != 0
        or transform.get("texCoord", 0) != 0
    )
    if moved:
        raise ValueError(f"expected glTF without KHR_texture_transform, got it on {name!r}")


def _check_nodes(header: Mapping[str, Any]) -> None:
    """Refuse graphs that are not trees: one that runs in a circle has no end."""
    nodes = header.get("nodes", [])
    parents = [0] * len(nodes)
    for node in nodes:
        for child in node.get("children", []):
            parents[child] += 1
    if any(count > 1 for count in parents):
        raise ValueError("expected a tree of nodes, got one with two parents")
    level = [index for index, count in enumerate(parents) if not count]
    reached = 0
    for _ in range(_MAX_DEPTH):
        reached += len(level)
        level = [child for index in level for child in nodes[index].get("children", [])]
    if reached != len(nodes):
        raise ValueError(f"expected a tree of nodes at most {_MAX_DEPTH} deep, got another graph")
