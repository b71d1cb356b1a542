"""The zip archive of torch.save: where its records lie.

An archive holds one folder, with the pickle ``data.pkl`` and a record ``data/<key>`` per storage,
all as they are, not compressed, so that they can be mapped. Section numbers are those of PKWARE's
APPNOTE.TXT.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)

# Of a pickle, and of an index. The pickle of 5000 named tensors, more than a UNet with its average
# and its optimizer's states, takes 0.8 MB; objects in memory may take sixty times as much.
MAX_INDEX_BYTES = 2**23

_END_BYTES = 22  # 4.3.16, without a comment
_HEADER = struct.Struct("<4s5H3L2H")  # 4.3.7
_ENCRYPTED, _UTF_8 = 0x1, 0x800  # 4.4.4


@dataclass(frozen=True)
class Archive:
    """The bytes of ``data.pkl``, and each record's offset in the file and length in bytes."""

    pickle: bytes
    records: dict[str, tuple[int, int]]


class _Bounded:
    """A file of which no more is read at once than an index may take."""

    def __init__(self, file: BinaryIO, source: Path) -> None:
        self._file, self._source = file, source
        self.seek, self.tell = file.seek, file.tell

    def read(self, length: int = _END_BYTES) -> bytes:
        _require(length <= MAX_INDEX_BYTES, self._source, f"whose index takes {length} bytes")
        return self._file.read(length)


def read_archive(file: BinaryIO, source: Path) -> Archive:
    """Read an archive's index and its pickle, none of its data.

    Args:
        file: the archive, at any position.
        source: what error messages name.

    Raises:
        DamagedCheckpointError: it was cut short, or is no archive of torch.save.
        UnsafeCheckpointError: its index contradicts itself, or what it holds is compressed.
        UnsupportedCheckpointError: it is a program, or of a machine with another byte order.
    """
    file.seek(max(0, file.seek(0, 2) - _END_BYTES))
    end = file.read()
    if end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise _damaged(source, "which ends without its index, so a download stopped half-way")
    bounded: Any = _Bounded(file, source)
    try:
        with zipfile.ZipFile(bounded) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            index = archive.start_dir
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        if isinstance(error, UnsafeCheckpointError):
            raise
        raise _unsafe(source, "whose index contradicts itself") from error
    names = [entry.filename for entry in entries]
    folder = names[0].partition("/")[0] + "/" if names else ""
    _check_entries(entries, folder, source)
    records, start = {}, 0
    for entry in entries:
        inside = start <= entry.header_offset < index
        _require(inside, source, "whose entries overlap, or lie outside of it")
        offset = _data_offset(file, entry, source)
        start = offset + entry.file_size
        records[entry.filename.removeprefix(folder)] = (offset, entry.file_size)
    _require(start <= index, source, "whose entries overlap, or lie outside of it")
    if "data.pkl" not in records:
        raise _damaged(source, "which is a zip archive without torch.save's data.pkl")
    if _read(file, records, "byteorder", source) not in (b"", b"little"):
        raise UnsupportedCheckpointError(
            "source",
            "little-endian weights",
            f"{str(source)!r}, which was saved on a machine of another byte order; "
            "save it as safetensors there",
        )
    return Archive(_read(file, records, "data.pkl", source), records)


def _check_entries(entries: list[zipfile.ZipInfo], folder: str, source: Path) -> None:
    """Raise unless all entries are in the folder, as they are, each of its own name."""
    names = [entry.filename for entry in entries]
    if folder + "constants.pkl" in names:
        raise UnsupportedCheckpointError(
            "source",
            "weights",
            f"{str(source)!r}, which is a TorchScript program; use the weights that "
            "it was made from",
        )
    stored = all(
        entry.compress_type == zipfile.ZIP_STORED
        and entry.compress_size == entry.file_size
        and not entry.flag_bits & _ENCRYPTED
        for entry in entries
    )
    advice = "load it where you trust it, and save it again with torch.save or as safetensors"
    _require(stored, source, f"which was compressed or encrypted after torch.save; {advice}")
    # torch finds records without regard to case.
    distinct = len({name.lower() for name in names}) == len(names)
    _require(distinct, source, "which has two entries of one name")
    if not all(name.startswith(folder) for name in names):
        raise _damaged(source, "which is a zip archive, but not one of torch.save")


def _data_offset(file: BinaryIO, entry: zipfile.ZipInfo, source: Path) -> int:
    """Return where an entry's data begin, behind a header of their own."""
    file.seek(entry.header_offset)
    header = file.read(_HEADER.size).ljust(_HEADER.size, b"\0")
    signature, *_, name_length, extra_length = _HEADER.unpack(header)
    encoding = "utf-8" if entry.flag_bits & _UTF_8 else "cp437"
    same = file.read(name_length) == entry.filename.encode(encoding)
    _require(signature == b"PK\3\4" and same, source, "whose entries contradict its index")
    return entry.header_offset + _HEADER.size + name_length + extra_length


def _read(file: BinaryIO, records: dict[str, tuple[int, int]], name: str, source: Path) -> bytes:
    offset, length = records.get(name, (0, 0))
    _require(length <= MAX_INDEX_BYTES, source, f"whose {name} takes {length} bytes")
    file.seek(offset)
    return file.read(length)


def _require(condition: bool, source: Path, got: str) -> None:
    if not condition:
        raise _unsafe(source, got)


def _unsafe(source: Path, got: str) -> UnsafeCheckpointError:
    return UnsafeCheckpointError("source", "an archive of torch.save", f"{str(source)!r}, {got}")


def _damaged(source: Path, got: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        "source", "an archive of torch.save", f"{str(source)!r}, {got}; download it again"
    )
