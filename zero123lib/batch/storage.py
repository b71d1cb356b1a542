"""Where outputs go: a disk, or an object store that fsspec knows (s3://, gs://, ...).

A file is there whole or not at all: on a disk it gets its name once it is written, and an object
store shows an object once all of it has come. A folder on a disk gets its name likewise; on an
object store it counts once its last file is there, which describes the others.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib._files import MAKING, check_folder, place_folder, write_bytes
from zero123lib._optional import require

# The settings of a batch, in its store.
SETTINGS = "batch.json"
_SCRATCH = ".scratch"
# Files that lie beside one that names them, as an OBJ's materials do; a folder that has more of
# them is taken for a collection.
_MOST_BESIDE = 256
_NOT_ALONE = (".obj", ".gltf")


def filesystem(uri: str, argument: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URI or path, and the path in it.

    Raises:
        ArgumentError: fsspec does not know the protocol, or misses what it needs for it.
    """
    fsspec = require("fsspec", "cluster")
    try:
        return fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError(argument, "a path or a URI of fsspec", f"{uri!r}: {reason}") from error


def is_local(fs: Any) -> bool:
    """Tell whether a file system is this machine's."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Make whatever a store's client raises, such as missing credentials, an error of files that
    says where."""
    try:
        yield
    except ArgumentError:
        raise
    except OSError as error:
        if error.filename is not None or uri in str(error):
            raise
        raise OSError(f"{uri}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise OSError(f"{uri}: {type(error).__name__}: {reason}") from error


@contextmanager
def fetched(uri: str, scratch: Path) -> Iterator[Path]:
    """Bring a file or folder to this machine, for as long as it lasts, if it is not there.

    Raises:
        FileNotFoundError: there is none.
    """
    fs, path = filesystem(uri, "inputs")
    if is_local(fs):
        yield Path(path)
        return
    with TemporaryDirectory(dir=scratch) as folder:
        here = Path(folder) / PurePosixPath(path).name
        if PurePosixPath(path).suffix.lower() in _NOT_ALONE:
            fs.invalidate_cache()
            beside = fs.find(str(PurePosixPath(path).parent))
            if len(beside) > _MOST_BESIDE:
                expected = f"at most {_MOST_BESIDE} files beside one that may name them"
                raise ArgumentError("inputs", expected, f"{len(beside)} beside {uri!r}")
            fs.get(f"{PurePosixPath(path).parent}/", f"{folder}/", recursive=True)
        else:
            fs.get(path, str(here), recursive=fs.isdir(path))
        yield here


@dataclass(frozen=True)
class Store:
    """A folder of outputs, on a disk or on an object store; it travels as its URI.

    Attributes:
        uri: a path or a URI of fsspec.
    """

    uri: str

    @property
    def local(self) -> Path | None:
        """Return the folder's path where it is on a disk of this machine."""
        fs, root = filesystem(self.uri, "out")
        return Path(root) if is_local(fs) else None

    def check(self) -> None:
        """Raise ArgumentError where it can be seen that nothing can be written there."""
        if self.local is not None:
            check_folder(self.local)

    def _at(self, name: str) -> tuple[Any, str]:
        fs, root = filesystem(self.uri, "out")
        return fs, f"{root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none."""
        fs, path = self._at(name)
        try:
            return fs.cat_file(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all."""
        if self.local is not None:
            write_bytes(self.local / name, content)
        else:
            fs, path = self._at(name)
            fs.pipe_file(path, content)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        fs, path = self._at(name)
        with suppress(FileNotFoundError):
            fs.rm_file(path)

    def names(self, folder: str) -> list[str]:
        """List the files of a folder in the order of their names, half-written ones left out."""
        fs, path = self._at(folder)
        fs.invalidate_cache()
        try:
            files = [PurePosixPath(one).name for one in fs.ls(path, detail=False)]
        except FileNotFoundError:
            return []
        return sorted(f"{folder}/{one}" for one in files if one and not one.startswith(MAKING))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make a folder on this machine to fill, from where :meth:`put` takes it at little cost."""
        parent = None if self.local is None else self.local / _SCRATCH
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=MAKING, dir=parent) as folder:
            yield Path(folder)

    def put(self, name: str, made: Path, last: str) -> None:
        """Move a folder to its name, whole or not at all; its file ``last`` says that it is whole.

        Args:
            name: in the store.
            made: lies in a folder of :meth:`scratch`.
            last: name of the file in it that describes the others.
        """
        if self.local is not None:
            place_folder(made, self.local / name)
            return
        self.remove(f"{name}/{last}")
        files = [path for path in sorted(made.rglob("*")) if path.is_file()]
        for path in [*(one for one in files if one != made / last), made / last]:
            fs, place = self._at(f"{name}/{path.relative_to(made).as_posix()}")
            fs.put_file(str(path), place)

    def clear_scratch(self) -> None:
        """Remove what processes that were killed have left behind on a disk."""
        if self.local is not None:
            shutil.rmtree(self.local / _SCRATCH, ignore_errors=True)
