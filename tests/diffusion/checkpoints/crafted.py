"""Archives and pickles put together by hand, where torch and Python would not write them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from zero123lib.diffusion.checkpoints.errors import CheckpointError, UnsafeCheckpointError
from zero123lib.diffusion.checkpoints.weights import open_tensors


def name(module: str, attribute: str) -> bytes:
    """Opcodes of protocol 2, here and below."""
    return f"c{module}\n{attribute}\n".encode()


def text(value: str | Path) -> bytes:
    encoded = str(value).encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def call(callee: bytes, *arguments: bytes) -> bytes:
    return callee + b"(" + b"".join(arguments) + b"tR"


def mapping(*items: bytes) -> bytes:
    return b"}(" + b"".join(items) + b"u"


def tensor(
    kind: str = "FloatStorage",
    key: bytes | None = None,
    count: int = 1,
    offset: int = 0,
    shape: tuple[int, ...] = (1,),
    strides: tuple[int, ...] = (1,),
) -> bytes:
    """One of plain numbers, over a storage of `count` elements."""
    storage = b"(" + text("storage") + name("torch", kind) + (key or text("0")) + text("cpu")
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage + integer(count) + b"tQ",
        integer(offset),
        b"(" + b"".join(map(integer, shape)) + b"t",
        b"(" + b"".join(map(integer, strides)) + b"t",
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def integer(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def whole(value: bytes) -> bytes:
    return b"\x80\x02" + value + b"."


def write_archive(path: Path, data: bytes, record: bytes = b"\0\0\x80?") -> Path:
    """An archive with one record, of the number 1 unless told."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", data)
        file.writestr("a/version", b"3\n")
        file.writestr("a/data/0", record)
    return path


def refused(path: Path, error: type[CheckpointError] = UnsafeCheckpointError) -> str:
    with pytest.raises(error, match="^source: expected") as caught:
        open_tensors(path)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert repr(str(path)) in str(caught.value)
    return str(caught.value)
