"""Weights from safetensors files, mapped.

The library checks the header: its length and its JSON, that dtype, shape and offsets of every
tensor agree, that the tensors follow each other without gaps or overlaps, and end with the file.
It would map the file for torch in a way that fails for one larger than the machine's memory, so
that it is asked for names, dtypes and shapes alone; the offsets follow, there being no gaps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.checkpoints.maps import FileMap

# The library takes 100 MB; a thousand tensors need some 100 kB.
MAX_HEADER_BYTES = 2**23
LENGTH_BYTES = 8

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def read_safetensors(file: BinaryIO, source: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name, over the file's pages.

    Args:
        file: opened for reading.
        source: its path.

    Raises:
        UnsafeCheckpointError: its header is larger than any model's.
        DamagedCheckpointError: header and file do not fit together.
        UnsupportedCheckpointError: it holds numbers of a kind that no Zero123 model has.
    """
    size = file.seek(0, 2)
    file.seek(0)
    length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    if length > MAX_HEADER_BYTES:
        raise UnsafeCheckpointError(
            "source",
            f"a safetensors header of at most {MAX_HEADER_BYTES} bytes",
            f"{length} in {str(source)!r}",
        )
    tensors = {}
    try:
        with safe_open(source, framework="numpy") as opened:
            pages = FileMap(file, source)
            offset = LENGTH_BYTES + length
            for name in opened.offset_keys():
                described = opened.get_slice(name)
                dtype = _dtype(described.get_dtype(), name, source)
                tensors[name] = _tensor(pages, offset, dtype, described.get_shape())
                offset += tensors[name].nbytes
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(
            "source",
            "a whole safetensors file",
            f"{str(source)!r} of {size} bytes, which its header does not describe ("
            f"{reason}); if a download stopped half-way, download it again",
        ) from error
    return tensors


def _dtype(name: str, tensor: str, source: Path) -> torch.dtype:
    if name not in _DTYPES:
        raise UnsupportedCheckpointError(
            "source",
            f"numbers of one of {', '.join(_DTYPES)}",
            f"{name} for {tensor!r} in {str(source)!r}; quantised weights have to "
            "be converted back first",
        )
    return _DTYPES[name]


def _tensor(pages: FileMap, offset: int, dtype: torch.dtype, shape: list[int]) -> Tensor:
    length = math.prod(shape) * dtype.itemsize
    if length == 0:
        return torch.empty(shape, dtype=dtype, device="cpu")
    return pages.bytes_at(offset, length).view(dtype).reshape(shape)
