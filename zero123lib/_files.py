"""Files and folders that are there whole or not at all, whatever is killed, full or unplugged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own once all of it is on the disk.

    A file that is there already is replaced at that moment and not before. Whatever goes wrong
    within, it stays, and the temporary one is removed.

    Yields:
        The temporary path, in the same folder and with the same suffix: writers go by the suffix.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = final.with_name(f".making-{uuid4().hex[:8]}-{final.name}")
    try:
        yield scratch
        sync(scratch)
        scratch.replace(final)
    finally:
        scratch.unlink(missing_ok=True)
    sync_folder(final.parent)


def write_bytes(final: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(final) as scratch:
        scratch.write_bytes(content)


def write_json(final: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all; NaN and infinity are refused with ValueError."""
    write_bytes(final, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def sync(file: Path) -> None:
    """Bring a file's content to the disk."""
    # Windows flushes only what is open for writing.
    handle = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows opens no folders and needs no help."""
    if os.name != "nt":
        sync(folder)
