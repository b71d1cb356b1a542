"""From a checkpoint to the components of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, get_args

import torch
from tqdm import tqdm

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.build import dtype_of, fill, nbytes
from zero123lib.diffusion.checkpoints.canonical import NETWORKS, Checkpoint
from zero123lib.diffusion.checkpoints.sources import Found, guessed_encoding
from zero123lib.views.poses import Encoding

COMPONENTS = (*NETWORKS, "scheduler")
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
HUB_ARGUMENTS = ("cache_dir", "revision", "token", "local_files_only", "force_download")

_logger = logging.getLogger(__name__)


def split_arguments(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments as components given and arguments of a download.

    Raises:
        TypeError: there is something else among them.
    """
    unknown = [name for name in kwargs if name not in (*COMPONENTS, *HUB_ARGUMENTS)]
    if unknown:
        raise TypeError(
            f"{unknown[0]}: expected an argument of from_pretrained, one of its components "
            f"({', '.join(COMPONENTS)}) or of a download ({', '.join(HUB_ARGUMENTS)})"
        )
    given = {name: value for name, value in kwargs.items() if name in COMPONENTS}
    for name, classes in NETWORKS.items():
        if name in given and not isinstance(given[name], classes):
            wanted = " or ".join(kind.__name__ for kind in classes)
            raise TypeError(f"{name}: expected a {wanted}, got {type(given[name]).__name__}")
    return given, {name: value for name, value in kwargs.items() if name in HUB_ARGUMENTS}


def check_encoding(encoding: Any) -> None:
    """Raise ValueError unless it is "auto" or the name of an encoding."""
    choices = ("auto", *get_args(Encoding))
    if encoding not in choices:
        names = ", ".join(map(repr, choices))
        raise ArgumentError("encoding", f"one of {names}", repr(encoding))


def check_dtype(dtype: Any) -> None:
    """Raise ValueError unless it is None, a precision, or a mapping of components to some."""
    parts = dtype if isinstance(dtype, Mapping) else {"default": dtype}
    for name, one in parts.items():
        if name not in ("default", *NETWORKS):
            raise ArgumentError(
                "torch_dtype", f"names among default, {', '.join(NETWORKS)}", repr(name)
            )
        if one not in (None, *DTYPES):
            names = ", ".join(map(str, DTYPES))
            raise ArgumentError("torch_dtype", f"one of {names}", repr(one))


def checked_device(device: Any) -> torch.device:
    """The device, once it is clear that this machine has it.

    Raises:
        ValueError: no such device, here or anywhere.
    """
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise ArgumentError(
            "device", "a torch device that is here, such as 'cpu'", f"{device!r}: {reason}"
        ) from error
    return found


def is_half(dtype: torch.dtype | Mapping[str, torch.dtype] | None) -> bool:
    """Whether all that is asked for is in half precision."""
    asked = dtype.values() if isinstance(dtype, Mapping) else [dtype]
    return bool(asked) and all(one in (torch.float16, torch.bfloat16) for one in asked)


def settled_encoding(wanted: str, settings: Mapping[str, Any], found: Found) -> str:
    """The pose encoding: the caller's, the checkpoint's, its publisher's, or a guess."""
    if wanted != "auto":
        return wanted
    known: str | None = settings.get("encoding") or found.encoding
    if known is not None:
        return known
    guess: Encoding = guessed_encoding(found.name)
    _logger.warning(
        f"encoding: nothing in {str(found.path)!r} says which pose encoding it was trained with; "
        f"its name suggests {guess!r}. Pass encoding='zero123' or 'stable-zero123' to settle it."
    )
    return guess


def load_components(
    checkpoint: Checkpoint,
    dtype: torch.dtype | Mapping[str, torch.dtype] | None,
    device: torch.device | str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The pipeline's components, weights read one by one.

    A bar shows when it takes long, on a terminal.

    Args:
        checkpoint: its parts' networks are filled.
        dtype: of all, or by name with a "default".
        device: of all.
        given: components to take in place of the checkpoint's.

    Raises:
        MismatchedCheckpointError: weights do not make up a network.
    """
    read = [name for name in NETWORKS if name not in given]
    total = sum(nbytes(checkpoint.parts[name]) for name in read)
    components: dict[str, Any] = {"scheduler": checkpoint.scheduler, **given}
    title = f"Loading {checkpoint.source.name}"
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, delay=2, disable=None) as bar:
        for name in read:
            precision = dtype_of(name, dtype)
            components[name] = fill(checkpoint, name, precision, device, bar.update)
    return components
