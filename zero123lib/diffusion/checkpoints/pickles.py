"""Weights from the archives of torch.save, mapped: plain state dicts and Lightning's files.

torch unpickles with ``weights_only=True`` and an explicit list of names, after a dry run has found
nothing but tensors and plain values. It is told to skip the data, and gets storages over one map
of the file instead: its own ``mmap=True`` cannot map a file larger than the machine's memory, as
the 15.5 GB of zero123-xl.ckpt often is.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from zero123lib.diffusion.checkpoints import allowed
from zero123lib.diffusion.checkpoints.archives import Archive, read_archive
from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
)
from zero123lib.diffusion.checkpoints.maps import FileMap
from zero123lib.diffusion.checkpoints.opcodes import Storage, dry_run

# torch keeps its list of allowed names for the whole process; ours are on it during one load.
_ONE_AT_A_TIME = threading.Lock()


class _Inert:
    """Stands in for any class: takes whatever a pickle gives it, and does nothing."""

    def __new__(cls, *arguments: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _InertDict:
    """Stands in for classes of dicts with a plain one, which is all that torch fills."""

    def __new__(cls, *arguments: Any) -> Any:
        return {}


_STAND_INS = [
    *((_Inert, name) for name in sorted(allowed.INERT)),
    *((_InertDict, name) for name in sorted(allowed.INERT_DICTS)),
]


def read_pickled(file: BinaryIO, source: Path) -> dict[str, Tensor]:
    """The tensors of an archive by name, over the file's pages: of its ``state_dict`` or its own.

    Args:
        file: the archive, opened for reading.
        source: what error messages name.

    Raises:
        UnsafeCheckpointError: reading it would run code, or take memory that it does not back.
        DamagedCheckpointError: it was cut short, or is no archive of torch.save.
        UnsupportedCheckpointError: it is a program, or of a machine with another byte order.
        MismatchedCheckpointError: it holds no tensors by name.
    """
    archive = read_archive(file, source)
    references = dry_run(archive.pickle, source)
    _check_records(references, archive, source)
    pages = FileMap(file, source)
    mapped = _in_order_of_loading(references, archive, pages)

    def storage(skipped: torch.UntypedStorage, location: str) -> torch.UntypedStorage:
        if skipped.nbytes() == 0:  # some versions of torch ask for these again and again
            return skipped
        found = next(mapped)
        if found.nbytes() != skipped.nbytes():
            raise ValueError("storages out of order")
        return found

    tensors = _named_tensors(_load(file, storage, source), source)
    if not all(map(pages.holds, tensors.values())):
        raise RuntimeError("torch.load skipped the data, but did not take the mapped storages")
    return tensors


def _check_records(references: list[Storage], archive: Archive, source: Path) -> None:
    """Each storage is one record, as long as the pickle says."""
    known: dict[str, Storage] = {}
    for storage in references:
        record = archive.records.get(f"data/{storage.key}")
        if record is None:
            raise DamagedCheckpointError(
                "source",
                "an archive of torch.save",
                f"{str(source)!r}, which lacks {'data/' + storage.key!r}; download it again",
            )
        if record[1] != storage.nbytes or known.setdefault(storage.key, storage) != storage:
            raise UnsafeCheckpointError(
                "source",
                "an archive of torch.save",
                f"{str(source)!r}, whose pickle takes the {record[1]} bytes of "
                f"{'data/' + storage.key!r} for {storage.count} elements of a "
                f"{storage.kind}",
            )


def _in_order_of_loading(
    references: list[Storage], archive: Archive, pages: FileMap
) -> Iterator[torch.UntypedStorage]:
    """Storages as torch first meets them, each once, without the empty ones."""
    for storage in dict.fromkeys(references):
        if storage.nbytes:
            offset, length = archive.records[f"data/{storage.key}"]
            yield pages.bytes_at(offset, length).untyped_storage()


def _load(file: BinaryIO, storage: Any, source: Path) -> Any:
    file.seek(0)
    allow = torch.serialization.safe_globals(_STAND_INS)
    skip = torch.serialization.skip_data()
    try:
        with _ONE_AT_A_TIME, allow, skip:
            return torch.load(file, map_location=storage, weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            "source",
            "a pickle of tensors and plain values",
            f"{str(source)!r}, which torch.load does not read with "
            "weights_only=True; use a safetensors file in its place",
        ) from error
    except (
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        AssertionError,
        ArithmeticError,
        EOFError,
        StopIteration,
    ) as error:
        raise DamagedCheckpointError(
            "source",
            "an archive of torch.save",
            f"{str(source)!r}, which torch cannot read ({type(error).__name__}); download it again",
        ) from error


def _named_tensors(loaded: Any, source: Path) -> dict[str, Tensor]:
    """Of ``state_dict``, else of the dict itself, without what is no tensor and hooks on some."""
    state = loaded
    # A pickle may set attributes of an OrderedDict, its methods among them: those of dict are safe.
    if isinstance(loaded, dict) and isinstance(dict.get(loaded, "state_dict"), dict):
        state = dict.get(loaded, "state_dict")
    items = dict.items(state) if isinstance(state, dict) else ()
    tensors = {
        name: tensor.detach()
        for name, tensor in items
        if isinstance(name, str) and isinstance(tensor, Tensor)
    }
    if not tensors:
        held = ", ".join(repr(name) for name, _ in list(items)[:5] if isinstance(name, str))
        raise MismatchedCheckpointError(
            "source",
            "tensors by name, or a state_dict of them",
            f"{str(source)!r}, which holds {held or 'a ' + type(state).__name__}",
        )
    return tensors
