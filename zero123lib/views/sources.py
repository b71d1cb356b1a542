"""The images that the words of a command line name: files, folders of them, standard input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import ImageError
from .loading import FILE_KINDS, SUFFIXES, read_bytes

# The second one for parsers of words that take a hyphen for an option.
STANDARD_INPUT = ("-", "/dev/stdin")


@dataclass(frozen=True)
class NamedImage:
    """One image and what to call it.

    Attributes:
        source: what `load_image` takes: the path of a file, or a file's bytes.
        label: for people: the path as it was given, or "standard input".
        stem: for files made of it: the path's own, or "stdin".
    """

    source: Path | bytes
    label: str
    stem: str


def named_images(words: Iterable[str | Path], stdin: IO[bytes] | None = None) -> list[NamedImage]:
    """Name the images of words as people write them; of the files themselves nothing is read yet.

    `-`, or `/dev/stdin`, is standard input, read here, once. A folder stands for the image files in
    it by their suffixes, in order of their names, hidden ones and those of folders within left out.
    All other words are paths, and `load_image` tells what is wrong with them.

    Args:
        words: at least one.
        stdin: the binary stream that `-` means; None is the process's own.

    Raises:
        ImageError: standard input is named twice, or empty; a folder has no image, or cannot be
            read.
    """
    found: list[NamedImage] = []
    for word in words:
        if str(word) in STANDARD_INPUT:
            if any(isinstance(image.source, bytes) for image in found):
                raise ImageError("image", "- for standard input once", "it twice")
            found.append(_from_stdin(stdin or sys.stdin.buffer))
        elif os.path.isdir(word):
            found.extend(_of_file(path) for path in _images_in(Path(word)))
        else:
            found.append(_of_file(Path(word), str(word)))
    return found


def _from_stdin(stream: IO[bytes]) -> NamedImage:
    content = read_bytes(stream)
    if not content:
        raise ImageError("image", f"an image file ({FILE_KINDS}) on standard input", "nothing")
    return NamedImage(content, "standard input", "stdin")


def _of_file(path: Path, label: str | None = None) -> NamedImage:
    return NamedImage(path, label or str(path), path.stem)


def _images_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        got = f"{str(folder)!r}: {error.strerror}"
        raise ImageError("image", "a folder that can be read", got) from error
    images = [
        path
        for path in entries
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not images:
        expected = f"a folder with images in it ({FILE_KINDS})"
        raise ImageError("image", expected, f"{str(folder)!r}, which has none")
    return images
