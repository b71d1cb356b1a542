"""Weights files open by what they are, mapped, with the numbers that were saved."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save, save_file
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.checkpoints.safetensors_files import Entry, write_safetensors
from zero123lib.diffusion.checkpoints.weights import open_tensors


def state() -> OrderedDict[str, Tensor]:
    """Tensors of every kind that state dicts hold: tied, strided, empty, scalar, of each dtype."""
    torch.manual_seed(0)
    tensors = OrderedDict(
        {
            "matrix": torch.randn(3, 4),
            "transposed": torch.randn(4, 6).t(),
            "slice": torch.randn(8)[2:5],
            "scalar": torch.tensor(7),
            "empty": torch.zeros(0, 3),
            "flag": torch.tensor([True, False]),
            "parameter": torch.nn.Parameter(torch.randn(3)),
        }
    )
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int32, torch.uint8):
        tensors[str(dtype)] = (torch.randn(5) * 50).abs().to(dtype)
    tensors["tied"] = tensors["matrix"]
    tensors["row"] = tensors["matrix"][1]
    return tensors


def save_plain(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


def save_lightning(tensors: dict[str, Tensor], path: Path) -> None:
    """As Lightning 1.4 does, whose callbacks are keyed by classes."""
    callback = type("ModelCheckpoint", (), {})
    callback.__module__ = "pytorch_lightning.callbacks.model_checkpoint"
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]}
    content = {
        "epoch": 2,
        "global_step": 105000,
        "pytorch-lightning_version": "1.4.2",
        "callbacks": {callback: {"best_model_score": torch.tensor(0.5), "best_model_path": "x"}},
        "optimizer_states": [optimizer],
        "lr_schedulers": [{"last_epoch": 3, "lr_lambdas": [{}], "_last_lr": [np.float64(0.1)]}],
        "hyper_parameters": {"shape": torch.Size([1, 2]), "device": torch.device("cpu")},
        "state_dict": tensors,
    }
    with pytest.MonkeyPatch.context() as patch:
        for end in ("", ".callbacks", ".callbacks.model_checkpoint"):
            module = types.ModuleType("pytorch_lightning" + end)
            patch.setitem(sys.modules, module.__name__, module)
        patch.setattr(module, "ModelCheckpoint", callback, raising=False)
        torch.save(content, path)


def save_safe(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({name: t.detach().clone().contiguous() for name, t in tensors.items()}, path)


WRITERS = [save_plain, save_lightning, save_safe]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors", "no ending"])
def test_tensors_come_back_whatever_the_file_is_called(
    write: Callable, name: str, tmp_path: Path
) -> None:
    tensors = state()
    write(tensors, tmp_path / name)
    read = open_tensors(str(tmp_path / name))
    assert set(read) == set(tensors)
    for key, tensor in tensors.items():
        assert type(read[key]) is Tensor
        assert not read[key].requires_grad
        assert read[key].dtype == tensor.dtype
        assert torch.equal(read[key], tensor)


def test_archives_keep_strides_and_ties(tmp_path: Path) -> None:
    tensors = state()
    torch.save(tensors, tmp_path / "x.pt")
    read = open_tensors(tmp_path / "x.pt")
    assert all(read[key].stride() == tensor.stride() for key, tensor in tensors.items())
    assert read["tied"].data_ptr() == read["matrix"].data_ptr()


def test_lengths_of_headers_do_not_pass_for_text(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'
    for length in range(len(header), len(header) + 256):
        padded = length.to_bytes(8, "little") + header.ljust(length) + b"abc"
        (tmp_path / "x").write_bytes(padded)
        assert open_tensors(tmp_path / "x")["w"].tolist() == [97, 98, 99]


def test_opening_runs_in_threads(tmp_path: Path) -> None:
    save_lightning(state(), tmp_path / "x.ckpt")
    (tmp_path / "bad.ckpt").write_bytes(b"PK\3\4 not a zip")
    counts = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(open_tensors(tmp_path / "x.ckpt"))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(DamagedCheckpointError):
        open_tensors(tmp_path / "bad.ckpt")
    assert counts == [len(state())] * 8


def archive(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members:
            file.writestr(name, content)
    return buffer.getvalue()


def saved(content: Any, **how: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def saved_safe() -> bytes:
    return save({"w": torch.ones(64)})


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 15500000000\n"
SCRIPT = archive(("a/constants.pkl", b"."), ("a/data.pkl", b"."))
FLOAT_8 = {"w": torch.zeros(2, dtype=torch.float8_e4m3fn)}
OLD = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", DamagedCheckpointError, "an empty file"),
        (b"\n<!DOCTYPE html><html>", DamagedCheckpointError, "a web page"),
        (LFS, DamagedCheckpointError, "a Git LFS pointer; run git lfs pull"),
        (b'{"unet":{"a": 1}}', DamagedCheckpointError, "JSON text"),
        (b"\x1f\x8b\x08 compressed", DamagedCheckpointError, "a gzip archive"),
        (b"just some text, nothing else", DamagedCheckpointError, "neither"),
        (archive(), DamagedCheckpointError, "an empty zip archive"),
        (archive(("a/b.txt", b"b")), DamagedCheckpointError, "without torch.save's data.pkl"),
        (archive(("a/data.pkl", b"."), ("b", b"")), DamagedCheckpointError, "not one of torch"),
        (saved({"w": torch.ones(9)})[:-300], DamagedCheckpointError, "download stopped"),
        (saved_safe()[:-9], DamagedCheckpointError, "download stopped"),
        (saved_safe()[:50], DamagedCheckpointError, "download stopped"),
        (saved_safe() + b"\0", DamagedCheckpointError, "does not describe"),
        (saved({"w": torch.ones(9)}, **OLD), UnsupportedCheckpointError, "torch before 1.6"),
        (save(FLOAT_8), UnsupportedCheckpointError, "F8_E4M3 for 'w'"),
        (SCRIPT, UnsupportedCheckpointError, "a TorchScript program"),
        (saved([torch.ones(2)]), MismatchedCheckpointError, "a list"),
        (saved({"model": {"w": torch.ones(2)}}), MismatchedCheckpointError, "holds 'model'"),
    ],
    ids=[
        "empty",
        "web page",
        "LFS",
        "JSON",
        "gzip",
        "text",
        "empty zip",
        "zip",
        "two folders",
        "cut archive",
        "cut data",
        "cut header",
        "longer",
        "old torch",
        "float8",
        "script",
        "list",
        "no tensors",
    ],
)
def test_what_is_no_weights_file_is_called_by_its_name(
    content: bytes, error: type[CheckpointError], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "105000.ckpt"
    path.write_bytes(content)
    with pytest.raises(error, match="^source: expected") as caught:
        open_tensors(path)
    assert type(caught.value) is error
    assert words in str(caught.value)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_archives_of_another_byte_order_are_refused(tmp_path: Path) -> None:
    members = zipfile.ZipFile(io.BytesIO(saved({"w": torch.ones(2)})))
    content = {name: members.read(name) for name in members.namelist()}
    content["archive/byteorder"] = b"big"
    (tmp_path / "x.pt").write_bytes(archive(*content.items()))
    with pytest.raises(UnsupportedCheckpointError, match="another byte order"):
        open_tensors(tmp_path / "x.pt")


def test_paths_without_a_file_are_called_by_their_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, words in [("", "a folder"), ("none.ckpt", "no file"), ("pipe", "no regular file")]:
        with pytest.raises(DamagedCheckpointError, match=words):
            open_tensors(tmp_path / name)


def test_a_file_is_written_and_gone_on_with_from_wherever_it_stopped(tmp_path: Path) -> None:
    tensors = {
        "b": torch.arange(6.0).reshape(2, 3), "a": torch.ones(3).half(), "c": torch.arange(2),
    }  # fmt: skip
    entries = {
        name: Entry(tuple(one.shape), one.dtype, lambda one=one: one)
        for name, one in tensors.items()
    }
    path = tmp_path / "a.safetensors"
    assert list(write_safetensors(path, entries, {"format": "pt"})) == [16, 24, 6]
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0 and header.pop("__metadata__") == {"format": "pt"}
    assert {name: one["data_offsets"] for name, one in header.items()} == {
        "c": [0, 16], "b": [16, 40], "a": [40, 46],
    }  # fmt: skip
    found = load(content)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], one) for name, one in tensors.items())
    for cut in [*range(0, len(content), 5), 8 + length, 24 + length, len(content)]:
        path.write_bytes(content[:cut])
        assert sum(write_safetensors(path, entries, {"format": "pt"})) == 46
        assert path.read_bytes() == content
