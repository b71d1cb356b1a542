"""Weights files, opened by what they are and not by what they are called.

A file is safetensors or an archive of torch.save. Whatever else it is, a web page or a pointer in
place of a download, or a pickle that could only be read by running it, gets a name and an advice.
Pickles of torch before 1.6, of 2020, are not read: they have no records that could be mapped, and
every Zero123 is younger.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.checkpoints.pickles import read_pickled
from zero123lib.diffusion.checkpoints.safetensors_files import LENGTH_BYTES, read_safetensors

# torch.save before 1.6 began with the pickle of this number, in protocol 2.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_TAR_AT = 257  # where POSIX has "ustar"

_AGAIN = "download the file itself"
# Beginnings of files that are no weights: what each is, and what to do.
_NOT_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer", "run git lfs pull, or " + _AGAIN),
    (b"<", "a web page or XML", f"the address may need a log-in, or name a page; {_AGAIN}"),
    (b"{", "JSON text", f"name a weights file, or its folder, not its index; {_AGAIN}"),
    (b"model:", "YAML text", "give it as original_config, and the weights as source"),
    (b"PK\5\6", "an empty zip archive", _AGAIN),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file", "Keras models are not read"),
    (b"\x93NUMPY", "a numpy array", "a model has many by name"),
    (b"GGUF", "a GGUF file", "quantised language models are not read"),
)


def open_tensors(path: str | Path) -> Mapping[str, Tensor]:
    """Every tensor of one weights file, by name.

    Opening reads names and shapes alone. Each tensor lies over the file's pages, which the system
    reads when they are used and may drop again; writing to one changes its own copy, not the file.
    Of Lightning's files these are the tensors of ``state_dict``. Nothing of the file is run.

    Args:
        path: a safetensors file or an archive of torch.save (.ckpt, .bin, .pth, .pt), whatever its
            name ends with.

    Returns:
        Dense tensors on the CPU, as they were saved; several may share memory, as they did then.

    Raises:
        UnsafeCheckpointError: reading it would run code, or take memory that it does not back.
        DamagedCheckpointError: it is absent, truncated, or no weights file at all.
        UnsupportedCheckpointError: weights of a kind that is not read.
        MismatchedCheckpointError: it holds no tensors by name.
    """
    source = Path(path)
    try:
        if not stat.S_ISREG(source.stat().st_mode):  # before open, which waits for a pipe's writer
            raise _damaged(source, "a folder" if source.is_dir() else "no regular file", "")
        with source.open("rb") as file:
            start = file.read(512)
            if start.startswith(b"PK\3\4"):
                return read_pickled(file, source)
            _refuse_others(start, source)
            return read_safetensors(file, source)
    except FileNotFoundError as error:
        raise _damaged(source, "no file", "check the path") from error
    except OSError as error:
        raise CheckpointError(
            "source", "a weights file that can be read", f"{str(source)!r}: {error.strerror}"
        ) from error


def _refuse_others(start: bytes, source: Path) -> None:
    """Raise for what is no safetensors: a binary length, then JSON, which begins with a brace."""
    if b"\0" in start[:LENGTH_BYTES] and start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        return
    if not start:
        raise _damaged(source, "an empty file", "the download failed; try it again")
    for magic, name, advice in _NOT_WEIGHTS:
        if start.lstrip().startswith(magic):
            raise _damaged(source, name, advice)
    if start.startswith(_OLD_TORCH):
        raise UnsupportedCheckpointError(
            "source",
            "weights that can be mapped",
            f"{str(source)!r}, a pickle of torch before 1.6; where you trust it, "
            "torch.load it and save it as safetensors",
        )
    if start.startswith(b"\x80") or start[_TAR_AT:].startswith(b"ustar"):
        raise UnsafeCheckpointError(
            "source",
            "safetensors or an archive of torch.save",
            f"{str(source)!r}, a bare pickle or tar archive, which can only be read "
            "by running it; nothing of it was run. Use a safetensors file in its "
            "place",
        )
    raise _damaged(source, "which is neither", _AGAIN)


def _damaged(source: Path, what: str, advice: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        "source",
        "safetensors or an archive of torch.save",
        f"{str(source)!r}, {what}{advice and '; ' + advice}",
    )
