"""glTF 2.0 files, read as the specification says, at rest.

With KHR_mesh_quantization, KHR_texture_transform, EXT_mesh_gpu_instancing, both material models,
sparse accessors, skins and morph targets. What would change the image and is not read is refused
by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from zero123lib.meshes.gltf_data import Document
from zero123lib.meshes.gltf_looks import Coating, read_material
from zero123lib.meshes.gltf_nodes import (
    Targets,
    check_nodes,
    instances,
    morph_weights,
    morphed,
    shown_nodes,
    skin_matrices,
    world_matrices,
)
from zero123lib.meshes.materials import PLAIN_LOOK, WHITE_LOOK
from zero123lib.meshes.piece import Piece, check_faces
from zero123lib.meshes.resolver import FileResolver
from zero123lib.meshes.shading import to_srgb
from zero123lib.meshes.topology import distinct

# Of the extensions that a file may say it cannot be read without, those that are read, those that
# change nothing about base colours, and those of images, which are refused one by one where a base
# colour needs them. All KHR_materials_ are of the first two kinds.
_KNOWN = {
    "KHR_lights_punctual", "EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds",
    "KHR_texture_basisu", "KHR_mesh_quantization", "KHR_texture_transform",
    "EXT_mesh_gpu_instancing", "KHR_node_visibility",
}  # fmt: skip
_DRACO = "KHR_draco_mesh_compression"
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def read_gltf(content: bytes, resolver: FileResolver, max_triangles: int) -> Iterator[Piece]:
    """Read the primitives of a file where its scene puts them.

    Args:
        content: the file's bytes.
        resolver: where the files lie that it refers to; it is told what the file says of itself.
        max_triangles: more are refused before they are made.

    Raises:
        ValueError: the file is damaged, too large, or needs what is not read here.
    """
    document = Document(content, resolver)
    _check(document, max_triangles)
    asset = document.header.get("asset", {})
    for key in ("copyright", "generator"):
        if asset.get(key):
            resolver.info[key] = str(asset[key])[:1000]
    worlds, primitives = world_matrices(document), _Primitives(document, resolver)
    for index in shown_nodes(document):
        node = document.item("nodes", index)
        for piece, attributes in primitives.of(node) if "mesh" in node else ():
            if "skin" in node and "JOINTS_0" in attributes:
                yield piece.placed(skin_matrices(document, node["skin"], attributes, worlds))
            else:
                for matrix in instances(document, node, worlds[index]):
                    yield piece.placed(matrix)


def _check(document: Document, max_triangles: int) -> None:
    """Refuse what would be read as something else, and what would not fit in memory."""
    version = str(document.header.get("asset", {}).get("version", "2.0"))
    if not version.startswith("2."):
        raise ValueError(f"expected glTF version 2, got {version}")
    required = set(document.header.get("extensionsRequired", [])) - _KNOWN
    unknown = sorted(one for one in required if not one.startswith("KHR_materials_"))
    if unknown:
        raise ValueError(f"expected glTF without {', '.join(unknown)}, which is not read here")
    check_nodes(document)
    triangles = 0
    for mesh in document.items("meshes"):
        for primitive in mesh["primitives"]:
            mode = primitive.get("mode", _TRIANGLES)
            if mode in (_TRIANGLES, _STRIP, _FAN):
                corners = primitive.get("indices", primitive["attributes"].get("POSITION"))
                count = 0 if corners is None else document.item("accessors", corners)["count"]
                triangles += count // 3 if mode == _TRIANGLES else count
    if triangles > max_triangles:
        raise ValueError(f"expected at most {max_triangles} triangles, got more")


class _Primitives:
    """The primitives of a file in their nodes' own axes; those of several nodes are made once."""

    def __init__(self, document: Document, resolver: FileResolver) -> None:
        self._document, self._nearby = document, resolver
        self._coatings: dict[int, Coating] = {}
        self._made: dict[tuple[Any, ...], Piece | None] = {}

    def of(self, node: Mapping[str, Any]) -> Iterator[tuple[Piece, Mapping[str, int]]]:
        """Yield the primitives of a node's mesh that have faces, with their attributes."""
        mesh = self._document.item("meshes", node["mesh"])
        for number, primitive in enumerate(mesh["primitives"]):
            key = (node["mesh"], number, *node.get("weights", ()))
            if key not in self._made:
                self._made[key] = self._piece(primitive, morph_weights(node, mesh, primitive))
            piece = self._made[key]
            if piece is not None:
                yield piece, primitive["attributes"]

    def _piece(self, primitive: Mapping[str, Any], targets: Targets) -> Piece | None:
        document, attributes = self._document, primitive["attributes"]
        if primitive.get("mode", _TRIANGLES) not in (_TRIANGLES, _STRIP, _FAN):
            return None
        if "POSITION" not in attributes:
            return None
        accessor = document.item("accessors", attributes["POSITION"])
        if _DRACO in primitive.get("extensions", {}) and "bufferView" not in accessor:
            raise ValueError(f"expected glTF without {_DRACO}, which is not read here")

        def values(name: str, share: bool = False) -> np.ndarray:
            found = document.accessor(attributes[name], share).astype(np.float64)
            return morphed(document, found, name, targets)

        vertices = values("POSITION")
        faces = _faces(document, primitive, len(vertices))
        if not len(faces):
            return None
        coating = self._coating(primitive.get("material"))
        look, uv, name = coating.look, None, f"TEXCOORD_{coating.coordinates}"
        if name in attributes:
            uv = values(name) @ coating.matrix[:, :2].T + coating.matrix[:, 2]
            uv = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)[faces]
        elif look.image is not None:
            self._nearby.note("some faces have no texture coordinates for their texture")
            look = coating.bare
        colors = _srgb(values("COLOR_0", share=True)) if "COLOR_0" in attributes else None
        if colors is not None and look is PLAIN_LOOK:
            look = WHITE_LOOK
        normals = values("NORMAL")[faces] if "NORMAL" in attributes else None
        return Piece(vertices, faces, (look,), uv=uv, colors=colors, normals=normals)

    def _coating(self, material: int | None) -> Coating:
        if material is None:
            return Coating(PLAIN_LOOK, PLAIN_LOOK)
        if material not in self._coatings:
            self._coatings[material] = read_material(self._document, material)
        return self._coatings[material]


def _faces(document: Document, primitive: Mapping[str, Any], vertices: int) -> np.ndarray:
    """Return triangles ``[F, 3]`` of a list, a strip or a fan."""
    mode = primitive.get("mode", _TRIANGLES)
    corners = np.arange(vertices)
    if "indices" in primitive:
        numbers = document.whole_numbers(primitive["indices"])
        if numbers.shape[1] != 1:
            raise ValueError(f"expected indices one by one, got {numbers.shape[1]} at a time")
        corners = check_faces(numbers[:, 0], vertices)
    if mode == _TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        first = np.full(max(len(corners) - 2, 0), corners[0] if len(corners) else 0)
        return np.stack([corners[1:-1], corners[2:], first], axis=1)
    faces = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
    faces[1::2] = faces[1::2][:, [1, 0, 2]]  # every second one is wound the other way
    return faces[distinct(faces)]  # strips go on elsewhere over faces without area


def _srgb(colors: np.ndarray) -> np.ndarray:
    """Return sRGB with alpha ``[V, 4]`` of linear colours ``[V, 3|4]``."""
    if not np.isfinite(colors).all():
        raise ValueError("expected finite colours, got NaN or infinity")
    alpha = colors[:, 3:4] if colors.shape[1] > 3 else np.ones((len(colors), 1))
    linear = np.concatenate([colors[:, :3], alpha], axis=1).clip(0.0, 1.0)
    return to_srgb(torch.from_numpy(linear)).numpy()
