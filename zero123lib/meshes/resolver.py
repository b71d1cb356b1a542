"""The files that a mesh file refers to: read from its own folder and from nowhere else.

Files from the wild name textures by addresses, by absolute paths of the machine that wrote them,
or by paths that lead out of their folder. Nothing is ever fetched. A path that leads out is taken
for its last part, a file beside the mesh, and refused where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

MAX_BYTES = 256 * 2**20
# Of an address; a drive of Windows has one letter.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class FileResolver:
    """Says where a mesh file lies, and what its reader has to say of it.

    Args:
        folder: the mesh file's own.

    Attributes:
        notes: what the mesh lacks or had to be read otherwise than written, in words.
        info: what the file says of itself.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.notes: list[str] = []
        self.info: dict[str, str] = {}

    def note(self, text: str) -> None:
        """Add to the notes, once."""
        if text not in self.notes:
            self.notes.append(text)

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return any(path.is_file() for path in self._candidates(name.strip()))

    def read(self, name: str) -> bytes:
        """Return the content of a file below the folder.

        Raises:
            ValueError: there is none, it is too large, or the name leads elsewhere.
        """
        name = name.strip()
        for path in self._candidates(name):
            if path.is_file():
                size = path.stat().st_size
                if size > MAX_BYTES:
                    raise ValueError(f"expected {name!r} of at most {MAX_BYTES} bytes, got {size}")
                return path.read_bytes()
        if _SCHEME.match(name):
            raise ValueError(f"expected a file beside it, got {name[:80]!r}, which is not fetched")
        raise ValueError(f"expected the file {name[:80]!r} beside it, and there is none")

    def _candidates(self, name: str) -> Iterator[Path]:
        if _SCHEME.match(name):
            return
        for text in dict.fromkeys((name, unquote(name))):
            text = text.replace("\\", "/")
            for part in (text, text.rsplit("/", 1)[-1]):
                try:
                    path = (self.folder / part).resolve()
                    if path.is_relative_to(self.folder):
                        yield from (path, *self._alike(path))
                except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a loop
                    continue

    def _alike(self, path: Path) -> Iterator[Path]:
        """Yield files of that name but for upper and lower case, where none has just that name.

        Some systems do not tell them apart.
        """
        if path.exists() or not path.parent.is_dir():
            return
        for other in sorted(path.parent.iterdir()):
            if other.name.casefold() == path.name.casefold():
                other = other.resolve()
                if other.is_relative_to(self.folder):
                    yield other
