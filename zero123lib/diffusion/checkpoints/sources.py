"""Where a model is: bundled, named, on the Hub or on this disk; and bringing it here.

What a user names is checked before torch is there: it loads with the first download. Licence, size,
room and publisher are told before one.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib._errors import ArgumentError
from zero123lib._words import nearest
from zero123lib.diffusion.checkpoints.downloads import (
    DownloadError,
    OfflineError,
    check_room,
    readable,
)
from zero123lib.diffusion.checkpoints.hub import cached, fetch
from zero123lib.diffusion.checkpoints.named import (
    NAMED,
    Place,
    Precision,
    Source,
    fitting,
    named_source,
)

if TYPE_CHECKING:  # it loads torch, which finding a model needs not
    from zero123lib.views.poses import Encoding

MODELS = Path(__file__).resolve().parents[2] / "models"

_LONGEST_PATH = 4096  # of Linux; a longer name is an error to ask for
_REPOSITORY = r"[\w.-]+/[\w.-]+"
_FILE = rf"({_REPOSITORY})/([\w./-]+\.(?:ckpt|safetensors))"

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A model on this disk.

    Attributes:
        path: a folder or a file.
        name: what to call it.
        encoding: where its name alone tells it for sure.
        licence: where it is known.
    """

    path: Path
    name: str
    encoding: Encoding | None = None
    licence: str | None = None


def bundled_models() -> list[str]:
    """List the names that need no download."""
    return sorted(index.parent.name for index in MODELS.glob("*/model_index.json"))


def find(
    source: str | Path,
    variant: str | None = None,
    precision: Precision | None = None,
    original: bool = False,
    **hub: Any,
) -> Found:
    """Bring a model to this disk, if it is not there.

    A name stands for several sources. One that is on this disk and gives what is wanted is taken
    first, then the smallest that does. Publisher, licence, size and free space are told before a
    download. A repository of another name is asked for anew; without a connection, what is on this
    disk of it is taken.

    Args:
        source: a bundled name, one of :data:`NAMED`, the name of one of its sources, a path, or of
            the Hugging Face Hub a repository ``owner/name`` with a diffusers folder or a file in
            one, ``owner/name/file``. A ``Path`` is a path, whatever its name.
        variant: of the weights, for a repository.
        precision: of a named model's weights, at least; None takes any.
        original: take a named model's original file, with the weights and their running average.
        **hub: of huggingface_hub's downloads: ``cache_dir``, ``revision``, ``token``,
            ``local_files_only``, ``force_download``.

    Raises:
        ArgumentError: there is no such model, or it cannot be downloaded.
    """
    check_source(source)
    text, path = str(source), Path(source)
    named = isinstance(source, str) and text in (*bundled_models(), *NAMED)
    if named and os.path.lexists(path):
        _logger.warning(
            f"source: {text!r} is taken as the model of that name; for the folder or file of the "
            f"same name here, pass {os.path.join('.', text)!r}"
        )
    if named and text not in NAMED:
        return Found(MODELS / text, text, licence=card_licence(MODELS / text))
    if not named and _is_there(text):
        name = path.resolve().name if path.is_dir() else path.stem
        return Found(path, name, licence=card_licence(path if path.is_dir() else path.parent))
    known = named_source(text)
    if named or known:
        name, able = (known[0], known[1:]) if known else (text, fitting(text, precision, original))
        model, path = NAMED[name], _from_any(name, able, variant, hub)
        page = card_licence(path) if known and not model.licence_stated else None
        return Found(path, name, model.encoding, page or model.licence)
    within = re.fullmatch(_FILE, text)
    path = _bring(text, Place(within[1], within[2]) if within else Place(text), variant, hub)
    if within:
        return Found(path, path.stem)
    return Found(path, text.split("/")[1], licence=card_licence(path))


def about_source(source: str) -> str:
    """Say what loading a model would bring, in a line: its licence, and how much to download.

    Nobody is asked: of a repository of the Hub that is no named model's, its page says it.

    Raises:
        ArgumentError: it can be told to be no model.
    """
    check_source(source)
    if source in bundled_models() and source not in NAMED:
        return f"Comes with the library. Licence: {card_licence(MODELS / source) or 'not stated'}."
    if source not in NAMED and _is_there(source):
        path = Path(source)
        if path.is_dir() and not (path / "model_index.json").is_file():
            raise ArgumentError("source", "a folder with a model_index.json", repr(source))
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        licence = card_licence(path if path.is_dir() else path.parent) or "not stated beside it"
        size = readable(sum(one.stat().st_size for one in files))
        return f"On this disk, {size}. Licence: {licence}."
    known = named_source(source)
    if known is None and source not in NAMED:
        within = re.fullmatch(_FILE, source)
        place = Place(within[1], within[2]) if within else Place(source)
        if cached(place, {}) is not None:
            return "On this disk, from the Hugging Face Hub, whose page states its licence."
        page = f"https://huggingface.co/{place.place}"
        return f"Not on this disk. Its size and its licence are stated at {page}."
    name, able = (known[0], known[1:]) if known else (source, fitting(source, None, False))
    for one in able:
        if cached(one, {}) is not None:
            return f"On this disk. {_described(name, one)}"
    size = readable(able[0].nbytes) + ("" if able[0].stated else " by computation")
    return f"Not on this disk: {size} to download. {_described(name, able[0])}"


def check_source(source: str | Path) -> None:
    """Raise ArgumentError for what :func:`find` can tell to be no model without a download."""
    if not isinstance(source, (str, Path)):
        raise ArgumentError("source", "a name or a path", type(source).__name__)
    text, names = str(source), [*bundled_models(), *NAMED]
    published = isinstance(source, str) and (
        text in names
        or named_source(text)
        or re.fullmatch(_REPOSITORY, text)
        or re.fullmatch(_FILE, text)
    )
    if not published and not _is_there(text):
        no_file = ", and there is no such file" if re.search(r"[/.\\]", text) else ""
        raise ArgumentError(
            "source",
            f"a model's name ({', '.join(names)}), a diffusers folder, a .ckpt or .safetensors "
            "file, or of the Hugging Face Hub a repository owner/name or a file owner/name/file",
            f"{text!r}{nearest(text, names) or no_file}",
        )


def _is_there(text: str) -> bool:
    return bool(text) and len(text) < _LONGEST_PATH and Path(text).exists()


def _from_any(
    name: str, able: Sequence[Source], variant: str | None, arguments: Mapping[str, Any]
) -> Path:
    """Get a named model from one of several sources, and say from which and under what licence."""
    here = (
        [] if arguments.get("force_download") else [(one, cached(one, arguments)) for one in able]
    )
    for source, path in here:
        if path is not None:
            _logger.warning(f"{name}: {_described(name, source)}")
            return path
    source, *others = able
    size = readable(source.nbytes) + ("" if source.stated else " by computation")
    _logger.warning(f"{name}: {_described(name, source)} Size: {size}.")
    return _bring(name, source, variant, arguments, others)


def _described(name: str, source: Source) -> str:
    """Say whose files a source has, and their licence, in two sentences."""
    kind = "official file" if source.layout == "original" else f"port in {source.precision}"
    licence, page = NAMED[name].licence, source.licence or "nothing"
    same = source.layout == "original" or licence.lower().startswith(page)
    note = "" if same else f" (the port's page says {page})"
    return f"{source.publisher}'s {kind}, {source.name}. Licence: {licence}{note}."


def _bring(
    name: str,
    place: Place,
    variant: str | None,
    arguments: Mapping[str, Any],
    others: Sequence[Source] = (),
) -> Path:
    """Download what is missing of a place; what cannot be had is an error of the source."""

    def announce(nbytes: int, folder: Path) -> None:
        free = check_room(nbytes, folder)
        _logger.warning(
            f"{name}: {readable(nbytes)} to download into {str(folder)!r}, "
            f"where {readable(free)} are free"
        )

    try:
        return fetch(place, variant, announce, arguments)
    except DownloadError as error:
        found = None
        if not isinstance(place, Source) and not arguments.get("force_download"):
            found = cached(place, arguments, whole=False)
        if found is None:
            also = "".join(f"; other source: {other.name}" for other in others)
            raise ArgumentError(
                "source",
                "a model that is on this disk or can be downloaded",
                f"{name!r}: {error}{also}; on this disk: {', '.join(_on_disk(arguments))}; a file "
                "or folder that you have can be given by its path",
            ) from error
        if not isinstance(error, OfflineError):
            _logger.warning(f"{name}: {error}; what is on this disk of it is taken")
        return found


def _on_disk(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Yield the models that need no download, the named ones with the sources they came from."""
    yield from bundled_models()
    for name, model in NAMED.items():
        places = [source.name for source in model.sources if cached(source, arguments)]
        if places:
            yield f"{name} ({', '.join(places)})"


def card_licence(folder: Path) -> str | None:
    """Return the licence that a folder's model card, ``README.md``, states in its front matter."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    header = re.match(r"---\n(.*?)\n---(?:\n|$)", text, re.DOTALL)
    stated = r"^(license(?:_name)?):[ \t]*(\S.*?)[ \t]*$"
    fields = dict(re.findall(stated, header[1], re.M)) if header else {}
    # "other" stands for a licence that the next field names.
    licence = fields.get("license_name") or fields.get("license")
    return licence.strip("\"'") if licence else None


def guessed_encoding(name: str) -> Encoding:
    """Guess from a model's name; "stable" anywhere in it means Stable-Zero123."""
    return "stable-zero123" if "stable" in re.sub(r"[^a-z]", "", name.lower()) else "zero123"
