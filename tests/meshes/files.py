"""Small mesh files, written byte by byte, and what a loaded mesh looks like."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.shading import base_color, to_srgb

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
# The plain colour of meshes without any.
GREY = (203, 203, 203)

_TYPES = {"b": 5120, "B": 5121, "h": 5122, "H": 5123, "I": 5125, "f": 5126}
_WIDTHS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def png(*colors: tuple[int, ...], down: bool = False) -> bytes:
    """An image of one row, or one column, of squares of 8 x 8 pixels."""
    pixels = np.array([colors], np.uint8).repeat(8, 0).repeat(8, 1)
    pixels = pixels.swapaxes(0, 1) if down else pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def box(*sides: float) -> tuple[np.ndarray, np.ndarray]:
    """The corners ``[8, 3]`` of a box around the origin, and its twelve faces."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return corners * sides, np.array(faces)


class Gltf:
    """A .glb file that is put together: a header that can be changed, and a buffer that grows."""

    def __init__(self, **header: Any) -> None:
        self.header: dict[str, Any] = {
            "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}], "meshes": [], "accessors": [], "bufferViews": [], **header,
        }  # fmt: skip
        self.binary = b""

    def view(self, content: bytes, **more: Any) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        where = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(content)}
        self.header["bufferViews"].append({**where, **more})
        self.binary += content
        return len(self.header["bufferViews"]) - 1

    def accessor(self, values: Any, kind: str = "f", **more: Any) -> int:
        """Values of a type, by the letter that `struct` has for it; rows begin at 4 bytes."""
        array = np.atleast_2d(np.asarray(values, np.dtype(kind).newbyteorder("<")))
        if np.ndim(values) == 1:
            array = array.T
        count, width = array.shape
        size = array.itemsize * width
        stride = size if width in (1, 16) else -(-size // 4) * 4
        rows = np.zeros((count, stride), np.uint8)
        rows[:, :size] = np.ascontiguousarray(array).view(np.uint8).reshape(count, size)
        view = self.view(rows.tobytes(), **({"byteStride": stride} if stride != size else {}))
        made = {"bufferView": view, "componentType": _TYPES[kind], "count": count,
                "type": _WIDTHS[width], **more}  # fmt: skip
        self.header["accessors"].append(made)
        return len(self.header["accessors"]) - 1

    def image(self, content: bytes) -> int:
        """The number of a texture of an embedded image."""
        images, textures = (self.header.setdefault(name, []) for name in ("images", "textures"))
        images.append({"bufferView": self.view(content), "mimeType": "image/png"})
        textures.append({"source": len(images) - 1})
        return len(textures) - 1

    def mesh(
        self, vertices: Any, faces: Any = None, kind: str = "f", **attributes: int
    ) -> dict[str, Any]:
        """Add a mesh of one primitive, and return that."""
        primitive: dict[str, Any] = {
            "attributes": {"POSITION": self.accessor(vertices, kind), **attributes}
        }
        if faces is not None:
            primitive["indices"] = self.accessor(np.ravel(faces), "H")
        self.header["meshes"].append({"primitives": [primitive]})
        return primitive

    def paint(self, **base: Any) -> None:
        """Give all primitives a material."""
        self.header["materials"] = [{"name": "paint", "pbrMetallicRoughness": base}]
        for mesh in self.header["meshes"]:
            for primitive in mesh["primitives"]:
                primitive["material"] = 0

    def write(self, path: Path) -> Path:
        self.header["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.header).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
        path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)
        return path


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files, named with "__" for the dot, and return the first one's path."""
    paths = []
    for name, content in files.items():
        paths.append(folder / name.replace("__", "."))
        paths[-1].write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths[0]


def sides(mesh: Mesh) -> list[float]:
    """Lengths of the bounding box, in our axes."""
    return (mesh.vertices.amax(0) - mesh.vertices.amin(0)).tolist()


def colors(mesh: Mesh, *weights: float) -> list[tuple[int, ...]]:
    """The faces' sRGB colours of 255, in their middles or at weights of their corners."""
    where = torch.tensor(weights or (1 / 3, 1 / 3, 1 / 3)).expand(len(mesh.faces), 3)
    base = to_srgb(base_color(mesh, torch.arange(len(mesh.faces)), where))
    return [tuple(row) for row in (base[:, :3] * 255).round().int().tolist()]


def area(mesh: Mesh) -> float:
    a, b, c = mesh.triangles.double().unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2)
