"""Which items a batch has: files or folders that words name, each with a name of its own.

An item's name is that of its outputs, and of nothing but where it lies or what its list calls it:
it is the same whatever else is in the batch, and so is its seed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib._words import plural
from zero123lib.batch.storage import SETTINGS, Store, filesystem, is_local, reaching

LISTS = (".txt", ".csv", ".parquet")
COLUMN, NAME = "input", "name"
_RESERVED = ("manifest.parquet", "manifest.parts", SETTINGS)


@dataclass(frozen=True)
class Kind:
    """What is an item of a batch.

    Attributes:
        called: for people, such as "image".
        suffixes: of the files that are items, in lower case.
        marker: in place of suffixes, an item is a folder that holds a file of this name.
    """

    called: str
    suffixes: tuple[str, ...] = ()
    marker: str | None = None


@dataclass(frozen=True)
class Item:
    """One file or folder to work on.

    Attributes:
        uri: where it is, a path or a URI of fsspec.
        name: of its folder of outputs, "/" between its parts.
    """

    uri: str
    name: str

    def seed(self, seed: int) -> int:
        """Return the item's own seed, in [0, 2^31), from a batch's and its name."""
        digest = hashlib.sha256(f"{seed} {self.name}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1


def find_items(words: Sequence[str], kind: Kind, out: str | None = None) -> list[Item]:
    """Find what words name: files, folders (all below them), globs, and lists of such.

    A list is a text file with a path or URI per line, or a CSV or Parquet file with a column
    ``input`` and, if it likes, a column ``name``. What it names relatively lies beside it.

    Args:
        words: paths or URIs of fsspec, such as s3://bucket/photos.
        kind: what is an item.
        out: where outputs go; those of an earlier run, below a folder of inputs, are no items.

    Returns:
        Every item once, in order of their names.

    Raises:
        ArgumentError: there is no such place, nothing in it, two items have one name or one that
            is a folder of another's, or an item lies where outputs go and would be replaced.
    """
    found: dict[str, Item] = {}
    many = plural(kind.called)
    for word in words:
        before = len(found)
        with reaching(word):
            named = list(_named_by(word, kind))
            if out is not None:
                named = _apart(named, word, out)
        for item in named:
            other = found.setdefault(item.name.casefold(), item)
            if other.uri != item.uri:
                expected = f"{many} of different names, such as a CSV's column {NAME!r} has"
                raise ArgumentError("inputs", expected, f"{other.uri!r} and {item.uri!r}")
            before = -1
        if before >= 0:
            what = f"{many} ({', '.join(kind.suffixes)})" if kind.suffixes else (
                f"folders that hold {kind.marker}"
            )  # fmt: skip
            raise ArgumentError("inputs", f"{what} in {word!r}", "none")
    for name, item in found.items():
        for folder in map(str, PurePosixPath(name).parents):
            if folder in found:
                expected = f"{many} whose names are no folders of others"
                got = f"{found[folder].name!r} and {item.name!r}"
                raise ArgumentError("inputs", expected, got)
    return sorted(found.values(), key=lambda item: item.name)


def _apart(items: Sequence[Item], word: str, out: str) -> list[Item]:
    """Leave out what an earlier run has written; refuse items that this one would write over."""
    there = _place(*filesystem(out, "out"))
    within = {
        item.uri for item in items if _place(*filesystem(item.uri, "inputs")).is_relative_to(there)
    }
    if not within:
        return list(items)
    fs, path = filesystem(word, "inputs")
    root = _place(fs, _fixed_part(path) if any(mark in path for mark in "*?[") else path)
    if root not in there.parents or Store(out).read(SETTINGS) is None:
        got = f"{out!r}, where {min(within)!r} lies"
        raise ArgumentError("out", "a folder without inputs", got)
    return [item for item in items if item.uri not in within]


def _place(fs: Any, path: str) -> PurePosixPath:
    """Return where a path leads to, to be compared."""
    return PurePosixPath(os.path.realpath(path) if is_local(fs) else fs.unstrip_protocol(path))


def _named_by(word: str, kind: Kind) -> Iterator[Item]:
    fs, path = filesystem(word, "inputs")
    fs.invalidate_cache()
    if fs.isdir(path):
        yield from _below(fs, path, kind)
    elif fs.exists(path):
        suffix = PurePosixPath(path).suffix.lower()
        if suffix in LISTS and suffix not in kind.suffixes:
            yield from _listed(fs, path, suffix)
        else:
            yield _item(fs, path, PurePosixPath(path).name)
    elif any(mark in path for mark in "*?["):
        root = _fixed_part(path)
        for match, about in sorted(fs.glob(path, detail=True).items()):
            inner = PurePosixPath(_relative(match, root))
            fits = inner.suffix.lower() in kind.suffixes and about["type"] == "file"
            if kind.marker is not None:
                fits = fs.exists(f"{match}/{kind.marker}")
            if fits and not _is_hidden(inner):
                yield _item(fs, match, str(inner))
    else:
        expected = f"a file, a folder, a glob or a list of {plural(kind.called)}"
        raise ArgumentError("inputs", expected, f"{word!r}, and there is none")


def _below(fs: Any, root: str, kind: Kind) -> Iterator[Item]:
    """Yield the items anywhere below a folder; hidden files and folders are passed over."""
    if kind.marker is not None and fs.exists(f"{root}/{kind.marker}"):
        yield _item(fs, root, PurePosixPath(root).name)
        return
    for path in fs.find(root):
        inner = PurePosixPath(_relative(path, root))
        if _is_hidden(inner):
            continue
        if kind.marker is None and inner.suffix.lower() in kind.suffixes:
            yield _item(fs, path, str(inner))
        elif kind.marker == inner.name:
            yield _item(fs, str(PurePosixPath(path).parent), str(inner.parent))


def _is_hidden(inner: PurePosixPath) -> bool:
    return any(part.startswith(".") for part in inner.parts)


def _listed(fs: Any, path: str, suffix: str) -> Iterator[Item]:
    """Yield the items of a list."""
    beside = PurePosixPath(path).parent
    for row in _rows(fs.cat_file(path), suffix, path):
        text = str(row[COLUMN] or "").strip()
        if not text:
            raise ArgumentError("inputs", f"a path or URI in every row of {path!r}", "none")
        own, place = filesystem(text, "inputs")
        if "://" not in text and not PurePosixPath(text).is_absolute():
            own, place = fs, str(beside / text)
        yield _item(own, place, str(row.get(NAME) or text))


def _rows(content: bytes, suffix: str, path: str) -> Iterable[Mapping[str, Any]]:
    if suffix == ".txt":
        lines = content.decode("utf-8-sig").splitlines()
        return [{COLUMN: line} for line in lines if line.strip()]
    if suffix == ".csv":
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
        columns, rows = list(reader.fieldnames or []), reader
    else:
        table = require("pyarrow.parquet", "cluster").read_table(io.BytesIO(content))
        columns = table.column_names
        rows = table.select([one for one in columns if one in (COLUMN, NAME)]).to_pylist()
    if COLUMN not in columns:
        got = ", ".join(columns) or "none"
        raise ArgumentError("inputs", f"a column {COLUMN!r} in {path!r}", got)
    return rows


def _item(fs: Any, path: str, name: str) -> Item:
    """Make an item; a name that is a whole URI or path is its part after the protocol."""
    clean = PurePosixPath(name.partition("://")[2] or name)
    parts = [part for part in clean.parts if part != "/"]
    if not parts or ".." in parts or parts[0].startswith(".") or parts[0] in _RESERVED:
        raise ArgumentError("inputs", "names of outputs, below their folder", repr(name))
    uri = path if is_local(fs) else fs.unstrip_protocol(path)
    return Item(uri, "/".join(parts))


def _fixed_part(pattern: str) -> str:
    """Return the folder that everything which a glob matches lies in."""
    parts = PurePosixPath(pattern).parts
    fixed = next(place for place, part in enumerate(parts) if any(one in part for one in "*?["))
    return str(PurePosixPath(*parts[:fixed]))


def _relative(path: str, root: str) -> str:
    return str(PurePosixPath(path).relative_to(root))
