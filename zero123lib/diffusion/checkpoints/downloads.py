"""One large file from the web, resumed where it broke off and checked before it gets its name.

huggingface_hub fetches a file anew when a process was interrupted (its issue 4196), so
large files are brought by this module, through its own `http_get`, and laid where it looks for
them. What came before an interruption stays beside the final name and is gone on with.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub.file_download import http_get

from zero123lib._files import sync, sync_folder

_logger = logging.getLogger(__name__)


class DownloadError(OSError):
    """A download failed; the message is its reason, for whoever knows what was wanted."""


class OfflineError(DownloadError):
    """The user has switched downloads off."""


@dataclass(frozen=True)
class Remote:
    """A file to bring.

    Attributes:
        name: to show.
        url: where it is.
        path: where it is to lie.
        nbytes: that it has; None where the server does not tell.
        sha256: that it has, where that is known.
    """

    name: str
    url: str
    path: Path
    nbytes: int | None
    sha256: str | None = None

    @property
    def partial(self) -> Path:
        """Return the file that holds what has come of it so far."""
        return self.path.with_name(f"{self.path.name}.incomplete")

    @property
    def held(self) -> int:
        """Count the bytes that an earlier attempt left."""
        return self.partial.stat().st_size if self.partial.is_file() else 0

    def to_come(self) -> int:
        """Count the bytes that are still to download; 0 where the size is unknown."""
        return max((self.nbytes or 0) - self.held, 0)


def readable(nbytes: float) -> str:
    """Write a number of bytes with three digits, in decimal units as model pages do."""
    for unit in ("B", "kB", "MB"):
        if nbytes < 999.5:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} GB"


def check_room(needed: int, folder: Path) -> int:
    """Raise DownloadError unless the disk that a folder is or will be on has room.

    Returns:
        Its free bytes.
    """
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed > free:
        raise DownloadError(
            f"it needs {readable(needed)} in {str(folder)!r}, where {readable(free)} are free"
        )
    return free


def fetch_file(remote: Remote, headers: Mapping[str, str], anew: bool = False) -> Path:
    """Bring a file, unless it is there; go on with what an earlier attempt left.

    A connection that is cut is taken up again a few times at once, and by the next call after that.
    Processes that want the same file wait for the first of them.

    Args:
        remote: what and where to.
        headers: of the request, such as a token's.
        anew: bring it even if it is there; the old one stays until the new one is whole.

    Raises:
        DownloadError: no room, or it has another size or checksum than it should.
        Exception: of the transport, as `http_get` raises it.
    """
    remote.path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(remote.partial.with_name(f"{remote.partial.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _logger.warning(f"{remote.name}: another process is downloading it; waiting for that one")
        lock.acquire()
        anew = False
    try:
        if anew or not remote.path.is_file():
            _download(remote, headers)
            _check(remote)
            sync(remote.partial)
            remote.partial.replace(remote.path)
            sync_folder(remote.path.parent)
    finally:
        lock.release()
    return remote.path


def _download(remote: Remote, headers: Mapping[str, str]) -> None:
    if remote.nbytes is not None and remote.held > remote.nbytes:
        remote.partial.unlink()  # of another file
    check_room(remote.to_come(), remote.path.parent)
    try:
        with remote.partial.open("ab") as file:
            here = file.tell()
            if here:
                _logger.warning(f"{remote.name}: going on after {readable(here)}")
            http_get(
                remote.url,
                file,
                resume_size=here,
                headers=dict(headers),
                expected_size=remote.nbytes,
                displayed_filename=remote.name,
            )
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DownloadError(
            f"{error.strerror}: {readable(remote.to_come())} of {remote.name} are missing in "
            f"{str(remote.path.parent)!r}; the same command goes on from here"
        ) from error


def _check(remote: Remote) -> None:
    """Raise unless what came has the checksum that it should; what has not is deleted."""
    if remote.sha256 is None:
        return
    with remote.partial.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != remote.sha256:
        remote.partial.unlink()
        raise DownloadError(
            f"{remote.name} came with the sha256 {digest[:12]}..., expected "
            f"{remote.sha256[:12]}...; it is deleted, and the same command begins anew"
        )
