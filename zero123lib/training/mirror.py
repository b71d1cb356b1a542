"""A run's copy in object storage, or wherever else fsspec writes: another machine goes on from it.

    MIRROR/checkpoints/step-00001000.tar    a checkpoint's folder
    MIRROR/model.tar, MIRROR/lora.tar       the results

A tar is one object, which storage shows whole or not at all.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib._files import whole_folder
from zero123lib._optional import require
from zero123lib.training.checkpoints import whole_checkpoints

RESULTS = ("model", "lora")
_CHECKPOINTS = "checkpoints"

_logger = logging.getLogger(__name__)


class Mirror:
    """The copy of one run.

    Args:
        uri: as fsspec takes it, such as s3://bucket/run; one run at a time has it.

    Raises:
        ArgumentError: fsspec does not know the protocol, or lacks a package for it.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        # Folders that are not there yet as they are here, by their names in the run.
        self._waiting: list[str] = []
        try:
            self._fs, self._root = require("fsspec.core", "cluster").url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise ArgumentError(
                "saving.mirror", "a place of fsspec's", f"{uri!r}: {error}"
            ) from error

    def checkpoints(self) -> list[str]:
        """Return the names of the checkpoints that are there, the newest first.

        Raises:
            OSError: the storage cannot be reached.
        """
        with self._reached():
            self._fs.invalidate_cache()
            found: Any = self._fs.glob(f"{self._root}/{_CHECKPOINTS}/*.tar")
        return sorted((f"{_CHECKPOINTS}/{PurePosixPath(one).stem}" for one in found), reverse=True)

    def fetch(self, run: Path) -> None:
        """Bring a run's folder what is newer there, or note what is newer here.

        Raises:
            OSError: the storage cannot be reached, or the folder not be written.
        """
        here, there = _checkpoints(run), self.checkpoints()
        newest = here[0] if here else ""
        newer = [name for name in there if name > newest]
        for name in reversed(newer):
            self._take(run, name)
        if newer:
            for name in RESULTS:
                self._take(run, name)
        elif missing := [name for name in reversed(here) if name not in there]:
            self._waiting = [*RESULTS, *missing]

    def keep(self, run: Path, names: list[str], last: bool) -> None:
        """Send folders of a run, and remove the checkpoints that the run no longer has.

        A storage that cannot be reached is told of, and the same is sent again beside the next.

        Args:
            names: of the folders; those that are not there are passed over.
            last: there is no next.

        Raises:
            OSError: the storage cannot be reached, and it was the last time.
        """
        self._waiting = [one for one in self._waiting if one not in names] + names
        try:
            while self._waiting:
                self._send(run, self._waiting[0])
                self._waiting.pop(0)
            kept = _checkpoints(run)
            for name in self.checkpoints():
                if name not in kept:
                    with self._reached():
                        self._fs.rm_file(self._place(name))
        except OSError as error:
            if last:
                raise
            _logger.warning(f"{error}; what was to go there goes with the next checkpoint")

    def _place(self, name: str) -> str:
        return f"{self._root}/{name}.tar"

    def _send(self, run: Path, name: str) -> None:
        if not (run / name).is_dir():
            return
        place = self._place(name)
        with self._reached():
            self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
            # Outside a transaction fsspec would keep what an error cut short.
            with (
                self._fs.transaction,
                self._fs.open(place, "wb") as file,
                tarfile.open(fileobj=file, mode="w|") as tar,
            ):
                tar.add(run / name, arcname=".")

    def _take(self, run: Path, name: str) -> None:
        with self._reached():
            if not self._fs.exists(self._place(name)):
                return
            with (
                self._fs.open(self._place(name), "rb") as file,
                tarfile.open(fileobj=file, mode="r|") as tar,
                whole_folder(run / name) as making,
            ):
                tar.extractall(making, filter="data")

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Storage's own errors are of many types."""
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"saving.mirror: cannot use {self.uri!r}: {reason}") from error


def _checkpoints(run: Path) -> list[str]:
    saved = whole_checkpoints(run, verify=False)
    return [f"{_CHECKPOINTS}/{one.folder.name}" for one in saved]
