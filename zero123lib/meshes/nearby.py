"""The files that a mesh file refers to: read from its own folder and from nowhere else.

Files from the wild name textures by addresses, by absolute paths of the machine that wrote them,
or by paths that lead out of their folder. Nothing is ever fetched. A path that leads out is taken
for its last part, a file beside the mesh, and refused where there is none.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from PIL import Image

MAX_BYTES = 256 * 2**20

_NOT_PICTURES = {".mtl", ".bin", ".glbin"}


class Nearby:
    """What trimesh calls a resolver. It swallows complaints, so they are kept in `problems`.

    Args:
        folder: where the mesh file lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.problems: list[str] = []

    def get(self, name: str) -> bytes:
        """The content of a file below the folder.

        Raises:
            FileNotFoundError: there is none, it is too large, or the name leads elsewhere.
        """
        name = name.strip()
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", name):
            self._refuse(f"expected a file beside it, got {name[:80]!r}, which is not fetched")
        for path in self._candidates(name):
            if path.is_file():
                return self._read(path, name)
        self._refuse(f"expected the file {name[:80]!r} beside it, and there is none")

    __getitem__ = get

    def _candidates(self, name: str) -> Iterator[Path]:
        for text in dict.fromkeys((name, unquote(name))):
            text = text.replace("\\", "/")
            for part in (text, text.rsplit("/", 1)[-1]):
                try:
                    path = (self.folder / part).resolve()
                    inside = path.is_relative_to(self.folder)
                except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a loop
                    continue
                if inside:
                    yield path

    def _read(self, path: Path, name: str) -> bytes:
        size = path.stat().st_size
        if size > MAX_BYTES:
            self._refuse(f"expected {name!r} of at most {MAX_BYTES} bytes, got {size}")
        content = path.read_bytes()
        if path.suffix.lower() not in _NOT_PICTURES:
            try:
                Image.open(io.BytesIO(content)).close()
            except Exception as error:
                # Decoders meet damaged files with errors of any type.
                reason = " ".join(str(error).split()) or type(error).__name__
                self._refuse(f"expected a picture, got {name!r}, damaged: {reason[:200]}")
        return content

    def _refuse(self, problem: str) -> NoReturn:
        self.problems.append(problem)
        raise FileNotFoundError(problem)
