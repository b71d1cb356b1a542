"""The numbers and images of a glTF file: its JSON, buffers and accessors (glTF 2.0, chapter 3.6).

Integers that stand for shares become floats, also those that KHR_mesh_quantization allows, and
sparse accessors are filled in.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from zero123lib.meshes.resolver import FileResolver

MAX_JSON_BYTES = 64 * 2**20
# Of accessors that lie in no buffer: all 0 but for what their sparse part says.
_MAX_EMPTY = 2**24

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_BOM = b"\xef\xbb\xbf"


class Document:
    """A .glb or .gltf file.

    Args:
        content: the file's bytes.
        resolver: where the files lie that it refers to; it is told what is odd about the file.

    Raises:
        ValueError: it is not glTF 2.0, or it is damaged.
    """

    def __init__(self, content: bytes, resolver: FileResolver) -> None:
        self._nearby = resolver
        text, self._binary = _chunks(content)
        if text.startswith(_BOM):
            resolver.note("the file begins with a byte order mark")
        self.header = _parsed(text.removeprefix(_BOM))
        self._buffers: dict[int, bytes] = {}

    def items(self, name: str) -> list[dict[str, Any]]:
        """Return a list of the header's top level, empty where there is none."""
        found = self.header.get(name, [])
        if not isinstance(found, list):
            raise ValueError(f"expected a list of {name}, got a JSON {type(found).__name__}")
        return found

    def item(self, name: str, index: Any) -> dict[str, Any]:
        """Return one of a list by its number, as the file says it.

        Raises:
            ValueError: there is none of that number.
        """
        found = self.items(name)
        return found[checked_index(index, len(found), name)]

    def accessor(self, index: int, share: bool = False) -> np.ndarray:
        """Return the values of an accessor ``[N, D]``: float64, or whole numbers as they are.

        Args:
            index: number of the accessor.
            share: whole numbers fill their type's range, whether the accessor says so or not.
        """
        accessor = self.item("accessors", index)
        kind = np.dtype(_TYPES[accessor["componentType"]])
        width, count = _WIDTHS[accessor["type"]], accessor["count"]
        if "bufferView" in accessor:
            values = self._values(accessor, kind, count, width)
        elif count > _MAX_EMPTY:
            raise ValueError(f"expected at most {_MAX_EMPTY} values outside buffers, got {count}")
        else:
            values = np.zeros((count, width), kind)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            at, what = sparse["indices"], sparse["values"]
            places = self._values(at, np.dtype(_TYPES[at["componentType"]]), sparse["count"], 1)
            values = values.copy()
            values[_counts(places)[:, 0]] = self._values(what, kind, sparse["count"], width)
        if kind.kind == "f":
            return values.astype(np.float64)
        if share or accessor.get("normalized", False):
            return np.maximum(values / np.iinfo(kind).max, -1.0)
        return values

    def whole_numbers(self, index: int) -> np.ndarray:
        """Return the values of an accessor that numbers something, int64 ``[N, D]``."""
        return _counts(self.accessor(index))

    def image(self, index: int) -> tuple[bytes | memoryview, str]:
        """Return the bytes of an image, and what to call it."""
        image = self.item("images", index)
        uri = image.get("uri")
        if uri is not None:
            return self._resource(uri), f"image {index}" if _is_data(uri) else repr(uri[:80])
        view = self.item("bufferViews", image["bufferView"])
        return self._slice(view, 0, view["byteLength"]), f"image {index}"

    def _values(
        self, where: Mapping[str, Any], kind: np.dtype, count: int, width: int
    ) -> np.ndarray:
        """Return values ``[count, width]`` at a place in a buffer view."""
        view = self.item("bufferViews", where["bufferView"])
        stride = view.get("byteStride") or kind.itemsize * width
        if stride < kind.itemsize * width:
            raise ValueError(f"expected values {kind.itemsize * width} bytes apart, got {stride}")
        need = stride * (count - 1) + kind.itemsize * width if count else 0
        content = self._slice(view, where.get("byteOffset", 0), need)
        return np.ndarray((count, width), kind, content, 0, (stride, kind.itemsize))

    def _slice(self, view: Mapping[str, Any], start: int, length: int) -> memoryview:
        """Return bytes of a buffer view, from `start` within it."""
        content = self._buffer(view["buffer"])
        first = view.get("byteOffset", 0) + start
        whole = view.get("byteOffset", 0) + view["byteLength"]
        if not 0 <= first <= first + length <= min(whole, len(content)):
            raise ValueError(
                f"expected {length} bytes of buffer {view['buffer']} from {first}, got a view that "
                f"ends at {whole} of {len(content)}: damaged"
            )
        return memoryview(content)[first : first + length]

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            buffer = self.item("buffers", index)
            if "uri" in buffer:
                self._buffers[index] = self._resource(buffer["uri"])
            elif index == 0 and self._binary is not None:
                self._buffers[index] = self._binary
            else:
                raise ValueError(f"expected the content of buffer {index}, got none")
        return self._buffers[index]

    def _resource(self, uri: str) -> bytes:
        if not _is_data(uri):
            return self._nearby.read(uri)
        head, _, body = uri.partition(",")
        if not head.endswith(";base64"):
            return unquote_to_bytes(body)
        # Not those that are passed over otherwise: all that follows one would be shifted.
        return base64.b64decode("".join(body.split()), validate=True)


def checked_index(index: Any, count: int, name: str) -> int:
    """Return the number of one of so many, or raise ValueError: Python would count from the end."""
    if type(index) is not int or not 0 <= index < count:
        got = repr(index)[:80]
        raise ValueError(f"expected the number of one of {count} {name}, got {got}: damaged")
    return index


def _is_data(uri: str) -> bool:
    return uri.startswith("data:")


def _chunks(content: bytes) -> tuple[bytes, bytes | None]:
    """Return the JSON of a file, and the binary chunk of a .glb that has one."""
    if content[:4] != b"glTF":
        return content, None
    if len(content) < 20 or content[16:20] != b"JSON":
        raise ValueError("expected a GLB file, got one cut off or without its JSON chunk")
    version, whole, length = struct.unpack("<3I", content[4:16])
    if version != 2:
        raise ValueError(f"expected glTF version 2, got {version}")
    # What follows the file within the file is no chunk.
    text, rest = content[20 : 20 + length], content[20 + length : max(whole, 20 + length)]
    if len(text) < length:
        raise ValueError("expected a whole GLB file, got one cut off in its JSON chunk")
    while len(rest) >= 8:
        length, kind = struct.unpack("<I4s", rest[:8])
        chunk, rest = rest[8 : 8 + length], rest[8 + length :]
        if len(chunk) < length:
            raise ValueError("expected a whole GLB file, got one cut off in a chunk")
        if kind == b"BIN\0":
            return text, chunk
    return text, None


def _counts(values: np.ndarray) -> np.ndarray:
    """Return values as int64, or raise ValueError unless they are whole and at least 0."""
    if values.dtype.kind == "f" or (values.size and values.min() < 0):
        raise ValueError("expected whole numbers of at least 0, got others: damaged")
    return values.astype(np.int64)


def _number(text: str) -> float | int:
    """Return a number; whole ones may be written with a point (JSON Schema, "integer")."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _parsed(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"expected at most {MAX_JSON_BYTES} bytes of JSON, got more")
    try:
        header = json.loads(text, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected glTF, got damaged JSON: {str(error)[:120]}") from error
    if not isinstance(header, dict):
        raise ValueError(f"expected glTF, got a JSON {type(header).__name__}")
    return header
