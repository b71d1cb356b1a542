"""Models brought to this disk, with what has to be known before: licence, size, room, publisher."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub_constants

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints import hub, web
from zero123lib.diffusion.checkpoints.downloads import (
    DownloadError,
    OfflineError,
    check_room,
    readable,
)
from zero123lib.diffusion.checkpoints.named import NAMED, Source

MODELS = Path(__file__).resolve().parents[2] / "models"

_logger = logging.getLogger(__name__)


def bundled_models() -> list[str]:
    """List the names that need no download."""
    return sorted(index.parent.name for index in MODELS.glob("*/model_index.json"))


def on_disk(source: Source, arguments: Mapping[str, Any]) -> Path | None:
    """Return where a source's files are, if they are on this disk and whole.

    Args:
        source: of a named model.
        arguments: of huggingface_hub, of which ``cache_dir`` and ``revision`` matter.
    """
    if source.on_the_web:
        return web.cached_address(source.name, arguments)
    if source.file is not None:
        return hub.cached_file(source.place, source.file, arguments)
    return hub.cached_folder(source.place, arguments)


def models_on_disk(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the named models that need no download, with the sources that they came from."""
    yield from bundled_models()
    for name, model in NAMED.items():
        places = [source.name for source in model.sources if on_disk(source, arguments)]
        if places:
            yield f"{name} ({', '.join(places)})"


def get_named(
    name: str, able: Sequence[Source], variant: str | None, arguments: Mapping[str, Any]
) -> Path:
    """Get a named model from one of several sources, and say from which and under what licence.

    Args:
        name: one of :data:`~zero123lib.diffusion.checkpoints.named.NAMED`.
        able: sources that give what is wanted, the preferred first; one on this disk goes before.
        variant: of the weights.
        arguments: of huggingface_hub's downloads.

    Raises:
        ArgumentError: it cannot be had.
    """
    for source in () if arguments.get("force_download") else able:
        path = on_disk(source, arguments)
        if path is not None:
            _logger.warning(f"{name}: {described(name, source)}")
            return path
    source, *others = able
    size = readable(source.nbytes) + ("" if source.stated else " by computation")
    _logger.warning(f"{name}: {described(name, source)} Size: {size}.")
    try:
        _refuse_offline(arguments)
        if source.on_the_web:
            return web.fetch_address(source.name, _announce(name), arguments)
        if source.file is not None:
            return hub.fetch_one(source.place, source.file, _announce(name), arguments)
        return hub.fetch_folder(source.place, variant, _announce(name), arguments)
    except DownloadError as error:
        also = "".join(f"; other source: {other.name}" for other in others)
        raise _not_had(name, f"{error}{also}", arguments) from error


def get_from_hub(
    repository: str, file: str | None, variant: str | None, arguments: Mapping[str, Any]
) -> Path:
    """Get any repository of the Hub, or one file of it; without a connection, from the cache.

    Args:
        repository: ``owner/name``.
        file: the path there; None for the diffusers folder that the repository is.
        variant: of the weights.
        arguments: of huggingface_hub's downloads.

    Raises:
        ArgumentError: it cannot be had.
    """
    name = repository if file is None else f"{repository}/{file}"
    try:
        _refuse_offline(arguments)
        if file is not None:
            return hub.fetch_one(repository, file, _announce(name), arguments)
        return hub.fetch_folder(repository, variant, _announce(name), arguments)
    except DownloadError as error:
        cached = hub.cached_file(repository, file or "model_index.json", arguments)
        if cached is None or arguments.get("force_download"):
            raise _not_had(name, str(error), arguments) from error
        if not isinstance(error, OfflineError):
            _logger.warning(f"{name}: {error}; what is on this disk of it is taken")
        return cached if file else cached.parent


def described(name: str, source: Source) -> str:
    """Say whose files a source has, and their licence, in two sentences."""
    kind = "official file" if source.layout == "original" else f"port in {source.precision}"
    licence, page = NAMED[name].licence, source.licence or "nothing"
    same = source.layout == "original" or licence.lower().startswith(page)
    note = "" if same else f" (the port's page says {page})"
    return f"{source.publisher}'s {kind}, {source.name}. Licence: {licence}{note}."


def _announce(name: str) -> hub.Announce:
    def tell(nbytes: int, folder: Path) -> None:
        free = check_room(nbytes, folder)
        _logger.warning(
            f"{name}: {readable(nbytes)} to download into {str(folder)!r}, "
            f"where {readable(free)} are free"
        )

    return tell


def _refuse_offline(arguments: Mapping[str, Any]) -> None:
    if arguments.get("local_files_only"):
        raise OfflineError("downloads are switched off (local_files_only)")
    if hub_constants.HF_HUB_OFFLINE:
        raise OfflineError("downloads are switched off (HF_HUB_OFFLINE)")


def _not_had(name: str, reason: str, arguments: Mapping[str, Any]) -> ArgumentError:
    here = ", ".join(models_on_disk(arguments))
    return ArgumentError(
        "source",
        "a model that is on this disk or can be downloaded",
        f"{name!r}: {reason}; on this disk: {here}; a file or folder that you have can be given "
        "by its path",
    )
