"""What may and may not be of the zip archives of torch.save and of headers, to the byte."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from crafted import mapping, refused, tensor, text, whole, write_archive

from zero123lib.diffusion.checkpoints import archives, maps
from zero123lib.diffusion.checkpoints.archives import MAX_INDEX_BYTES, read_archive
from zero123lib.diffusion.checkpoints.errors import CheckpointError, DamagedCheckpointError
from zero123lib.diffusion.checkpoints.safetensors_files import (
    MAX_HEADER_BYTES,
    Entry,
    write_safetensors,
)
from zero123lib.diffusion.checkpoints.weights import open_tensors

ONE = whole(mapping(text("w"), tensor()))


def stored(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_records_come_in_any_order(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.ckpt", ("a/data/0", b"\0\0\x80?"), ("a/data.pkl", ONE))
    assert open_tensors(path)["w"].tolist() == [1]


@pytest.mark.parametrize("folder", ["é", "模型"])
def test_names_of_folders_are_in_utf_8(folder: str, tmp_path: Path) -> None:
    members = (f"{folder}/data.pkl", ONE), (f"{folder}/data/0", b"\0\0\x80?")
    assert open_tensors(stored(tmp_path / "x.ckpt", *members))["w"].tolist() == [1]


def test_names_without_the_flag_are_in_the_dos_code(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.ckpt", ("a/data.pkl", ONE), ("a/data/0", b"\0\0\x80?"))
    path.write_bytes(path.read_bytes().replace(b"a/data", b"\x82/data"))
    with zipfile.ZipFile(path) as file:
        assert file.namelist()[0] == "é/data.pkl"
    assert open_tensors(path)["w"].tolist() == [1]


def index_of(path: Path, more: int, method: str = "<2L") -> Path:
    """Say that an archive's index begins so many bytes before it does."""
    content = bytearray(path.read_bytes())
    length, offset = struct.unpack_from(method, content, len(content) - 10)
    struct.pack_into(method, content, len(content) - 10, length + more, offset - more)
    path.write_bytes(content)
    return path


def test_an_index_beyond_all_models_is_not_read(tmp_path: Path) -> None:
    record = bytes(MAX_INDEX_BYTES)
    path = index_of(write_archive(tmp_path / "x.ckpt", ONE, record), MAX_INDEX_BYTES)
    with zipfile.ZipFile(write_archive(tmp_path / "y.ckpt", ONE, record)) as file:
        length = len(path.read_bytes()) - file.start_dir - 22 + MAX_INDEX_BYTES
    assert f"whose index takes {length} bytes" in refused(path)


def test_what_is_as_large_as_may_be_is_read(tmp_path: Path, monkeypatch: Any) -> None:
    more = [(f"a/data/{key}", b"\0\0\x80?") for key in range(9)]
    path = stored(tmp_path / "x.ckpt", ("a/data.pkl", ONE), *more)
    with zipfile.ZipFile(path) as file:
        index = path.stat().st_size - file.start_dir - 22
    assert index > len(ONE)
    # What follows a pickle's end is not looked at.
    longer = stored(tmp_path / "y.ckpt", ("a/data.pkl", ONE.ljust(index + 1)), *more)
    for file, what, nbytes in ((path, "index", index), (longer, "data.pkl", index + 1)):
        monkeypatch.setattr(archives, "MAX_INDEX_BYTES", nbytes)
        assert open_tensors(file)["w"].tolist() == [1]
        monkeypatch.setattr(archives, "MAX_INDEX_BYTES", nbytes - 1)
        assert f"whose {what} takes {nbytes} bytes" in refused(file)


def test_an_empty_archive_is_as_short_as_may_be(tmp_path: Path) -> None:
    path = stored(tmp_path / "x.ckpt")
    assert path.stat().st_size == 22
    with open(path, "rb") as file, pytest.raises(DamagedCheckpointError, match=r"data\.pkl"):
        read_archive(file, path)


@pytest.mark.parametrize(("method", "flag"), [(zipfile.ZIP_DEFLATED, 0), (zipfile.ZIP_STORED, 1)])
def test_what_torch_did_not_save_so_says_what_to_do(method: int, flag: int, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a/data.pkl", ONE + bytes(1000))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\1\2") + 8] |= flag
    path.write_bytes(content)
    assert refused(path).endswith(
        "which was compressed or encrypted after torch.save; load it where you trust it, and save "
        "it again with torch.save or as safetensors"
    )


def header(length: int) -> bytes:
    """A safetensors file whose header takes so many bytes."""
    told = {"w": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}}
    return length.to_bytes(8, "little") + json.dumps(told).encode().ljust(length) + b"abc"


def test_a_header_may_be_as_long_as_any_models(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(header(MAX_HEADER_BYTES))
    assert open_tensors(tmp_path / "x")["w"].tolist() == [97, 98, 99]
    (tmp_path / "x").write_bytes(header(MAX_HEADER_BYTES + 8))
    expected = f"at most {MAX_HEADER_BYTES} bytes, got {MAX_HEADER_BYTES + 8} in "
    assert expected in refused(tmp_path / "x")


def test_a_header_of_another_file_is_told_with_its_size_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(header(64) + b"more")
    said = refused(tmp_path / "x", DamagedCheckpointError)
    assert "of 79 bytes, which its header does not describe (" in said
    assert "incomplete metadata, file not fully covered" in said


def test_a_file_that_is_not_mapped_is_named(tmp_path: Path, monkeypatch: Any) -> None:
    def unmapped(*_: Any, **__: Any) -> NoReturn:
        raise OSError("no room")

    monkeypatch.setattr(maps.mmap, "mmap", unmapped)
    (tmp_path / "x").write_bytes(header(64))
    write_archive(tmp_path / "y", ONE)
    for name in ("x", "y"):
        with pytest.raises(CheckpointError, match="mapped into memory") as caught:
            open_tensors(tmp_path / name)
        assert f"{str(tmp_path / name)!r}: no room" in str(caught.value)


def test_what_is_written_already_is_not_made_again(tmp_path: Path) -> None:
    made = []

    def entry(name: str) -> Entry:
        def read() -> torch.Tensor:
            made.append(name)
            return torch.ones(3)

        return Entry((3,), torch.float32, read)

    entries, path = {name: entry(name) for name in "abc"}, tmp_path / "x.safetensors"
    assert list(write_safetensors(path, entries, {})) == [12, 12, 12]
    content = path.read_bytes()
    for missing, again in ((36, "abc"), (25, "abc"), (24, "bc"), (12, "c"), (1, "c"), (0, "")):
        made.clear()
        path.write_bytes(content[: len(content) - missing])
        assert sum(write_safetensors(path, entries, {})) == 36
        assert path.read_bytes() == content and made == list(again)
