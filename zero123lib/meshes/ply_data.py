"""The numbers of PLY files (Turk 1994), in text and in binary of either byte order.

Text and binary are read the same way: places and sizes are counted in numbers there, in bytes here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from zero123lib.meshes.parsing import numbers, plain

_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class _Property:
    """A number of each row, or a list of numbers, whose length has a type of its own."""

    name: str
    kind: np.dtype
    length: np.dtype | None = None


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Rows:
    """Holds what the file has of an element.

    Attributes:
        single: values of the properties that are one number per row ``[N]``.
        lists: of the others, the lengths ``[N]`` and all values in a row ``[sum of the lengths]``.
    """

    single: dict[str, np.ndarray]
    lists: dict[str, tuple[np.ndarray, np.ndarray]]

    def table(self, names: Sequence[str]) -> np.ndarray | None:
        """Return properties side by side ``[N, D]``, or None where one is missing."""
        if not all(name in self.single for name in names):
            return None
        return np.stack([self.single[name] for name in names], axis=1)


def read_elements(content: bytes) -> tuple[dict[str, Rows], list[str]]:
    """Read all elements of a file by name, and the names of its textures, which are in comments.

    Raises:
        ValueError: the file is damaged, or shorter than its header says.
    """
    elements, textures, order, body = _header(plain(content))
    text = not order
    data = numbers(body.rstrip(b"\0\x1a")) if text else np.frombuffer(body, np.uint8)
    start, found = 0, {}
    for element in elements:
        if element.properties:
            rows, start = _read(data, start, element, text)
            found.setdefault(element.name, rows)
    return found, textures


def _header(content: bytes) -> tuple[list[_Element], list[str], str, bytes]:
    """Return the elements, the textures' names, numpy's sign of the byte order, and the rest."""
    first = re.match(rb"ply[ \t]*(\r\n|\r|\n)", content)
    end = re.search(rb"[\r\n][ \t]*end_header[ \t]*(\r\n|\r|\n|$)", content)
    if first is None or end is None:
        raise ValueError("expected a PLY file, got one without a whole header")
    # Where lines end at \r alone, a \n after the last one is data.
    body = content[end.end() - (end[1] == b"\r\n" and first[1] == b"\r") :]
    elements: list[_Element] = []
    textures: list[str] = []
    order = None
    for line in content[: end.start()].decode("utf-8", "surrogateescape").splitlines():
        words = line.split()
        if words[:1] == ["format"] and len(words) > 1:
            order = _ORDERS.get(words[1])
        elif words[:1] in (["comment"], ["obj_info"]):
            named = re.search(r"texture_?file\s+(.+)", line, re.IGNORECASE)
            if named:
                textures.append(named[1].strip().strip('"'))
        elif words[:1] == ["element"] and len(words) > 2:
            elements.append(_Element(words[1], int(words[2])))
        elif words[:1] == ["property"] and len(words) > 2 and elements:
            elements[-1].properties.append(_property(words, order or ""))
    if order is None:
        raise ValueError(f"expected a PLY file in {', '.join(_ORDERS)}, got another")
    return elements, textures, order, body


def _property(words: list[str], order: str) -> _Property:
    """Read ``property TYPE NAME``, or ``property list TYPE TYPE NAME``."""
    try:
        if words[1] != "list":
            return _Property(words[2], np.dtype(order + _TYPES[words[1]]))
        length, kind = (np.dtype(order + _TYPES[word]) for word in words[2:4])
        return _Property(words[4], kind, length)
    except LookupError as error:
        raise ValueError(f"expected a property of a known type, got {' '.join(words)!r}") from error


def _read(data: np.ndarray, start: int, element: _Element, text: bool) -> tuple[Rows, int]:
    """Return an element's rows from a place in the data, and where they end.

    Places and sizes are numbers in text, and bytes else.
    """

    def size(kind: np.dtype) -> int:
        return 1 if text else kind.itemsize

    least = sum(size(one.length or one.kind) for one in element.properties)
    if element.count * least > len(data) - start:
        raise _short(element)
    listed = [one for one in element.properties if one.length is not None]
    counts = np.zeros((element.count, len(listed)), np.int64)
    if listed and element.count:
        starts, counts, end = _row_starts(data, start, element, text)
    else:
        starts = start + least * np.arange(element.count)
        end = start + least * element.count
    single, lists = {}, {}
    at, number = starts.copy(), 0
    for one in element.properties:
        if one.length is None:
            single[one.name] = _take(data, at, one.kind, text)
            at += size(one.kind)
            continue
        lengths = counts[:, number]
        first = np.repeat(at + size(one.length) - (np.cumsum(lengths) - lengths) * size(one.kind),
                          lengths)  # fmt: skip
        places = first + np.arange(len(first)) * size(one.kind)
        lists[one.name] = lengths, _take(data, places, one.kind, text)
        at += size(one.length) + lengths * size(one.kind)
        number += 1
    return Rows(single, lists), end


def _row_starts(
    data: np.ndarray, start: int, element: _Element, text: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return where each row begins ``[N]``, how long its lists are ``[N, L]``, and where the last
    ends.

    Rows of equal lists, triangles alone say, are found at once, others one by one.
    """
    count = element.count
    shape = [
        (1 if text else one.kind.itemsize, one.length, 1 if text or one.length is None else
         one.length.itemsize)
        for one in element.properties
    ]  # fmt: skip

    def row(at: int) -> tuple[int, list[int]]:
        lengths = []
        for size, length, width in shape:
            if length is None:
                at += size
                continue
            if at + width > len(data):
                raise _short(element)
            value = data[at] if text else data[at : at + width].view(length)[0]
            if not 0 <= value <= len(data):
                raise ValueError(f"expected a list's length, got {value:g}: damaged")
            lengths.append(int(value))
            at += width + int(value) * size
        return at, lengths

    end, lengths = row(start)
    width = end - start
    if start + width * count <= len(data):
        starts = start + width * np.arange(count)
        at, alike = starts.copy(), True
        listed = iter(lengths)
        for size, length, before in shape:
            if length is None:
                at += size
                continue
            expected = next(listed)
            alike = alike and bool((_take(data, at, length, text) == expected).all())
            at += before + expected * size
        if alike:
            return starts, np.tile(lengths, (count, 1)), start + width * count
    starts, counts = np.empty(count, np.int64), np.empty((count, len(lengths)), np.int64)
    at = start
    for index in range(count):
        starts[index] = at
        at, counts[index] = row(at)
    if at > len(data):
        raise _short(element)
    return starts, counts, at


def _take(data: np.ndarray, at: np.ndarray, kind: np.dtype, text: bool) -> np.ndarray:
    """Return values ``[N]`` that begin at places in the data."""
    if text:
        values = data[at]  # all of it is float64
        if kind.kind == "f":
            return values
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
        wrong = ~((values >= least) & (values <= most))
        if wrong.any():
            raise ValueError(f"expected numbers from {least} to {most}, got {values[wrong][0]:g}")
        return values.astype(kind)
    raw = np.empty((len(at), kind.itemsize), np.uint8)
    for byte in range(kind.itemsize):
        raw[:, byte] = data[at + byte]
    return raw.view(kind)[:, 0].astype(kind.newbyteorder("="))


def _short(element: _Element) -> ValueError:
    name = {"face": "faces", "vertex": "vertices"}.get(element.name, f"rows of {element.name}")
    return ValueError(
        f"expected {element.count} {name}, as its header says, got a file that ends before"
    )
