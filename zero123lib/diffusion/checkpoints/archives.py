"""The zip archive of torch.save: where its records lie, checked before torch sees the file.

An archive holds one folder, with the pickle ``data.pkl`` and a record ``data/<key>`` per storage,
all as they are, not compressed, so that they can be mapped. Its index, a zip file's central
directory, is at the end. Section numbers are those of PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)

# Of a pickle, and of an index. The pickle of 5000 named tensors, more than a UNet with its average
# and its optimizer's states, takes 0.8 MB; objects in memory may take sixty times as much.
MAX_INDEX_BYTES = 2**23

_END = struct.Struct("<4s4H2LH")  # 4.3.16
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_HEADER = struct.Struct("<4s5H3L2H")  # 4.3.7
_ENCRYPTED, _UTF_8 = 0x1, 0x800  # 4.4.4


@dataclass(frozen=True)
class Archive:
    """The bytes of ``data.pkl``, and each record's offset in the file and length in bytes."""

    pickle: bytes
    records: dict[str, tuple[int, int]]


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
    index = _index_offset(file, source)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise _damaged(source, "whose index cannot be read") from error
    if not entries:
        raise _damaged(source, "which is an empty zip archive")
    folder = _folder(entries, source)
    records, end = {}, 0
    for entry in entries:
        apart = end <= entry.header_offset < index
        _require(apart, source, "whose entries overlap, or lie outside of it")
        start = _data_offset(file, entry, source)
        end = start + entry.file_size
        records[entry.filename.removeprefix(folder)] = (start, entry.file_size)
    _require(end <= index, source, "whose entries overlap, or lie outside of it")
    return _archive(file, records, source)


def _index_offset(file: BinaryIO, source: Path) -> int:
    """Where the index begins, which ends where the file's last record begins."""
    end = file.seek(0, 2) - _END.size
    signature, *_, length, offset, comment = _unpack(_END, file, end)
    if signature != b"PK\5\6" or comment:
        raise _damaged(source, "which ends without its index, so a download stopped half-way")
    signature, _, end_64, _ = _unpack(_LOCATOR, file, end - _LOCATOR.size)
    if signature == b"PK\6\7":
        end -= _LOCATOR.size + _END_64.size
        signature, *_, length, offset = _unpack(_END_64, file, end)
        agrees = signature == b"PK\6\6" and end == end_64
        _require(agrees, source, "whose index contradicts itself")
    _require(offset + length == end, source, "whose index contradicts itself")
    _require(length <= MAX_INDEX_BYTES, source, f"whose index takes {length} bytes")
    return offset


def _unpack(record: struct.Struct, file: BinaryIO, offset: int) -> tuple:
    if offset < 0:
        return record.unpack(bytes(record.size))
    file.seek(offset)
    return record.unpack(file.read(record.size).ljust(record.size, b"\0"))


def _folder(entries: list[zipfile.ZipInfo], source: Path) -> str:
    """The one folder that all entries are in, with its slash."""
    names = [entry.filename for entry in entries]
    folder = names[0].partition("/")[0] + "/"
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
    # torch finds records without regard to case, and ends names at a zero byte.
    distinct = len({name.lower() for name in names}) == len(names)
    whole = all(entry.filename == entry.orig_filename for entry in entries)
    _require(distinct and whole, source, "which has two entries of one name")
    if not all(name.startswith(folder) for name in names):
        raise _damaged(source, "which is a zip archive, but not one of torch.save")
    return folder


def _data_offset(file: BinaryIO, entry: zipfile.ZipInfo, source: Path) -> int:
    """Where an entry's data begin, behind a header of their own."""
    signature, *_, name_length, extra_length = _unpack(_HEADER, file, entry.header_offset)
    encoding = "utf-8" if entry.flag_bits & _UTF_8 else "cp437"
    same = file.read(name_length) == entry.filename.encode(encoding)
    agrees = signature == b"PK\3\4" and same
    _require(agrees, source, "whose entries contradict its index")
    return entry.header_offset + _HEADER.size + name_length + extra_length


def _archive(file: BinaryIO, records: dict[str, tuple[int, int]], source: Path) -> Archive:
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


def _read(file: BinaryIO, records: dict[str, tuple[int, int]], name: str, source: Path) -> bytes:
    offset, length = records.get(name, (0, 0))
    _require(length <= MAX_INDEX_BYTES, source, f"whose {name} takes {length} bytes")
    file.seek(offset)
    return file.read(length)


def _require(condition: bool, source: Path, got: str) -> None:
    if not condition:
        raise UnsafeCheckpointError("source", "an archive of torch.save", f"{str(source)!r}, {got}")


def _damaged(source: Path, got: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        "source", "an archive of torch.save", f"{str(source)!r}, {got}; download it again"
    )
