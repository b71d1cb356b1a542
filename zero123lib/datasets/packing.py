"""A data set in the official layout as tar shards: `zero123 dataset pack`."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from zero123lib._errors import ArgumentError
from zero123lib._files import json_bytes, new_folder

from .batches import check_whole
from .drawing import ORDER, StoredObject, generator, view_files
from .folder import find_objects, open_object
from .tars import INDEX

SHARD_BYTES = 256_000_000


@dataclass
class PackProgress:
    """Says how far a packing is; the same object is given after every object of the data set.

    Attributes:
        done, total: objects.
        packed: of those done, the ones that are in a shard.
        shards: how many there are so far.
        skipped: name -> reason of views and objects that were left out.
    """

    total: int
    done: int = 0
    packed: int = 0
    shards: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


def pack(
    root: str | Path, out: str | Path, shard_bytes: int = SHARD_BYTES
) -> Generator[PackProgress]:
    """Write the objects of a folder as `OUT/000000.tar` and so on, with an index `shards.json`.

    The objects are dealt to the shards in an order drawn once and for all, so that what lies side
    by side in the folder does not in the shards. The same folder gives the same bytes. The files
    are copied, not judged: only views without a partner, and objects with fewer than two views,
    are left out. `out` appears whole or not at all.

    Args:
        root: a folder in the official layout.
        out: a new name.
        shard_bytes: a shard is closed before the object that would make it larger.

    Yields:
        After every object. Nothing is done before the first is asked for.

    Raises:
        ValueError: an argument is of no use, or there is no object to pack.
        OSError: a file could not be read or written.
    """
    check_whole("shard_bytes", shard_bytes, 1)
    root, out = Path(root), Path(out)
    if os.path.lexists(out):
        raise ArgumentError("out", "a new name", f"{str(out)!r}, which exists")
    objects = find_objects(root)
    progress = PackProgress(len(objects))
    with new_folder(out) as made:
        yield from _write_shards(root, objects, made, shard_bytes, progress)


def _write_shards(
    root: Path, objects: tuple[str, ...], folder: Path, shard_bytes: int, progress: PackProgress
) -> Generator[PackProgress]:
    counts: dict[str, int] = {}
    tar, size = None, 0
    try:
        for index in generator(0, ORDER, 0).permutation(len(objects)).tolist():
            name = objects[index]
            files = _complete_views(open_object(root, name), progress.skipped)
            needed = sum(_tar_bytes(len(content)) for content in files.values())
            if tar is not None and size + needed > shard_bytes:
                tar.close()
                tar = None
            if files and tar is None:
                shard = f"{len(counts):06d}.tar"
                tar, size, counts[shard] = _open(folder / shard), 0, 0
            if files and tar is not None:
                _add_object(tar, root.resolve().name if name == "." else name, files)
                size += needed
                counts[shard] += 1
                progress.packed += 1
            progress.done, progress.shards = progress.done + 1, len(counts)
            yield progress
    finally:
        if tar is not None:
            tar.close()
    if not counts:
        name, reason = next(iter(progress.skipped.items()))
        raise ArgumentError(
            "root", f"an object with two views in {str(root)!r}", f"none; {name}: {reason}"
        )
    (folder / INDEX).write_bytes(json_bytes({"shards": counts}))


def _complete_views(stored: StoredObject, skipped: dict[str, str]) -> dict[str, bytes]:
    """Return the files of an object's views that have both, by name; none of an object with one
    view."""
    views, lonely = view_files(stored.files)
    skipped.update({f"{stored.name}/{view}": reason for view, reason in lonely.items()})
    if len(views) < 2:
        skipped[stored.name] = f"expected at least 2 views, got {len(views)}"
        return {}
    names = [f"{view}.{kind}" for view in views for kind in ("png", "npy")]
    return {name: stored.read(name) for name in names}


def _tar_bytes(size: int) -> int:
    """Return what a file takes in a tar: a header, and its content in whole blocks."""
    return tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))


def _open(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, "w", format=tarfile.PAX_FORMAT)


def _add_object(tar: tarfile.TarFile, name: str, files: dict[str, bytes]) -> None:
    for file, content in files.items():
        # A fresh header has neither owner nor time, so that the bytes depend on the files alone.
        header = tarfile.TarInfo(f"{name}/{file}")
        header.size = len(content)
        tar.addfile(header, io.BytesIO(content))
