"""What the app remembers of one visitor, and forgets with the visitor.

Gradio keeps one `Session` per page or client and calls `close` on it some time after the page is
gone, or when nobody has used it for `SESSION_S`. Its folder is private, has a name that cannot be
guessed, and is the only place that requests write to; Gradio serves copies of what they return.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gradio.utils import get_cache_folder

Made = TypeVar("Made")

# In a reconstruction's folder; it ends when this is gone, be it with the folder.
WANTED = ".wanted"


@dataclass(eq=False)
class Session:
    """One visitor.

    Attributes:
        folder: of the visitor's files, once there are any.
        camera: of the latest view in full quality, so that no late preview takes its place.
    """

    folder: Path | None = None
    camera: tuple | None = None
    _latest: dict[str, tuple[Hashable, Any]] = field(default_factory=dict)

    def new_folder(self, name: str) -> Path:
        """Make an empty folder among the visitor's files; an earlier one of this name is gone."""
        if self.folder is None:
            cache = Path(get_cache_folder())
            cache.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=cache))
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def remember(self, what: str, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return `make()`, or what it made last time if the key is the same; one per `what`."""
        known = self._latest.get(what)
        if known is None or known[0] != key:
            known = (key, make())
            self._latest[what] = known
        return known[1]

    def halt(self) -> bool:
        """Have the visitor's reconstruction end after its step at hand; whether there is one.

        By a file, since on ZeroGPU it runs in another process.
        """
        if self.folder is None or not (self.folder / "mesh" / WANTED).exists():
            return False
        (self.folder / "mesh" / WANTED).unlink(missing_ok=True)
        return True

    def close(self) -> None:
        """Stop what runs and remove the files."""
        self.halt()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        self._latest.clear()
        self.folder = None
