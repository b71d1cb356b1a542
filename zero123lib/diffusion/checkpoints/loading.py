"""From a checkpoint to the components of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from tqdm import tqdm

from zero123lib._choices import AutoEncoding
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_choice
from zero123lib.diffusion.checkpoints.build import dtype_of, fill, nbytes
from zero123lib.diffusion.checkpoints.canonical import NETWORKS, Checkpoint
from zero123lib.diffusion.checkpoints.named import Precision
from zero123lib.diffusion.checkpoints.sources import Found, guessed_encoding
from zero123lib.views.poses import Encoding

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

_logger = logging.getLogger(__name__)


def check_encoding(encoding: Any) -> None:
    """Raise ValueError unless it is "auto" or the name of an encoding."""
    check_choice("encoding", encoding, AutoEncoding)


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


def is_half(dtype: torch.dtype | Mapping[str, torch.dtype] | None) -> bool:
    """Whether all that is asked for is in half precision."""
    asked = dtype.values() if isinstance(dtype, Mapping) else [dtype]
    return bool(asked) and all(one in (torch.float16, torch.bfloat16) for one in asked)


def wanted_precision(
    dtype: torch.dtype | Mapping[str, torch.dtype] | None,
) -> Precision | None:
    """Return the precision that a named model's weights must have; None where any will do."""
    if dtype is None:
        return None
    return "float16" if is_half(dtype) else "float32"


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
