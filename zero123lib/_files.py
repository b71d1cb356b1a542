"""Files and folders that are there whole or not at all, whatever is killed, full or unplugged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from zero123lib._errors import ArgumentError

# What is being made has a name that begins so; a kill may leave it behind, and readers pass it by.
MAKING = ".making-"
_OLD = ".old-"


@contextmanager
def held_folder(out: Path) -> Iterator[None]:
    """Make a folder, and keep other runs out of it for as long as it lasts.

    Raises:
        ArgumentError: another run has it.
    """
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise ArgumentError("out", f"one run at a time in {str(out)!r}", "a second") from error


@contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Write a file under a temporary name; it gets its own once all of it is on the disk.

    A file that is there already is replaced at that moment and not before. Whatever goes wrong
    within, it stays, and the temporary one is removed.

    Yields:
        The temporary path, in the same folder and with the same suffix: writers go by the suffix.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = final.with_name(f"{MAKING}{uuid4().hex[:8]}-{final.name}")
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
    write_bytes(final, json_bytes(content))


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Encode content as a JSON file; NaN and infinity are refused with ValueError."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def check_folder(out: Path) -> None:
    """Raise ArgumentError where ``out`` neither is a folder to write into nor can become one."""
    if os.path.lexists(out) and not out.is_dir():
        raise ArgumentError("out", "a folder", f"{str(out)!r}, which is a file")
    _check_writable(out, "a folder that can be written")


def check_file(out: Path) -> None:
    """Raise ArgumentError where ``out`` neither is a file to replace nor can become one."""
    if out.is_dir():
        raise ArgumentError("out", "a file", f"{str(out)!r}, which is a folder")
    _check_writable(out.absolute().parent, "a file in a folder that can be written", out)


def _check_writable(folder: Path, expected: str, out: Path | None = None) -> None:
    """Check that the nearest folder that is there takes files."""
    folder = folder.absolute()
    existing = next(one for one in (folder, *folder.parents) if os.path.lexists(one))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ArgumentError("out", expected, repr(str(out or folder)))


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own once all of it is on the disk.

    Whatever goes wrong within, nothing of it stays.

    Yields:
        The temporary folder, beside the final one.

    Raises:
        OSError: it could not be written, or there is something of that name with content.
    """
    final = final.absolute()
    final.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=MAKING, dir=final.parent) as scratch:
        # The scratch folder is private to the user; one inside it gets the usual permissions.
        made = Path(scratch) / "made"
        made.mkdir()
        yield made
        _sync_tree(made)
        made.rename(final)
    sync_folder(final.parent)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write all files into a folder, each of them whole or not at all.

    A new folder appears complete. In one that is there already, files of the same names are
    replaced and others stay; the last file, which describes the others, is taken away first and
    comes last, so that an interruption or a power cut never leaves it beside files that it does
    not describe.

    Args:
        folder: where.
        files: content by name.

    Returns:
        The names of the other files that were there.

    Raises:
        OSError: a file could not be written.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        with new_folder(folder) as made:
            for name, content in files.items():
                (made / name).write_bytes(content)
        return []
    with TemporaryDirectory(prefix=MAKING, dir=folder) as scratch:
        made = Path(scratch)
        for name, content in files.items():
            (made / name).write_bytes(content)
            sync(made / name)
        *others, last = files
        (folder / last).unlink(missing_ok=True)
        sync_folder(folder)
        for name in others:
            (made / name).replace(folder / name)
        sync_folder(folder)
        (made / last).replace(folder / last)
        sync_folder(folder)
    return sorted(path.name for path in folder.iterdir() if path.name not in files)


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes the place of one that is there already.

    Whatever goes wrong within, that one stays, and the temporary one is removed.

    Yields:
        The temporary folder.
    """
    clear_unfinished(final.parent)
    making, old = (final.with_name(f"{mark}{final.name}") for mark in (MAKING, _OLD))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        making.mkdir()
        yield making
        _sync_tree(making)
        if final.exists():
            final.rename(old)
        making.rename(final)
        sync_folder(final.parent)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        clear_unfinished(final.parent)
        raise
    shutil.rmtree(old, ignore_errors=True)


def place_folder(made: Path, final: Path) -> None:
    """Give a folder its name once all of it is on the disk; what had the name goes.

    Args:
        made: filled, in a scratch folder of the same disk, where what had the name is left.
        final: its path to be.
    """
    _sync_tree(made)
    final.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(final):
        final.rename(made.with_name(f"{_OLD}{made.name}"))
    made.rename(final)
    sync_folder(final.parent)


def clear_unfinished(parent: Path) -> None:
    """Remove what a killed process left unfinished, and give back a folder that it had moved."""
    for path in parent.glob(f"{_OLD}*"):
        final = path.with_name(path.name.removeprefix(_OLD))
        if final.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(final)
    clear_scratch(parent)


def clear_scratch(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder that nobody else writes to."""
    for path in folder.glob(f"{MAKING}*"):
        with suppress(OSError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder: its name goes first, so that a kill leaves no broken one behind."""
    going = folder.with_name(f"{MAKING}{folder.name}")
    folder.rename(going)
    shutil.rmtree(going)


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


def _sync_tree(folder: Path) -> None:
    """Bring everything in a folder, and its names, to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync(path)
        else:
            sync_folder(path)
    sync_folder(folder)
