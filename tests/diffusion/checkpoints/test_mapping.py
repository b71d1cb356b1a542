"""Opened tensors lie over their file's pages: no memory of their size, and no way back to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from zero123lib.diffusion.checkpoints.weights import open_tensors

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def save_archive(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save({"state_dict": tensors, "global_step": 1}, path)


WRITERS = [save_archive, save_file]


@pytest.mark.parametrize("write", WRITERS)
def test_writing_to_a_tensor_leaves_the_file_alone(write: Callable, tmp_path: Path) -> None:
    path = tmp_path / "x"
    write({"w": torch.ones(5)}, path)
    before = path.read_bytes()
    opened = open_tensors(path)["w"]
    opened.zero_()
    assert not opened.any()
    assert path.read_bytes() == before
    assert open_tensors(path)["w"].all()


def anonymous_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


@LINUX
@pytest.mark.parametrize("write", WRITERS)
def test_opening_and_reading_take_no_memory_of_the_files_size(
    write: Callable, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    write({f"w{i}": torch.ones(2**20) for i in range(32)}, path)
    before = anonymous_bytes()
    tensors = open_tensors(path)
    assert sum(float(tensor.sum()) for tensor in tensors.values()) == 2**25
    assert anonymous_bytes() - before < path.stat().st_size / 8


def more_than_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    return sizes["MemTotal"] + sizes["SwapTotal"] + 2**30


def sparse_archive(path: Path, count: int) -> None:
    with FakeTensorMode():
        tensors = {f"w{i}": torch.empty(2**30, dtype=torch.uint8) for i in range(count)}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save({"state_dict": tensors}, path)


def sparse_safetensors(path: Path, count: int) -> None:
    header = b",".join(
        b'"w%d":{"dtype":"U8","shape":[%d],"data_offsets":[%d,%d]}'
        % (i, 2**30, i * 2**30, (i + 1) * 2**30)
        for i in range(count)
    )
    with path.open("wb") as file:
        file.write(len(header + b"{}").to_bytes(8, "little") + b"{" + header + b"}")
        file.truncate(file.tell() + count * 2**30)


@LINUX
@pytest.mark.parametrize("write", [sparse_archive, sparse_safetensors])
def test_a_file_larger_than_the_memory_opens(write: Callable, tmp_path: Path) -> None:
    path, count = tmp_path / "x", more_than_memory() // 2**30 + 1
    try:
        write(path, count)
    except (OSError, RuntimeError) as error:
        pytest.skip(f"no sparse file of {count} GiB here: {error}")
    if path.stat().st_blocks * 512 > 2**30:
        pytest.skip("this file system writes out what was left empty")
    tensors = open_tensors(path)
    path.unlink()  # its pages stay while tensors do
    assert len(tensors) == count
    assert not tensors[f"w{count - 1}"][-10:].any()
