"""Where a model is: bundled, named, on the Hub or on this disk.

What a user names is checked before torch is there: it loads with the first download.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib._errors import ArgumentError
from zero123lib._words import nearest
from zero123lib.diffusion.checkpoints.fetching import (
    MODELS,
    bundled_models,
    get_from_hub,
    get_named,
)
from zero123lib.diffusion.checkpoints.named import NAMED, Precision, fitting, named_source

if TYPE_CHECKING:  # it loads torch, which finding a model needs not
    from zero123lib.views.poses import Encoding

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
    download.

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
    text = str(source)
    path = Path(source)
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
    return _published(text, variant, precision, original, hub)


def check_source(source: str | Path) -> None:
    """Raise ArgumentError for what :func:`find` can tell to be no model without a download."""
    if not isinstance(source, (str, Path)):
        raise ArgumentError("source", "a name or a path", type(source).__name__)
    text = str(source)
    published = isinstance(source, str) and (
        text in (*bundled_models(), *NAMED)
        or named_source(text)
        or re.fullmatch(_REPOSITORY, text)
        or re.fullmatch(_FILE, text)
    )
    if not published and not _is_there(text):
        names = [*bundled_models(), *NAMED]
        raise ArgumentError(
            "source",
            f"a model's name ({', '.join(names)}), a diffusers folder, a .ckpt or .safetensors "
            "file, or of the Hugging Face Hub a repository owner/name or a file owner/name/file",
            f"{text!r}{nearest(text, names) or _no_such_file(text)}",
        )


def _no_such_file(text: str) -> str:
    return ", and there is no such file" if re.search(r"[/.\\]", text) else ""


def _is_there(text: str) -> bool:
    return bool(text) and len(text) < _LONGEST_PATH and Path(text).exists()


def _published(
    text: str,
    variant: str | None,
    precision: Precision | None,
    original: bool,
    hub: dict[str, Any],
) -> Found:
    known = named_source(text)
    if text in NAMED or known:
        name, able = (known[0], [known[1]]) if known else (text, fitting(text, precision, original))
        model, path = NAMED[name], get_named(name, able, variant, hub)
        page = card_licence(path) if known and not model.licence_stated else None
        return Found(path, name, model.encoding, page or model.licence)
    if within := re.fullmatch(_FILE, text):
        file = get_from_hub(within[1], within[2], variant, hub)
        return Found(file, file.stem)
    folder = get_from_hub(text, None, variant, hub)
    return Found(folder, text.split("/")[1], licence=card_licence(folder))


def card_licence(folder: Path) -> str | None:
    """Return the licence that a folder's model card, ``README.md``, states in its front matter."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    header = re.match(r"---\n(.*?)\n---(?:\n|$)", text, re.DOTALL)
    fields = (
        dict(re.findall(r"^(license(?:_name)?):[ \t]*(\S.*?)[ \t]*$", header[1], re.M))
        if header
        else {}
    )
    # "other" stands for a licence that the next field names.
    stated = fields.get("license_name") or fields.get("license")
    return stated.strip("\"'") if stated else None


def guessed_encoding(name: str) -> Encoding:
    """Guess from a model's name; "stable" anywhere in it means Stable-Zero123."""
    return "stable-zero123" if "stable" in re.sub(r"[^a-z]", "", name.lower()) else "zero123"
