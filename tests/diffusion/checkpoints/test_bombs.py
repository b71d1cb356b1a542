"""Files that lie about sizes, or would take memory or the process: refused, by type."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from crafted import call, integer, mapping, name, refused, tensor, text, whole, write_archive
from safetensors.torch import save

from zero123lib.diffusion.checkpoints.archives import MAX_INDEX_BYTES
from zero123lib.diffusion.checkpoints.errors import DamagedCheckpointError, UnsafeCheckpointError
from zero123lib.diffusion.checkpoints.safetensors_files import MAX_HEADER_BYTES
from zero123lib.diffusion.checkpoints.weights import open_tensors


def saved(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def test_what_is_crafted_here_opens_when_nothing_is_wrong_with_it(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x", whole(mapping(text("w"), tensor())))
    assert open_tensors(path)["w"].tolist() == [1]


def test_a_stretched_tensor_is_not_backed_by_its_storage(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"w": torch.zeros(1).expand(2**40)}, path)
    assert path.stat().st_size < 2000
    assert torch.load(path, weights_only=True)["w"].numel() == 2**40
    assert f"shape [{2**40}] over a storage of 1 elements" in refused(path)


@pytest.mark.parametrize(
    "bad",
    [
        tensor(count=2),
        tensor(count=2**61),
        tensor(count=-1),
        tensor(kind="DoubleStorage"),
        tensor(offset=1),
        tensor(offset=-1),
        tensor(shape=(2,)),
        tensor(shape=(1, 2**62, 4), strides=(0, 0, 0)),
        tensor(shape=(-1,)),
        tensor(strides=(-1,), shape=(2,)),
        tensor(strides=(1, 1)),
        tensor() + text("v") + tensor(kind="IntStorage"),
        call(name("torch", "FloatStorage"), integer(2**40)),
        call(name("torch.storage", "UntypedStorage"), integer(2**40)),
        call(name("torch", "Tensor"), integer(2**40)),
        call(name("builtins", "bytearray"), integer(2**40)),
        call(name("_codecs", "encode"), text("é" * 1000), text("punycode")),
        call(name("collections", "OrderedDict"), b"](" + b"N\x85" * 9 + b"e"),
    ],
)
def test_pickles_may_not_ask_for_more_than_their_records_hold(bad: bytes, tmp_path: Path) -> None:
    refused(write_archive(tmp_path / "x.ckpt", whole(mapping(text("w"), bad))))


def test_a_record_that_is_not_there_is_a_damage(tmp_path: Path) -> None:
    data = whole(mapping(text("w"), tensor(key=text("1"))))
    message = refused(write_archive(tmp_path / "x.ckpt", data), DamagedCheckpointError)
    assert "lacks 'data/1'" in message


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        lambda: torch.ones(3, device="meta"),
        lambda: torch.ones(3, dtype=torch.complex64).conj(),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        lambda: torch.ones(3, dtype=torch.uint16),
    ],
    ids=["sparse", "quantised", "meta", "conjugate", "nested", "uint16"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_plain_are_refused(make: Callable, tmp_path: Path) -> None:
    torch.save({"w": make()}, tmp_path / "x.ckpt")
    refused(tmp_path / "x.ckpt")


LOAD = """
import sys, threading, torch
threading.stack_size(2**20)
load = threading.Thread(target=torch.load, args=sys.argv[1:], kwargs={"weights_only": True})
load.start()
load.join()
print("alive")
"""


def test_a_tuple_nested_deeply_would_end_the_process(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.ckpt", whole(b"})" + b"\x85" * 10**5 + b"Ns"))
    assert "in tuples" in refused(path)
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True)
    assert b"alive" not in done.stdout


def test_a_tuple_of_itself_twice_over_would_never_be_hashed(tmp_path: Path) -> None:
    doubled = b")" + b"q\1h\1\x86" * 64
    assert "in tuples" in refused(write_archive(tmp_path / "x", whole(b"}" + doubled + b"Ns")))


def test_a_storages_name_may_not_be_made_of_lists(tmp_path: Path) -> None:
    lists = b"(]q\1" + b"](h\1h\1eq\1" * 64 + b"t"  # the last would be 2**64 brackets in writing
    content = mapping(text("lists"), lists, text("w"), tensor(key=b"h\1"))
    assert "no storage" in refused(write_archive(tmp_path / "x.ckpt", whole(content)))


@pytest.mark.parametrize("name", ["a/data.pkl", "a/DATA.PKL", "a/data/0"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_records_of_one_name_are_refused(name: str, tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.ckpt", whole(mapping(text("w"), tensor())))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(name, whole(b"}"))
    assert "two entries of one name" in refused(path)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path, zeros = tmp_path / "x.ckpt", 2**26
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a/data.pkl", whole(mapping(text("w"), tensor(count=zeros // 4))))
        file.writestr("a/data/0", bytes(zeros))
    assert path.stat().st_size < zeros / 500
    assert "compressed" in refused(path)


def test_a_pickle_or_an_index_beyond_all_models_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.ckpt", whole(b"]" + b"0" * MAX_INDEX_BYTES))
    assert f"data.pkl takes {MAX_INDEX_BYTES + 4} bytes" in refused(path)
    content = bytearray(saved({"w": torch.ones(1)}))
    length, offset = struct.unpack_from("<QQ", content, len(content) - 58)
    struct.pack_into("<QQ", content, len(content) - 58, length + 2**32, offset)
    path.write_bytes(content)
    assert "contradicts itself" in refused(path)


# Offsets in an entry of the index: how it is stored, its sizes, and where its header lies.
ENTRY = {"method": (10, "<H"), "size": (24, "<L"), "header": (42, "<L"), "flags": (8, "<H")}


LIES = [("size", 2**30), ("size", 0), ("header", 2**30), ("header", 1), ("method", 8), ("flags", 1)]


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [(record, *lie) for record in ("a/data.pkl", "a/data/0") for lie in LIES]
    + [("a/data/0", "header", 0)],
)
def test_an_index_that_lies_is_refused(record: str, field: str, value: int, tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.ckpt", whole(mapping(text("w"), tensor())))
    content = bytearray(path.read_bytes())
    entry = content.rindex(record.encode()) - 46
    assert content[entry : entry + 4] == b"PK\1\2"
    offset, layout = ENTRY[field]
    struct.pack_into(layout, content, entry + offset, value)
    if field == "size":  # both of them, so that it does not pass for compressed
        struct.pack_into(layout, content, entry + offset - 4, value)
    path.write_bytes(content)
    with pytest.raises((UnsafeCheckpointError, DamagedCheckpointError)):
        open_tensors(path)


def test_headers_have_the_names_of_the_index(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.ckpt", whole(mapping(text("w"), tensor())))
    path.write_bytes(path.read_bytes().replace(b"a/data/0", b"a/data/1", 1))
    assert "contradict its index" in refused(path)


def test_a_pickle_and_an_index_may_not_lie_together(tmp_path: Path) -> None:
    data = whole(mapping(text("w"), tensor(count=2**28)))
    path = write_archive(tmp_path / "x.ckpt", data)
    content = bytearray(path.read_bytes())
    struct.pack_into("<2L", content, content.rindex(b"a/data/0") - 26, 2**30, 2**30)
    path.write_bytes(content)
    assert "outside of it" in refused(path)


def test_records_within_records_are_refused(tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "inner", b"", b"1234").read_bytes()
    header = inner.index(b"a/data/0") - 30
    path = write_archive(tmp_path / "x.ckpt", whole(mapping(text("w"), tensor())))
    with zipfile.ZipFile(path, "a") as file:
        outer = file.start_dir + 30 + len("a/outer")
        file.writestr("a/outer", inner[header : header + 30 + len("a/data/0") + 4])
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(b"a/data/0") - 4, outer)
    path.write_bytes(content)
    assert zipfile.ZipFile(path).namelist()[2:] == ["a/data/0", "a/outer"]
    assert "overlap" in refused(path)


@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.9, 0.99, 0.999])
def test_truncated_files_are_called_so(kept: float, tmp_path: Path) -> None:
    for content in (saved({"w": torch.ones(999)}), save({"w": torch.ones(999)})):
        path = tmp_path / "x"
        path.write_bytes(content[: int(len(content) * kept)])
        assert "download" in refused(path, DamagedCheckpointError)


def safetensors(header: Any, data: bytes = bytes(16), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_headers_beyond_all_models_are_refused(tmp_path: Path) -> None:
    padded = json.dumps({"w": entry()}).encode().ljust(MAX_HEADER_BYTES + 1)
    for content in (safetensors({"w": entry()}, length=2**60), safetensors(padded)):
        (tmp_path / "x").write_bytes(content)
        assert "header of at most" in refused(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [
        safetensors({"w": entry(offsets=(0, 32), shape=(8,))}),
        safetensors({"w": entry(offsets=(1, 17))}),
        safetensors({"w": entry(), "v": entry()}),
        safetensors({"w": entry(), "v": entry(offsets=(8, 24))}, bytes(24)),
        safetensors({"w": entry(), "v": entry(offsets=(20, 36))}, bytes(36)),
        safetensors({"w": entry(offsets=(16, 0))}),
        safetensors({"w": entry(offsets=(-16, 0))}),
        safetensors({"w": entry(shape=(5,))}),
        safetensors({"w": entry(shape=(2**62, 4))}),
        safetensors({"w": entry(shape=(-4,))}),
        safetensors({"w": entry(dtype="F64")}),
        safetensors({"w": entry(dtype="O")}),
        safetensors({"w": entry()}, bytes(17)),
        safetensors({"w": entry()}, length=2**20),
        safetensors(b'{"w": '),
        safetensors(b"{" + b'"a":{' * 10**5),
        safetensors(b"{\xff\xff}"),
        safetensors({"w": 3}),
    ],
)
def test_headers_that_lie_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors", DamagedCheckpointError)
