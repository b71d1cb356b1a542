"""What the app remembers of one visitor, and forgets with the visitor.

Gradio keeps one `Session` per page or client and calls `close` on it some time after the page is
gone, or when nobody has used it for `SESSION_S`. Its folder is private, has a name that cannot be
guessed, and is the only place that requests write to; Gradio serves copies of what they return.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from gradio.utils import get_cache_folder

from zero123lib.app.settings import MAX_REMEMBERED

Made = TypeVar("Made")

# In a reconstruction's folder; it ends when this is gone, be it with the folder.
WANTED = ".wanted"


class Shelf:
    """What sessions remember, in the order of its last use; the oldest beyond `most` is forgotten.

    An entry takes up to 28 MB, and there may be hundreds of visitors.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[tuple[int, str], Session] = OrderedDict()
        self._lock = Lock()

    def put(self, session: Session, what: str) -> None:
        """Note a use."""
        with self._lock:
            self._kept[id(session), what] = session
            self._kept.move_to_end((id(session), what))
            while len(self._kept) > self._most:
                (_, oldest), other = self._kept.popitem(last=False)
                other.forget(oldest)

    def take(self, session: Session, what: str) -> None:
        """Note that something is gone."""
        with self._lock:
            self._kept.pop((id(session), what), None)


_SHELF = Shelf(MAX_REMEMBERED)


@dataclass(eq=False)
class Session:
    """One visitor.

    Attributes:
        folder: of the visitor's files, once there are any.
        camera: of the latest view in full quality, so that no late preview takes its place.
        model: that the visitor loaded last.
        mesh: of what the latest mesh was made, and its Gaussians.
    """

    folder: Path | None = None
    camera: tuple | None = None
    model: str | None = None
    mesh: tuple[tuple, Path] | None = None
    _latest: dict[str, tuple[Hashable, Any]] = field(default_factory=dict)
    _runs: set[Path] = field(default_factory=set)

    def new_folder(self, name: str) -> Path:
        """Make an empty folder among the visitor's files; an earlier one of this name is gone."""
        folder = self._own_folder() / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    @contextmanager
    def run(self) -> Iterator[Path]:
        """Make a reconstruction's folder, with `WANTED` in it.

        Runs of one visitor may wait side by side, each in a folder of its own. What an earlier one
        made goes once another one has made something.
        """
        folder = Path(tempfile.mkdtemp(prefix="mesh-", dir=self._own_folder()))
        self._runs.add(folder)
        (folder / WANTED).touch()
        try:
            yield folder
        finally:
            (folder / WANTED).unlink(missing_ok=True)
            self._runs.discard(folder)
            if self.folder is None:  # the visitor is gone, and so was the folder
                shutil.rmtree(folder.parent, ignore_errors=True)
            elif not any(folder.iterdir()):
                folder.rmdir()
            else:
                for one in self.folder.glob("mesh-*"):
                    if one != folder and one not in self._runs:
                        shutil.rmtree(one, ignore_errors=True)

    def gaussians(self, of: tuple) -> bytes | None:
        """Read the Gaussians of the latest mesh, if it was made of that."""
        if self.mesh is None or self.mesh[0] != of:
            return None
        try:
            return self.mesh[1].read_bytes()
        except FileNotFoundError:
            return None  # a later run has begun to take its place

    def _own_folder(self) -> Path:
        if self.folder is None:
            cache = Path(get_cache_folder())
            cache.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=cache))
        return self.folder

    def remember(self, what: str, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return `make()`, or what it made last time if the key is the same; one per `what`.

        It may be made again: of all visitors' together, only the latest are kept.
        """
        known = self._latest.get(what)
        if known is None or known[0] != key:
            known = (key, make())
            self._latest[what] = known
        _SHELF.put(self, what)
        return known[1]

    def forget(self, what: str) -> None:
        """Let go of what was remembered."""
        self._latest.pop(what, None)

    def halt(self) -> bool:
        """Have the visitor's reconstructions end after their step at hand; whether there are any.

        By a file, since on ZeroGPU they run in another process.
        """
        wanted = [] if self.folder is None else list(self.folder.glob(f"mesh-*/{WANTED}"))
        for file in wanted:
            file.unlink(missing_ok=True)
        return bool(wanted)

    def close(self) -> None:
        """Stop what runs and remove the files."""
        self.halt()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
        for what in list(self._latest):
            _SHELF.take(self, what)
            self.forget(what)
        self.folder = None
