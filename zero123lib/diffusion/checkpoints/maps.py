"""A file's pages as tensors: nothing is read until it is used, and nothing written goes back."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import CheckpointError

# Linux refuses a private map that is larger than memory and swap, for all of it could be written
# to; the flag says that it will not be. torch and safetensors map without it. Python names it
# since 3.13.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def map_file(file: BinaryIO, source: Path) -> mmap.mmap:
    """Map a whole file privately, for as long as a tensor over it lives.

    Args:
        file: opened for reading, not empty.
        source: what error messages name.

    Raises:
        CheckpointError: the system does not map it.
    """
    flags, access = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    try:
        return mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "source", "a file that can be mapped into memory", f"{str(source)!r}: {error}"
        ) from error


def numbers(pages: mmap.mmap, offset: int, count: int, dtype: torch.dtype) -> Tensor:
    """Return ``count`` numbers ``[count]`` over the pages from an offset in bytes."""
    if count == 0:
        return torch.empty(0, dtype=dtype, device="cpu")
    return torch.frombuffer(pages, dtype=dtype, count=count, offset=offset)
