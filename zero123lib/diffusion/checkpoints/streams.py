"""safetensors files written tensor by tensor.

The library's own writer wants all tensors of a file in memory at once, and tells nothing until it
is done. The format is little: eight bytes with the length of a JSON header, the header, the data.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

# The format's names (safetensors README, "Format").
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
}


@dataclass(frozen=True, eq=False)
class Entry:
    """A tensor to write: what it will be, and how to get it when its turn has come."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        """Of its data."""
        count = 1
        for side in self.shape:
            count *= side
        return count * self.dtype.itemsize


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
    header, ends = _header(entries, order, metadata)
    held = path.stat().st_size if path.exists() else 0
    done = [end for end in ends if end <= held - len(header)]
    with open(path, "r+b" if held >= len(header) else "wb") as file:
        if held < len(header):
            file.write(header)
        file.truncate(len(header) + (done[-1] if done else 0))
        file.seek(0, os.SEEK_END)
        if done:
            yield done[-1]
        for name in order[len(done) :]:
            entry = entries[name]
            tensor = entry.read()
            assert (tuple(tensor.shape), tensor.dtype) == (entry.shape, entry.dtype), name
            data = tensor.detach().cpu().contiguous().reshape(-1)
            file.write(data.view(torch.uint8).numpy().data)
            yield entry.nbytes
        file.flush()
        os.fsync(file.fileno())


def _header(
    entries: Mapping[str, Entry], order: list[str], metadata: Mapping[str, str]
) -> tuple[bytes, list[int]]:
    """The beginning of the file, and where each tensor's data ends after it."""
    content: dict[str, object] = {"__metadata__": dict(metadata)}
    ends: list[int] = []
    start = 0
    for name in order:
        entry = entries[name]
        end = start + entry.nbytes
        content[name] = {
            "dtype": DTYPES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, end],
        }
        ends.append(end)
        start = end
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, ends
