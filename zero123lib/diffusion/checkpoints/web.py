"""Checkpoints at plain addresses, kept in huggingface_hub's folder for other libraries' files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import constants as hub_constants
from huggingface_hub import get_session

from zero123lib.diffusion.checkpoints.downloads import DownloadError, Remote, fetch_file
from zero123lib.diffusion.checkpoints.hub import Announce, reason


def cached_address(url: str, arguments: Mapping[str, Any]) -> Path | None:
    """Return the file of an address, if it is there whole."""
    path = _path(url, arguments)
    return path if path.is_file() else None


def partial_address(url: str, arguments: Mapping[str, Any]) -> int:
    """Count the bytes of an address's download that broke off and can be gone on with."""
    partial = Remote(url, url, _path(url, arguments), None).partial
    return partial.stat().st_size if partial.is_file() else 0


def fetch_address(url: str, announce: Announce, arguments: Mapping[str, Any]) -> Path:
    """Bring a file by its address; it is whole or not there.

    Args:
        url: of the file.
        announce: told of the download before it begins; not where nothing is missing.
        arguments: of huggingface_hub's, ``cache_dir`` and ``force_download``.

    Raises:
        DownloadError: it cannot be had; the message is the reason.
    """
    path, anew = _path(url, arguments), bool(arguments.get("force_download"))
    if path.is_file() and not anew:
        return path
    try:
        answer = get_session().head(url, follow_redirects=True)
        if answer.status_code != 200:
            raise DownloadError(f"{url} answers with status {answer.status_code}")
        length = answer.headers.get("Content-Length")
        remote = Remote(path.name, url, path, int(length) if length else None)
        if remote.nbytes is not None:
            announce(remote.to_come(), path.parent)
        return fetch_file(remote, {}, anew)
    except DownloadError:
        raise
    except Exception as error:  # whatever the transport raises
        raise DownloadError(reason(error, url)) from error


def _path(url: str, arguments: Mapping[str, Any]) -> Path:
    parts = urlsplit(url)
    assets = Path(arguments.get("cache_dir") or hub_constants.HF_ASSETS_CACHE).expanduser()
    return assets / "zero123lib" / parts.netloc.replace(":", "-") / parts.path.rpartition("/")[2]
