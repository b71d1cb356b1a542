"""Models of the Hugging Face Hub and of plain addresses: what of them is here, and bringing them.

Everything small is left to huggingface_hub. Large files are brought into its cache first, by
:mod:`~zero123lib.diffusion.checkpoints.downloads`, under the names that it knows them by; files of
plain addresses into its folder for other libraries' files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import (
    HfApi,
    get_session,
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

from zero123lib.diffusion.checkpoints.downloads import (
    DownloadError,
    OfflineError,
    Remote,
    fetch_file,
)
from zero123lib.diffusion.checkpoints.named import Place
from zero123lib.diffusion.checkpoints.parts import has_weights, wanted_files

# Told, before anything large is downloaded, what is to come and into which folder.
Announce = Callable[[int, Path], Any]


def cached(place: Place, arguments: Mapping[str, Any], whole: bool = True) -> Path | None:
    """Return the file or the diffusers folder of a place, if it is on this disk.

    Args:
        place: where it is from.
        arguments: of huggingface_hub, of which ``cache_dir`` and ``revision`` matter.
        whole: take a folder only with the weights of all parts.
    """
    if place.on_the_web:
        path = _address(place, arguments).path
        return path if path.is_file() else None
    found = _cached(place.place, place.file or "model_index.json", arguments)
    if found is None or place.file:
        return found
    return found.parent if has_weights(found.parent) or not whole else None


def partial_bytes(place: Place, arguments: Mapping[str, Any]) -> int:
    """Count the bytes of a place's downloads that broke off and can be gone on with."""
    if place.on_the_web:
        return _address(place, arguments).held
    found = _blobs(place.place, arguments).glob("*.incomplete")
    # huggingface_hub's own have a second dot in their names, and are never gone on with.
    return sum(path.stat().st_size for path in found if path.name.count(".") == 1)


def fetch(
    place: Place, variant: str | None, announce: Announce, arguments: Mapping[str, Any]
) -> Path:
    """Bring the file of a place, or those of its folder that make up a pipeline, without doubles.

    Args:
        place: where from.
        variant: of the weights, for a folder.
        announce: told of the download before it begins; not where nothing large is missing.
        arguments: of huggingface_hub's downloads: ``cache_dir``, ``revision``, ``token``,
            ``local_files_only`` and ``force_download``.

    Raises:
        DownloadError: it cannot be had; the message is the reason.
    """
    offline = {"local_files_only": arguments.get("local_files_only")}
    offline["HF_HUB_OFFLINE"] = hub_constants.HF_HUB_OFFLINE
    for name in filter(offline.get, offline):
        raise OfflineError(f"downloads are switched off ({name})")
    try:
        if place.on_the_web:
            return _fetch_address(place, announce, arguments)
        return _fetch_repository(place, variant, announce, arguments)
    except DownloadError:
        raise
    except Exception as error:  # whatever the transport raises
        at = place.name if place.on_the_web else f"https://huggingface.co/{place.place}"
        raise DownloadError(_reason(error, at)) from error


def _fetch_address(place: Place, announce: Announce, arguments: Mapping[str, Any]) -> Path:
    remote, anew = _address(place, arguments), bool(arguments.get("force_download"))
    if remote.path.is_file() and not anew:
        return remote.path
    answer = get_session().head(remote.url, follow_redirects=True)
    if answer.status_code != 200:
        raise DownloadError(f"{remote.url} answers with status {answer.status_code}")
    length = answer.headers.get("Content-Length")
    remote = _address(place, arguments, int(length) if length else None)
    if remote.nbytes is not None:
        announce(remote.to_come(), remote.path.parent)
    return fetch_file(remote, {}, anew)


def _address(place: Place, arguments: Mapping[str, Any], nbytes: int | None = None) -> Remote:
    parts = urlsplit(place.name)
    assets = Path(arguments.get("cache_dir") or hub_constants.HF_ASSETS_CACHE).expanduser()
    file = parts.path.rpartition("/")[2]
    path = assets / "zero123lib" / parts.netloc.replace(":", "-") / file
    return Remote(file, place.name, path, nbytes)


def _fetch_repository(
    place: Place, variant: str | None, announce: Announce, arguments: Mapping[str, Any]
) -> Path:
    repository, anew = place.place, bool(arguments.get("force_download"))
    where = {key: arguments[key] for key in ("cache_dir", "revision", "token") if key in arguments}
    commit, files = _listing(repository, arguments)
    if place.file and place.file not in files:
        raise DownloadError(f"{repository} has no file {place.file}")
    wanted = [place.file] if place.file else wanted_files(files, variant)
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
    folder = Path(snapshot_download(repository, allow_patterns=wanted, **where))
    return folder / place.file if place.file else folder


def _listing(repository: str, arguments: Mapping[str, Any]) -> tuple[str, dict[str, Remote]]:
    """Return the commit and its files; large ones, which the Hub keeps apart, have a sha256."""
    asked = {key: arguments.get(key) for key in ("revision", "token")}
    info = HfApi().model_info(repository, files_metadata=True, **asked)
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


def _reason(error: BaseException, page: str) -> str:
    """Say in one line why what is at a page could not be had, and what to do about it."""
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
            return _reason(error.__cause__, page)
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
