"""Mutations that keep what readers check first: JSON of a listing, glTF or header stays JSON."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

# Each in the place of any value, or as one more of a list or object.
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2, 5121, 5126, 2**31, 2**32, 2**63, -(2**63), 10**30, 0.5, 1e-300, 1e300,
    float("nan"), float("inf"), "", "a", "a\nb", "\x00", "../a", "x" * 3000, "VEC3", "F32", [], {},
    [0], [[1.0]], {"a": 0}, [None],
)  # fmt: skip
_GLB = struct.Struct("<4sIIII")  # glTF 2.0, section 4.4: the header, and that of the first chunk


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (list or object, index or key) within a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = []
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], (dict, list)):
            found += _places(value[key])
    return found


def _changed(content: Any, draw: random.Random) -> Any:
    places = _places(content) if isinstance(content, (dict, list)) else []
    if not places:
        return draw.choice(ODD)
    parent, key = draw.choice(places)
    match draw.randrange(5):
        case 0:
            del parent[key]
        case 1:
            other, place = draw.choice(places)
            parent[key] = json.loads(json.dumps(other[place])) if place in _keys(other) else None
        case 2 if isinstance(parent, list):
            parent.insert(key, parent[key])
        case 3 if isinstance(parent[key], (int, float)):
            parent[key] = parent[key] * draw.choice((-1, 2, 1000)) + draw.choice((0, 1, -1, 0.5))
        case _:
            parent[key] = draw.choice(ODD)
    return content


def _keys(value: Any) -> Any:
    return value.keys() if isinstance(value, dict) else range(len(value))


def mutated_json(text: bytes, seed: int) -> bytes | None:
    """Change one value of JSON; None where it is none."""
    try:
        content = json.loads(text)
        return json.dumps(_changed(content, random.Random(seed))).encode()
    except (ValueError, RecursionError, OverflowError):
        return None


def _after_byte(content: bytes, seed: int) -> bytes | None:
    """Of a mesh: the byte of its kind, then glTF's JSON or a GLB with it."""
    kind, body = content[:1], content[1:]
    if body[:4] != b"glTF" or len(body) < _GLB.size:
        text = mutated_json(body, seed)
        return text and kind + text
    magic, version, _, length, name = _GLB.unpack_from(body)
    text = mutated_json(body[_GLB.size : _GLB.size + length], seed)
    if text is None:
        return None
    text += b" " * (-len(text) % 4)
    rest = body[_GLB.size + length :]
    whole = _GLB.pack(magic, version, _GLB.size + len(text) + len(rest), len(text), name)
    return kind + whole + text + rest


def _after_length(content: bytes, seed: int) -> bytes | None:
    """Of safetensors: the header's length, the header, the data."""
    length = int.from_bytes(content[:8], "little")
    text = mutated_json(content[8 : 8 + length], seed)
    return text and len(text).to_bytes(8, "little") + text + content[8 + length :]


# Of the readers whose inputs have a form.
WAYS: dict[str, Callable[[bytes, int], bytes | None]] = {
    "mesh": _after_byte,
    "checkpoint": _after_length,
    "transforms": mutated_json,
}


def keeping_form(reader: str, content: bytes, most: int, seed: int) -> bytes:
    """Change one value of a reader's input; one bit, where its form is none or it grew too long.

    Args:
        reader: its name.
        content: of the input.
        most: the most bytes there may be.
        seed: of the change.
    """
    changed = WAYS[reader](content, seed)
    if changed and len(changed) <= most:
        return changed
    draw, bits = random.Random(seed), bytearray(content or b"\0")
    bits[draw.randrange(len(bits))] ^= 1 << draw.randrange(8)
    return bytes(bits)
