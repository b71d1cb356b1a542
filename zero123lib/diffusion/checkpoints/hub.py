"""Models of the Hugging Face Hub, in its own cache: what is there, what is missing, bringing that.

Everything small is left to huggingface_hub. Large files are brought into its cache first, by
:mod:`~zero123lib.diffusion.checkpoints.downloads`, under the names that it knows them by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import (
    HfApi,
    hf_hub_url,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub import constants as hub_constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers

from zero123lib.diffusion.checkpoints.downloads import DownloadError, Remote, fetch_file
from zero123lib.diffusion.checkpoints.parts import has_weights, wanted_files

# Told, before anything large is downloaded, what is to come and into which folder.
Announce = Callable[[int, Path], Any]


def cached_folder(repository: str, arguments: Mapping[str, Any]) -> Path | None:
    """Return the diffusers folder of a repository in the cache, if all its weights are there."""
    index = _cached(repository, "model_index.json", arguments)
    return index.parent if index is not None and has_weights(index.parent) else None


def cached_file(repository: str, file: str, arguments: Mapping[str, Any]) -> Path | None:
    """Return a file of a repository in the cache, if it is there."""
    return _cached(repository, file, arguments)


def partial_bytes(repository: str, arguments: Mapping[str, Any]) -> int:
    """Count the bytes of a repository's downloads that broke off and can be gone on with."""
    found = _blobs(repository, arguments).glob("*.incomplete")
    # huggingface_hub's own have a second dot in their names, and are never gone on with.
    return sum(path.stat().st_size for path in found if path.name.count(".") == 1)


def fetch_folder(
    repository: str, variant: str | None, announce: Announce, arguments: Mapping[str, Any]
) -> Path:
    """Bring the files of a repository that make up a pipeline, without what duplicates them.

    Args:
        repository: ``owner/name``.
        variant: of the weights.
        announce: told of the download before it begins; not where nothing large is missing.
        arguments: of huggingface_hub's downloads: ``cache_dir``, ``revision``, ``token`` and
            ``force_download``.

    Raises:
        DownloadError: it cannot be had; the message is the reason.
    """
    return _fetch(repository, lambda names: wanted_files(names, variant), announce, arguments)


def fetch_one(repository: str, file: str, announce: Announce, arguments: Mapping[str, Any]) -> Path:
    """Bring one file of a repository; see :func:`fetch_folder`."""

    def only(names: Sequence[str]) -> list[str]:
        if file not in names:
            raise DownloadError(f"{repository} has no file {file}")
        return [file]

    return _fetch(repository, only, announce, arguments) / file


def _fetch(
    repository: str,
    choose: Callable[[Sequence[str]], list[str]],
    announce: Announce,
    arguments: Mapping[str, Any],
) -> Path:
    anew = bool(arguments.get("force_download"))
    where = {key: arguments[key] for key in ("cache_dir", "revision", "token") if key in arguments}
    try:
        commit, files = _listing(repository, arguments)
        wanted = choose(list(files))
        here = {**arguments, "revision": commit}
        missing = [
            files[name]
            for name in wanted
            if files[name].sha256
            and (anew or not (files[name].path.is_file() or _cached(repository, name, here)))
        ]
        if missing:
            announce(sum(remote.to_come() for remote in missing), missing[0].path.parent)
        for remote in missing:
            fetch_file(remote, build_hf_headers(token=arguments.get("token")), anew)
        small = [name for name in wanted if not files[name].sha256]
        if anew and small:
            snapshot_download(repository, allow_patterns=small, force_download=True, **where)
        return Path(snapshot_download(repository, allow_patterns=wanted, **where))
    except DownloadError:
        raise
    except Exception as error:  # whatever the transport raises
        raise DownloadError(reason(error, repository)) from error


def _listing(repository: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Remote]]:
    """Return the commit and its files; large ones, which the Hub keeps apart, have a sha256."""
    info = HfApi().model_info(
        repository,
        revision=arguments.get("revision"),
        files_metadata=True,
        token=arguments.get("token"),
    )
    if info.sha is None:
        raise DownloadError(f"the Hub does not say which commit of {repository} it has")
    blobs, files = _blobs(repository, arguments), {}
    for one in info.siblings or []:
        url = hf_hub_url(repository, one.rfilename, revision=info.sha)
        sha256 = one.lfs.sha256 if one.lfs else None
        # huggingface_hub calls a large file in its cache by the checksum.
        path = blobs / (sha256 or one.rfilename)
        files[one.rfilename] = Remote(one.rfilename, url, path, one.size, sha256)
    return info.sha, files


def _blobs(repository: str, arguments: Mapping[str, Any]) -> Path:
    cache = Path(arguments.get("cache_dir") or hub_constants.HF_HUB_CACHE).expanduser()
    return cache / repo_folder_name(repo_id=repository, repo_type="model") / "blobs"


def _cached(repository: str, name: str, arguments: Mapping[str, Any]) -> Path | None:
    where = {key: arguments[key] for key in ("cache_dir", "revision") if key in arguments}
    try:
        found = try_to_load_from_cache(repository, name, **where)
    except HFValidationError:  # no name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


def reason(error: BaseException, place: str) -> str:
    """Say in one line why a repository or an address could not be had, and what to do about it."""
    page = place if "://" in place else f"https://huggingface.co/{place}"
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    match error:
        case GatedRepoError():
            return f"its publisher asks for consent: accept the licence at {page}, then {log_in}"
        case RevisionNotFoundError():
            return f"{page} has no such revision"
        case RepositoryNotFoundError():
            return f"there is no repository {page}, or it is private: then {log_in}"
        case OfflineModeIsEnabled():
            return "downloads are switched off (HF_HUB_OFFLINE)"
        case LocalEntryNotFoundError() if error.__cause__ is not None:
            return reason(error.__cause__, place)
        case EntryNotFoundError():
            return f"a file is not at {page} any more"
        case HfHubHTTPError() if error.response.status_code == 401:
            return f"the Hub does not accept the token: {log_in}"
        case HfHubHTTPError() if error.response.status_code == 403:
            return f"the Hub does not let this token read {page}: {log_in}"
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    # Of httpx, under whichever name this huggingface_hub has it.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"ConnectError", "ConnectTimeout"}:
        return f"no connection to {urlsplit(page).netloc} ({said})"
    if "TransportError" in kinds:
        return f"the connection broke ({said}); the same command goes on from here"
    return said
