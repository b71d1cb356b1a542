"""What models there are by name, what they take, and what of them is on this disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zero123lib.diffusion.checkpoints.hub import cached, partial_bytes
from zero123lib.diffusion.checkpoints.named import NAMED, Precision
from zero123lib.diffusion.checkpoints.sources import (
    MODELS,
    Found,
    bundled_models,
    card_licence,
    find,
)


@dataclass(frozen=True)
class Available:
    """One source of a named model.

    Attributes:
        model: its name.
        source: the name of this very source, which can be passed as a model too.
        publisher: who put these files there.
        precision: of the weights.
        nbytes: of the files.
        size: where that number is from: the source's page, a computation, or this disk.
        licence: of the weights.
        path: of the files, if they are on this disk and whole.
        partial: bytes of downloads from the same place that broke off, and are gone on with.
    """

    model: str
    source: str
    publisher: str
    precision: Precision
    nbytes: int
    size: Literal["stated", "computed", "measured"]
    licence: str
    path: Path | None = None
    partial: int = 0


def available_models(cache_dir: str | Path | None = None) -> list[Available]:
    """List every source of every named model, bundled ones first, without asking the network.

    Args:
        cache_dir: of huggingface_hub; its own unless told.
    """
    arguments = {} if cache_dir is None else {"cache_dir": cache_dir}
    rows = []
    for name in bundled_models():
        folder = MODELS / name
        nbytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        licence = card_licence(folder) or "not stated"
        # Those that ship have half precision, so that a clone stays small.
        rows.append(
            Available(name, name, "zero123lib", "float16", nbytes, "measured", licence, folder)
        )
    for name, model in NAMED.items():
        for source in model.sources:
            path = cached(source, arguments)
            rows.append(
                Available(
                    name,
                    source.name,
                    source.publisher,
                    source.precision,
                    source.nbytes,
                    "stated" if source.stated else "computed",
                    model.licence,
                    path,
                    partial_bytes(source, arguments) if path is None else 0,
                )
            )
    return rows


def fetch_model(
    source: str, precision: Precision | None = None, original: bool = False, **hub: Any
) -> Found:
    """Bring a model to this disk, for later use without a connection.

    The licence, the size and the free space are logged as warnings before a download begins; bars
    show its progress on a terminal. After an interruption the same call goes on where it was.

    Args:
        source: a named model, one of its sources' names, or of the Hugging Face Hub a repository
            ``owner/name`` or a file ``owner/name/file``.
        precision: at least that of the weights; None takes the smallest source.
        original: take the original file, which has the running average beside the weights.
        **hub: of huggingface_hub's downloads: ``cache_dir``, ``revision``, ``token``,
            ``local_files_only``, ``force_download``.

    Raises:
        ArgumentError: there is no such model, no room for it, or it cannot be downloaded.
    """
    variant = "fp16" if precision == "float16" else None
    return find(source, variant, precision, original, **hub)
