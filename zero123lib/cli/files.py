"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

GIF_FRAME_MS = 80


def check_folder(out: Path) -> None:
    """Raise ValueError where `out` neither is a folder to write into nor can become one."""
    if out.is_dir():
        existing = out
    elif os.path.lexists(out):
        raise ValueError(f"--out: expected a folder, got {str(out)!r}, which is a file")
    else:
        existing = next(parent for parent in out.absolute().parents if os.path.lexists(parent))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"--out: expected a folder that can be written, got {str(out)!r}")


def write_folder(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write all files into a folder, each of them whole or not at all.

    They are made in a temporary folder, brought to the disk and renamed: a new folder appears
    complete. In one that is there already, files of the same names are replaced and others stay;
    the last file, which describes the others, is taken away first and comes last, so that an
    interruption or a power cut never leaves it beside files that it does not describe.

    Returns:
        The names of the other files that were there.
    """
    folder = folder.resolve()
    exists = folder.is_dir()
    if not exists:
        folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".making-", dir=folder if exists else folder.parent) as scratch:
        # The scratch folder is private to the user; one inside it gets the usual permissions.
        made = Path(scratch) / "made"
        made.mkdir()
        for name, content in files.items():
            with (made / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if exists:
            *others, last = files
            (folder / last).unlink(missing_ok=True)
            _sync_folder(folder)
            for name in others:
                (made / name).replace(folder / name)
            _sync_folder(folder)
            (made / last).replace(folder / last)
            _sync_folder(folder)
        else:
            _sync_folder(made)
            made.rename(folder)
            _sync_folder(folder.parent)
    return sorted(path.name for path in folder.iterdir() if path.name not in files)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows opens no folders and needs no help."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(images: Sequence[Image.Image]) -> bytes:
    """The pictures as an endless GIF animation."""
    buffer = io.BytesIO()
    first, *others = images
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=GIF_FRAME_MS, loop=0)
    return buffer.getvalue()


def json_text(content: Mapping[str, Any]) -> bytes:
    """The content as a JSON file; NaN and infinity are refused."""
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()
