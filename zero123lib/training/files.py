"""Folders that appear whole or not at all, on one process of several."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

_MAKING, _OLD = ".making-", ".old-"

Result = TypeVar("Result")


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its own once all of it is on the disk.

    A folder that is there already is replaced. Whatever goes wrong, it stays, and the temporary
    one is removed.

    Yields:
        The temporary folder.
    """
    clear(final.parent)
    making, old = (final.with_name(f"{mark}{final.name}") for mark in (_MAKING, _OLD))
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        making.mkdir()
        yield making
        for path in sorted(making.rglob("*"), reverse=True):
            sync(path)
        sync(making)
        if final.exists():
            final.rename(old)
        making.rename(final)
        sync(final.parent)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        clear(final.parent)
        raise
    shutil.rmtree(old, ignore_errors=True)


def clear(parent: Path) -> None:
    """Remove what a killed process left unfinished, and give back a folder that it had moved."""
    for path in parent.glob(f"{_OLD}*"):
        final = path.with_name(path.name.removeprefix(_OLD))
        if final.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(final)
    for path in parent.glob(f"{_MAKING}*"):
        shutil.rmtree(path, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove a folder: its name goes first, so that a kill leaves no broken one behind."""
    going = folder.with_name(f"{_MAKING}{folder.name}")
    folder.rename(going)
    shutil.rmtree(going)


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Do something on the first process while the others wait, and tell all what came of it.

    Raises:
        OSError, ValueError: on every process, what the action raised on the first.
    """
    outcome: list = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = action()
        except (OSError, ValueError) as error:
            if accelerator.num_processes == 1:
                raise
            kind = OSError if isinstance(error, OSError) else ValueError
            outcome[1] = kind(str(error))
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
