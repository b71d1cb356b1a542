"""safetensors files: read over their pages, and written tensor by tensor.

The format is little: eight bytes with the length of a JSON header, the header, the data. Reading,
the library checks the header: its length and its JSON, that dtype, shape and offsets of every
tensor agree, that the tensors follow each other without gaps or overlaps, and end with the file. It
would map the file for torch in a way that fails for one larger than the machine's memory, so that
it is asked for names, dtypes and shapes alone; the offsets follow, there being no gaps. Its writer
wants all tensors of a file in memory at once, and tells nothing until it is done.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
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
from zero123lib.diffusion.checkpoints.maps import map_file, numbers

# The library takes 100 MB; a thousand tensors need some 100 kB.
MAX_HEADER_BYTES = 2**23
LENGTH_BYTES = 8

# The format's names (safetensors README, "Format").
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def read_safetensors(file: BinaryIO, source: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name, over the file's pages.

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
    tensors, offset = {}, LENGTH_BYTES + length
    try:
        with safe_open(source, framework="numpy") as opened:
            pages = map_file(file, source)
            for name in opened.offset_keys():
                described = opened.get_slice(name)
                dtype, shape = described.get_dtype(), described.get_shape()
                if dtype not in _DTYPES:
                    raise UnsupportedCheckpointError(
                        "source",
                        f"numbers of one of {', '.join(_DTYPES)}",
                        f"{dtype} for {name!r} in {str(source)!r}; quantised weights have to "
                        "be converted back first",
                    )
                tensor = numbers(pages, offset, math.prod(shape), _DTYPES[dtype])
                tensors[name] = tensor.reshape(shape)
                offset += tensor.nbytes
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(
            "source",
            "a whole safetensors file",
            f"{str(source)!r} of {size} bytes, which its header does not describe ("
            f"{reason}); if a download stopped half-way, download it again",
        ) from error
    return tensors


@dataclass(frozen=True, eq=False)
class Entry:
    """A tensor of a file that is to be written; ``read`` makes it when its turn comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        """Count the bytes of its data."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_safetensors(
    path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]
) -> Generator[int]:
    """Write a file, or go on with it after the tensors that are in it.

    Args:
        path: of an unfinished file; what it holds must be a beginning of the same file.
        entries: by name.
        metadata: of the file.

    Yields:
        The bytes of each tensor's data once it is written, those from before at once.

    Raises:
        OSError: it cannot be written; what is there can be gone on with.
    """
    if sys.byteorder != "little":
        raise OSError("safetensors files hold little-endian numbers, which this machine has not")
    # Wide numbers first, so that each lies at a multiple of its width.
    order = sorted(entries, key=lambda name: (-entries[name].dtype.itemsize, name))
    content: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        entry, start = entries[name], end
        end += entry.nbytes
        described = {"dtype": _NAMES[entry.dtype], "shape": list(entry.shape)}
        content[name] = {**described, "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "ab") as file:
        held = file.tell() - LENGTH_BYTES - len(text)
        if held < 0:
            file.truncate(0)
            file.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
        done = 0
        while order and done + entries[order[0]].nbytes <= held:
            done += entries[order.pop(0)].nbytes
        if held >= 0:
            file.truncate(LENGTH_BYTES + len(text) + done)
        if done:
            yield done
        for name in order:
            entry = entries[name]
            tensor = entry.read()
            assert (tuple(tensor.shape), tensor.dtype) == (entry.shape, entry.dtype), name
            data = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(data.view(torch.uint8).numpy().data)
            yield entry.nbytes
        file.flush()
        os.fsync(file.fileno())
