"""The table of readers: one per layout of a checkpoint on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.folders import read_folder
from zero123lib.diffusion.checkpoints.original import read_original


@dataclass(frozen=True)
class Options:
    """Hold what a reader may need besides the path; each takes what concerns its layout.

    Attributes:
        original_config: the official YAML, as a path or parsed, for an original file of other
            sizes than the published ones.
        use_ema: take the running average of the UNet's weights from an original file.
        variant: of the weights in a diffusers folder, such as "fp16".
        use_safetensors: True reads no pickles.
    """

    original_config: str | Path | Mapping[str, Any] | None = None
    use_ema: bool = True
    variant: str | None = None
    use_safetensors: bool | None = None


def _folder(path: Path, options: Options) -> Checkpoint:
    if options.original_config is not None:
        raise ArgumentError(
            "original_config",
            "None for a diffusers folder, which has its own configs",
            repr(options.original_config),
        )
    return read_folder(path, options.variant, options.use_safetensors)


def _original(path: Path, options: Options) -> Checkpoint:
    if options.use_safetensors and is_zipfile(path):
        raise ArgumentError("use_safetensors", f"None for {str(path)!r}, a pickle", "True")
    return read_original(path, options.original_config, options.use_ema)


# What a path has to be, and its reader; the first that fits reads it.
READERS: tuple[tuple[Callable[[Path], bool], Callable[[Path, Options], Checkpoint]], ...] = (
    (Path.is_dir, _folder),
    (Path.is_file, _original),
)


def read_checkpoint(path: Path, options: Options | None = None) -> Checkpoint:
    """Read any checkpoint on this disk: its networks without memory, its weights unread.

    Raises:
        CheckpointError: it is damaged, unsafe, of another architecture or does not fit together.
        ValueError: there is nothing at the path, or the options do not fit it.
    """
    for fits, read in READERS:
        if fits(path):
            return read(path, options or Options())
    raise ArgumentError("source", "a folder or a file", f"{str(path)!r}, which is neither")
