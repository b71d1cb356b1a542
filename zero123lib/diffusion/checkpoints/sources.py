"""Where a model is: bundled, named, on the Hub or on this disk.

What a user names is checked before torch is there: it loads with the first download.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.constants import HF_HUB_OFFLINE

from zero123lib._choices import Encoding
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.errors import DamagedCheckpointError

MODELS = Path(__file__).resolve().parents[2] / "models"

_LONGEST_PATH = 4096  # of Linux; a longer name is an error to ask for

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NamedModel:
    """A published checkpoint.

    Attributes:
        publisher: a repository of the Hugging Face Hub, or the address of a folder on the web.
        file: there.
        encoding: that it was trained with.
        licence: as its publisher states it.
        gigabytes: of the file, about.
    """

    publisher: str
    file: str
    encoding: Encoding
    licence: str
    gigabytes: float


_HUB = "cvlab/zero123-weights"
_WEB = "https://zero123.cs.columbia.edu/assets"
_COLUMBIA = (
    "not stated with the weights; their code's is MIT, and they derive from Stable Diffusion "
    "(CreativeML OpenRAIL-M)"
)
_STABILITY_NC = "Stability AI Non-Commercial Research Community License: research, no commerce"
_STABILITY = "Stability AI Community License: commerce within its limits on revenue"

# Where cvlab-columbia/zero123's README.md sends its users, and Stability AI's own repository.
NAMED: dict[str, NamedModel] = {
    "zero123-105000": NamedModel(_HUB, "105000.ckpt", "zero123", _COLUMBIA, 15.5),
    "zero123-165000": NamedModel(_HUB, "165000.ckpt", "zero123", _COLUMBIA, 15.5),
    "zero123-xl": NamedModel(_WEB, "zero123-xl.ckpt", "zero123", _COLUMBIA, 15.5),
    "stable-zero123": NamedModel(
        "stabilityai/stable-zero123", "stable_zero123.ckpt", "stable-zero123", _STABILITY_NC, 8.6
    ),
    "stable-zero123-c": NamedModel(
        "stabilityai/stable-zero123", "stable_zero123_c.ckpt", "stable-zero123", _STABILITY, 8.6
    ),
}


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
    """Names that need no download."""
    return sorted(index.parent.name for index in MODELS.glob("*/model_index.json"))


def find(source: str | Path, variant: str | None = None, **hub: Any) -> Found:
    """Bring a model to this disk, if it is not there.

    Args:
        source: a bundled name, one of :data:`NAMED`, a path, or a repository ``owner/name`` of the
            Hugging Face Hub with a diffusers folder. A ``Path`` is a path, whatever its name.
        variant: of the weights, for a repository.
        **hub: of huggingface_hub's downloads: ``cache_dir``, ``revision``, ``token``,
            ``local_files_only``, ``force_download``.

    Raises:
        ValueError: there is no such model, or it cannot be downloaded.
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
    if named and text in NAMED:
        return _named(text, **hub)
    if named:
        return Found(MODELS / text, text, licence=card_licence(MODELS / text))
    if _is_there(text):
        name = path.resolve().name if path.is_dir() else path.stem
        return Found(path, name, licence=card_licence(path if path.is_dir() else path.parent))
    folder = _downloaded(text, variant, **hub)
    return Found(folder, text.split("/")[1], licence=card_licence(folder))


def check_source(source: str | Path) -> None:
    """Raise ArgumentError for what :func:`find` can tell to be no model without a download."""
    if not isinstance(source, (str, Path)):
        raise ArgumentError("source", "a name or a path", type(source).__name__)
    text = str(source)
    is_name = isinstance(source, str) and (
        text in (*bundled_models(), *NAMED) or re.fullmatch(r"[\w.-]+/[\w.-]+", text)
    )
    if is_name or _is_there(text):
        return
    names = ", ".join([*bundled_models(), *NAMED])
    raise ArgumentError(
        "source",
        f"a model's name ({names}), a diffusers folder, a .ckpt or .safetensors "
        "file, or a repository owner/name of the Hugging Face Hub",
        repr(text),
    )


def _is_there(text: str) -> bool:
    return bool(text) and len(text) < _LONGEST_PATH and Path(text).exists()


def _named(name: str, **hub: Any) -> Found:
    model = NAMED[name]
    # Before the download: whoever may not use the weights need not wait for them.
    _logger.warning(
        f"{name}: {model.file} of {model.publisher}, about {model.gigabytes:g} GB. "
        f"Licence: {model.licence}"
    )
    try:
        if model.publisher.startswith("https://"):
            path = _from_the_web(f"{model.publisher}/{model.file}", **hub)
        else:
            path = Path(hf_hub_download(model.publisher, model.file, **hub))
    except Exception as error:  # whatever the transport raises
        raise _not_downloaded(name, error) from error
    return Found(path, name, model.encoding, model.licence)


def _from_the_web(
    address: str,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    **hub: Any,
) -> Path:
    """A file by its address, kept where torch keeps such files; whole or not at all."""
    import torch

    folder = Path(cache_dir or Path(torch.hub.get_dir()) / "checkpoints")
    path = folder / address.rpartition("/")[2]
    if path.exists() and not force_download:
        return path
    if local_files_only or HF_HUB_OFFLINE:
        raise OSError(f"{path} is not there, and downloads are switched off")
    folder.mkdir(parents=True, exist_ok=True)
    torch.hub.download_url_to_file(address, str(path), progress=True)
    return path


def _downloaded(repository: str, variant: str | None, **hub: Any) -> Path:
    """The files of a repository that make up a pipeline, without what duplicates them."""
    from zero123lib.diffusion.checkpoints.canonical import NETWORKS
    from zero123lib.diffusion.checkpoints.folders import weight_files
    from zero123lib.diffusion.checkpoints.foreign import PROJECTIONS

    names = {key: hub[key] for key in ("revision", "token") if key in hub}
    try:
        if hub.get("local_files_only"):
            raise OSError("local_files_only")
        found = HfApi().list_repo_files(repository, **names)
    except Exception as error:  # whatever the transport raises; an earlier download may do
        try:
            return Path(snapshot_download(repository, **{**hub, "local_files_only": True}))
        except (OSError, ValueError):
            raise _not_downloaded(repository, error) from error
    wanted = ["model_index.json", "README.md", "*/config.json", "scheduler/*.json"]
    for part in (*NETWORKS, *PROJECTIONS[1:]):
        inside = [name.split("/")[1] for name in found if re.fullmatch(f"{part}/[^/]+", name)]
        stands_for = "camera_projection" if part in PROJECTIONS else part
        try:
            wanted += [f"{part}/{n}" for n in weight_files(stands_for, inside, variant, Path(part))]
        except DamagedCheckpointError:
            continue  # a part without weights; the reader says so if it needs some
    try:
        return Path(snapshot_download(repository, allow_patterns=wanted, **hub))
    except Exception as error:
        raise _not_downloaded(repository, error) from error


def _not_downloaded(name: str, error: Exception) -> ArgumentError:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ArgumentError(
        "source",
        "a model that is on this disk or can be downloaded",
        f"{name!r}: {reason}; a file or folder that you have can be given by its path",
    )


def card_licence(folder: Path) -> str | None:
    """The licence that a model card, ``README.md`` in the folder, states in its front matter."""
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
    """What a model's name suggests; "stable" anywhere in it means Stable-Zero123."""
    return "stable-zero123" if "stable" in re.sub(r"[^a-z]", "", name.lower()) else "zero123"
