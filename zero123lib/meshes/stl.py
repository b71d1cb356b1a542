"""STL files, binary and text. Their normals are not read: the corners' order says the same."""

from __future__ import annotations

import re

import numpy as np

from zero123lib.meshes.parsing import numbers
from zero123lib.meshes.piece import Piece
from zero123lib.meshes.resolver import FileResolver

_HEAD = 84
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_CORNER = re.compile(rb"\bvertex\s+(\S+\s+\S+\s+\S+)", re.IGNORECASE)


def read_stl(content: bytes, resolver: FileResolver) -> list[Piece]:
    """Read the triangles of a file; each has vertices of its own, as in the file.

    What follows the last triangle of a binary file is passed over, and `resolver` is told.

    Raises:
        ValueError: the file is damaged, or shorter than it says.
    """
    corners = _from_text(content) if _is_text(content) else _from_binary(content, resolver)
    vertices = corners.reshape(-1, 3).astype(np.float64)
    return [Piece(vertices, np.arange(len(vertices)).reshape(-1, 3))]


def _is_text(content: bytes) -> bool:
    """Tell whether a file is text: binary ones may begin with the word "solid", too."""
    start = content[:1000].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not start.startswith(b"solid"):
        return False
    if len(content) >= _HEAD and len(content) == _HEAD + _promised(content) * _FACET.itemsize:
        return False
    return b"\0" not in start and (b"facet" in start or b"endsolid" in content[-1000:].lower())


def _promised(content: bytes) -> int:
    return int.from_bytes(content[_HEAD - 4 : _HEAD], "little")


def _from_binary(content: bytes, resolver: FileResolver) -> np.ndarray:
    """Return corners ``[F, 3, 3]``."""
    if len(content) < _HEAD:
        raise ValueError(f"expected an STL file of at least {_HEAD} bytes, got {len(content)}")
    count, there = _promised(content), (len(content) - _HEAD) // _FACET.itemsize
    if there < count:
        raise ValueError(f"expected {count} triangles, as its header says, got {there}")
    rest = len(content) - _HEAD - count * _FACET.itemsize
    if rest:
        resolver.note(f"{rest} bytes follow the last of its {count} triangles")
    return np.frombuffer(content, _FACET, count, _HEAD)["corners"]


def _from_text(content: bytes) -> np.ndarray:
    """Return corners ``[F, 3, 3]``."""
    corners = numbers(b" ".join(_CORNER.findall(content)))
    if len(corners) % 9:
        raise ValueError(f"expected three corners per triangle, got {len(corners) / 3:g} in all")
    return corners.reshape(-1, 3, 3)
