"""Tar shards: where they are, what an index says of them, and the objects in one.

A shard is a tar of the official folder layout: `<object>/000.png`, `<object>/000.npy` and so on,
the files of one object one after the other. `tar` makes such files, and so does `packing.py`,
which also writes `shards.json` beside them: how many objects each one holds.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from zero123lib._errors import ArgumentError
from zero123lib._files import MAKING
from zero123lib._optional import require

from .drawing import StoredObject, view_files

INDEX = "shards.json"

# No image or camera is larger; a damaged header may claim anything.
MAX_FILE_BYTES = 256_000_000

# One letter before the colon is a drive of Windows.
_URL = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)


def is_shards(path: str | Path) -> bool:
    """Tell whether a data set's name means shards: a tar, a pattern, a URL, or a folder of tars."""
    if isinstance(path, Path) or not _is_pattern(path):
        return Path(path).is_file() or any(Path(path).glob("*.tar"))
    return True


def find_shards(path: str | Path) -> tuple[str, ...]:
    """Return paths and URLs of the shards.

    Args:
        path: a folder with `*.tar`, one tar, or text as webdataset takes it: paths and URLs (http,
            https, pipe: and others, and what fsspec opens, as s3:) with braces such as
            `{000..127}`, joined by "::".

    Raises:
        ValueError: none, or braces that do not match.
        MissingExtraError: text of that kind, and webdataset is not installed.
    """
    if isinstance(path, Path) or not _is_pattern(path):
        if Path(path).is_file():
            return (str(Path(path).resolve()),)
        folder = str(Path(path).resolve())
        # A shard that the index knows and that is gone has its place, or all others would move.
        names = {file.name for file in Path(path).glob("*.tar")} | _index(folder).keys()
        if not names:
            raise ArgumentError("path", "a folder with .tar files", repr(str(path)))
        return tuple(f"{folder}/{name}" for name in sorted(names))
    shardlists = require("webdataset.shardlists", "train")
    try:
        return tuple(shardlists.expand_urls(path))
    except (ValueError, AssertionError) as error:
        raise ArgumentError("path", "shards", f"{path!r}: {error}") from error


def read_counts(urls: tuple[str, ...]) -> dict[str, int]:
    """Return the objects per shard that an index beside them counts; none without an index.

    Raises:
        ValueError: an index that cannot be used.
    """
    split = {url: url.rpartition("/") for url in urls if _has_siblings(url)}
    indices = {parent: _index(parent) for parent in {parent for parent, _, _ in split.values()}}
    return {
        url: indices[parent][name]
        for url, (parent, _, name) in split.items()
        if name in indices[parent]
    }


def _index(parent: str) -> dict[str, int]:
    """Return objects per shard by its name, as the index in a folder says; empty where there is
    none."""
    try:
        with closing(_open(f"{parent}/{INDEX}")) as file:
            content = file.read()
    except OSError:
        return {}
    try:
        counts = {str(name): int(count) for name, count in json.loads(content)["shards"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(
            "path", f"an index of shards in {parent}/{INDEX}", repr(error)
        ) from error
    for name, count in counts.items():
        if "/" in name or count < 0:
            raise ArgumentError(
                "path", f"names and numbers of objects in {parent}/{INDEX}", f"{name!r}: {count}"
            )
    return counts


def read_shard(url: str, report: Callable[[str, str], None]) -> Generator[StoredObject]:
    """Yield the objects of one shard, in its order.

    Of a local `.tar` only the headers are read, and files when they are asked for; anything else
    is a stream, whose files come along.

    Args:
        report: called with name and reason for what cannot be read. A shard that breaks off is
            reported by its own name; the objects before the break still come, the last one
            perhaps with fewer views.
    """
    files = _members(url, report)
    with closing(files):
        for folder, group in groupby(files, key=lambda file: file[0]):
            contents = {name: read for _, name, read in group}
            if any(view_files(contents)):
                yield StoredObject(
                    f"{url}:{folder}", contents, lambda name, contents=contents: contents[name]()
                )


def _members(
    url: str, report: Callable[[str, str], None]
) -> Generator[tuple[str, str, Callable[[], bytes]]]:
    """Folder, name and reader of each file in a shard, up to its end or to where it breaks."""
    seekable = not _is_url(url) and url.endswith(".tar")
    try:
        stream = _open(url)
    except (OSError, ValueError) as error:
        report(url, f"expected a readable shard, got {error}")
        return
    try:
        mode: Any = "r:" if seekable else "r|*"
        with tarfile.open(fileobj=stream, mode=mode, tarinfo=_Header, errors="replace") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if not member.isreg() or not any(view_files([path.name])):
                    continue
                if any(part.startswith(MAKING) for part in path.parts):
                    continue
                if member.size > MAX_FILE_BYTES:
                    report(
                        f"{url}:{path}",
                        f"expected at most {MAX_FILE_BYTES} bytes, got {member.size}",
                    )
                    continue
                if seekable:
                    read = _later(url, member.offset_data, member.size)
                else:
                    file = tar.extractfile(member)
                    read = _now(file.read() if file else b"")
                    cast(
                        Any, tar
                    ).members = []  # or a long stream would fill the memory with its headers
                yield str(path.parent), path.name, read
        # A process that is left before its end dies of it, and would be called broken.
        while not seekable and stream.read(1 << 20):
            pass
        stream.close()
    except GeneratorExit:
        raise
    except Exception as error:  # tarfile and decompressors meet damage with errors of many types
        reason = " ".join(str(error).split()) or type(error).__name__
        report(url, f"expected a whole tar, got one that breaks off: {reason}")
    finally:
        with suppress(OSError):
            stream.close()


class _Header(tarfile.TarInfo):
    """A member's header; one that cannot be read is an error, where tarfile would end the tar."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            # Two blocks of zeros end a tar, and only they do.
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError(str(error)) from error


def _now(content: bytes) -> Callable[[], bytes]:
    """Return a function that returns what is there already."""
    return lambda: content


def _later(path: str, offset: int, size: int) -> Callable[[], bytes]:
    """Return a function that reads a part of a file."""

    def read() -> bytes:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)

    return read


def _open(url: str) -> IO[bytes]:
    if not _is_url(url):
        return open(url, "rb")
    webdataset = require("webdataset.gopen", "train")
    if url.partition(":")[0].lower() in webdataset.gopen_schemes:
        return webdataset.gopen(url, "rb")
    try:
        return require("fsspec", "cluster").open(url, "rb").open()
    except (ImportError, ValueError) as error:
        raise ArgumentError("path", "an address that can be opened", f"{url!r}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # storage's own errors are of many types
        raise OSError(f"cannot open {url!r}: {' '.join(str(error).split())}") from error


def _is_url(text: str) -> bool:
    return _URL.match(text) is not None


def _is_pattern(text: str) -> bool:
    """Tell whether it is for webdataset to expand: nothing on disk has this name."""
    return not Path(text).exists() and (_is_url(text) or "{" in text or "::" in text)


def _has_siblings(url: str) -> bool:
    """Tell whether other files lie beside a shard: not so for commands and signed addresses."""
    return not url.startswith("pipe:") and "?" not in url and "/" in url
