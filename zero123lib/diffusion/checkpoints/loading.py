"""From what a user names to a checkpoint, and from that to the components of a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from tqdm import tqdm

from zero123lib._choices import AutoEncoding
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_choice
from zero123lib.diffusion.checkpoints.build import fill
from zero123lib.diffusion.checkpoints.canonical import NETWORKS, Checkpoint
from zero123lib.diffusion.checkpoints.folders import read_folder
from zero123lib.diffusion.checkpoints.original import read_original
from zero123lib.diffusion.checkpoints.sources import find, guessed_encoding

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

DType = torch.dtype | Mapping[str, torch.dtype] | None

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a checkpoint; the attributes are arguments of ``from_pretrained``."""

    original_config: str | Path | Mapping[str, Any] | None = None
    encoding: str = "auto"
    use_ema: bool = True
    dtype: DType = None
    variant: str | None = None
    use_safetensors: bool | None = None

    def check(self) -> None:
        """Raise ArgumentError unless encoding, dtype and use_safetensors are what they can be."""
        check_choice("encoding", self.encoding, AutoEncoding)
        by_name = self.dtype if isinstance(self.dtype, Mapping) else {"default": self.dtype}
        for name, dtype in by_name.items():
            if name not in ("default", *NETWORKS):
                known = f"names among default, {', '.join(NETWORKS)}"
                raise ArgumentError("torch_dtype", known, repr(name))
            if dtype not in (None, *DTYPES):
                names = ", ".join(map(str, DTYPES))
                raise ArgumentError("torch_dtype", f"one of {names}", repr(dtype))
        if self.use_safetensors not in (None, True):
            expected = "True or None, as pickles are read only where there is nothing else"
            raise ArgumentError("use_safetensors", expected, repr(self.use_safetensors))

    @property
    def is_half(self) -> bool:
        """Tell whether all that is asked for is in half precision."""
        asked = self.dtype.values() if isinstance(self.dtype, Mapping) else [self.dtype]
        return bool(asked) and all(one in (torch.float16, torch.bfloat16) for one in asked)


def open_model(
    source: str | Path,
    wanted: Wanted,
    given: Mapping[str, Any] | None = None,
    hub: Mapping[str, Any] | None = None,
) -> tuple[Checkpoint, dict[str, Any]]:
    """Bring a model to this disk and read it: its networks without memory, its weights unread.

    Args:
        source: see :func:`~zero123lib.diffusion.checkpoints.sources.find`.
        wanted: of it.
        given: settings of the pipeline that go before the checkpoint's.
        hub: of huggingface_hub's downloads.

    Returns:
        The checkpoint, whose camera projection has the encoding, and the pipeline's settings.

    Raises:
        ValueError: an argument is not what it can be, there is no such model, or none to use.
    """
    wanted.check()
    original = wanted.original_config is not None or not wanted.use_ema
    precision = None
    if wanted.dtype is not None:
        precision = "float16" if wanted.is_half else "float32"
    found = find(source, wanted.variant, precision, original, **(hub or {}))
    checkpoint = read_checkpoint(found.path, wanted)
    for notice in checkpoint.notices:
        _logger.warning(notice)
    stated = {"model_name": found.name, "licence": found.licence, **checkpoint.settings}
    settings: dict[str, Any] = {**stated, **(given or {})}
    known = settings.get("encoding") or found.encoding
    if wanted.encoding == "auto" and known is None:
        known = guessed_encoding(found.name)
        _logger.warning(
            f"encoding: nothing in {str(found.path)!r} says which pose encoding it was trained "
            f"with; its name suggests {known!r}. Pass encoding='zero123' or 'stable-zero123' to "
            "settle it."
        )
    settings["encoding"] = known if wanted.encoding == "auto" else wanted.encoding
    layer: Any = checkpoint.parts["camera_projection"].network
    layer.register_to_config(encoding=settings["encoding"])
    return checkpoint, settings


def read_checkpoint(path: Path, wanted: Wanted) -> Checkpoint:
    """Read any checkpoint on this disk.

    Raises:
        CheckpointError: it is damaged, unsafe, of another architecture or does not fit together.
        ValueError: there is nothing at the path, or what is wanted does not fit it.
    """
    if path.is_dir():
        if wanted.original_config is not None:
            raise ArgumentError(
                "original_config",
                "None for a diffusers folder, which has its own configs",
                repr(wanted.original_config),
            )
        return read_folder(path, wanted.variant, wanted.use_safetensors)
    if not path.is_file():
        raise ArgumentError("source", "a folder or a file", f"{str(path)!r}, which is neither")
    if wanted.use_safetensors and is_zipfile(path):
        raise ArgumentError("use_safetensors", f"None for {str(path)!r}, a pickle", "True")
    return read_original(path, wanted.original_config, wanted.use_ema)


def load_components(
    checkpoint: Checkpoint, dtype: DType, device: torch.device | str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the pipeline's components, weights read one by one.

    A bar shows when it takes long, on a terminal.

    Args:
        checkpoint: its parts' networks are filled.
        dtype: of all, float32 unless told, or by name with a "default".
        device: of all.
        given: components to take in place of the checkpoint's.

    Raises:
        MismatchedCheckpointError: weights do not make up a network.
    """
    by_name = dtype if isinstance(dtype, Mapping) else {"default": dtype}
    parts = {name: part for name, part in checkpoint.parts.items() if name not in given}
    total = sum(tensor.nbytes for part in parts.values() for tensor in part.weights.values())
    components: dict[str, Any] = {"scheduler": checkpoint.scheduler, **given}
    title = f"Loading {checkpoint.source.name}"
    with tqdm(total=total, desc=title, unit="B", unit_scale=True, delay=2, disable=None) as bar:
        for name in parts:
            precision = by_name.get(name, by_name.get("default")) or torch.float32
            components[name] = fill(checkpoint, name, precision, device, bar.update)
    return components
