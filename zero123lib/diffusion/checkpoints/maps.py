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


class FileMap:
    """A private map of a whole file, for as long as a tensor over it lives."""

    def __init__(self, file: BinaryIO, source: Path) -> None:
        """Map a file.

        Args:
            file: opened for reading, not empty.
            source: what error messages name.

        Raises:
            CheckpointError: the system does not map it.
        """
        try:
            self._map = mmap.mmap(
                file.fileno(),
                0,
                flags=mmap.MAP_PRIVATE | _NORESERVE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )
        except (OSError, ValueError) as error:
            raise CheckpointError(
                "source", "a file that can be mapped into memory", f"{str(source)!r}: {error}"
            ) from error

    def bytes_at(self, offset: int, length: int) -> Tensor:
        """uint8 ``[length]`` over the pages from an offset in bytes; ``length`` at least 1."""
        return torch.frombuffer(self._map, dtype=torch.uint8, count=length, offset=offset)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in these pages; one without elements lies anywhere."""
        start = self.bytes_at(0, 1).data_ptr()
        return tensor.numel() == 0 or start <= tensor.data_ptr() < start + len(self._map)
