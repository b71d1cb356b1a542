"""Pickles that run code or take the machine down: refused, by type, with nothing of them run.

Each pickle that runs code would touch a canary file, and is shown to do so in plain torch.load.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from crafted import call, mapping, name, refused, tensor, text, whole, write_archive

from zero123lib.diffusion.checkpoints.errors import (
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.checkpoints.weights import open_tensors

LIGHTNING = "pytorch_lightning.callbacks.model_checkpoint"


def touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


def os_system(canary: Path) -> bytes:
    return call(name("os", "system"), text(f"touch '{canary}'"))


def subprocess_popen(canary: Path) -> bytes:
    return call(name("subprocess", "check_call"), b"](" + text("touch") + text(canary) + b"e")


def built_in_eval(canary: Path) -> bytes:
    return call(name("builtins", "eval"), text(touch(canary)))


def built_in_exec(canary: Path) -> bytes:
    return call(name("__builtin__", "exec"), text(touch(canary)))


def getattr_chain(canary: Path) -> bytes:
    module = call(name("builtins", "__import__"), text("os"))
    return call(
        call(name("builtins", "getattr"), module, text("system")), text(f"touch '{canary}'")
    )


def operator_chain(canary: Path) -> bytes:
    caller = call(name("operator", "methodcaller"), text("system"), text(f"touch '{canary}'"))
    return call(caller, call(name("importlib", "import_module"), text("os")))


def within_callbacks(canary: Path) -> bytes:
    state = mapping(text("best_model_path"), os_system(canary))
    return mapping(text("callbacks"), mapping(text("ModelCheckpoint"), state))


def torch_hub(canary: Path) -> bytes:
    (canary.parent / "hubconf.py").write_text(f"def model():\n    {touch(canary)}\n")
    return call(name("torch.hub", "_load_local"), text(canary.parent), text("model"))


def run_a_path(canary: Path) -> bytes:
    script = canary.parent / "script.py"
    script.write_text(touch(canary))
    return call(name("runpy", "run_path"), text(script))


def built_from_torch(canary: Path) -> bytes:
    rebuild = name("torch._tensor", "_rebuild_from_type_v2")
    arguments = b"(" + text(touch(canary)) + b"t"
    return call(rebuild, name("builtins", "exec"), name("torch", "Tensor"), arguments, b"}")


PAYLOADS = [
    os_system,
    subprocess_popen,
    built_in_eval,
    built_in_exec,
    getattr_chain,
    operator_chain,
    within_callbacks,
    torch_hub,
    run_a_path,
    built_from_torch,
]


def in_archive(path: Path, payload: bytes) -> None:
    write_archive(path, whole(mapping(text("state_dict"), b"}", text("x"), payload)))


def in_bare_pickle(path: Path, payload: bytes) -> None:
    path.write_bytes(whole(payload))


def in_pickle_of_old_torch(path: Path, payload: bytes) -> None:
    """The numbers that torch before 1.6 began with, then the payload in place of its system."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(1)}, buffer, _use_new_zipfile_serialization=False)
    end = 0
    for _ in range(2):
        buffer.seek(end)
        *_, (_, _, stop) = pickletools.genops(buffer)
        end = (stop or 0) + 1
    path.write_bytes(buffer.getvalue()[:end] + whole(payload))


def in_tar(path: Path, payload: bytes) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as file:
        for member in ("storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(member)
            entry.size = len(whole(payload))
            file.addfile(entry, io.BytesIO(whole(payload)))


CONTAINERS = {
    in_archive: UnsafeCheckpointError,
    in_bare_pickle: UnsafeCheckpointError,
    in_pickle_of_old_torch: UnsupportedCheckpointError,
    in_tar: UnsafeCheckpointError,
}


def load_without_care(path: Path) -> None:
    """What an unsuspecting program does; the file's code runs, and whatever follows fails."""
    try:
        torch.load(path, weights_only=False)
    except Exception as error:
        print(f"after the payload: {error!r}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_code_is_not_run(container: Callable, payload: Callable, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "zero123-xl.ckpt"
    container(path, payload(canary))
    refused(path, CONTAINERS[container])
    assert not canary.exists()
    load_without_care(path)
    assert canary.exists()


class Pretender:
    """Of the allowed class's name; how it is put together again is its own affair."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return exec, (touch(self.canary),)


def test_an_allowed_name_gives_no_allowance_to_what_an_object_reduces_to(tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "x.ckpt"
    Pretender.__module__, Pretender.__qualname__ = LIGHTNING, "ModelCheckpoint"
    torch.save({"callbacks": {"x": Pretender(canary)}, "w": torch.ones(1)}, path)
    assert "builtins.exec" in refused(path)
    assert not canary.exists()
    load_without_care(path)
    assert canary.exists()


@pytest.fixture
def forget_lightning() -> Iterator[None]:
    yield
    for module in [key for key in sys.modules if key.startswith("pytorch_lightning")]:
        del sys.modules[module]


@pytest.mark.usefixtures("forget_lightning")
def test_an_allowed_class_is_a_stand_in_even_if_one_of_its_name_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "x.ckpt"
    package = tmp_path / "pytorch_lightning" / "callbacks"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "model_checkpoint.py").write_text(
        "class ModelCheckpoint:\n"
        "    def __init__(self, *args): pass\n"
        f"    def __setstate__(self, state): {touch(canary)}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    built = call(name(LIGHTNING, "ModelCheckpoint"), text("x")) + mapping(text("a"), b"N") + b"b"
    write_archive(path, whole(mapping(text("x"), built, text("w"), tensor())))
    assert open_tensors(path)["w"].tolist() == [1]
    assert not canary.exists()
    assert LIGHTNING not in sys.modules
    load_without_care(path)
    assert canary.exists()


def test_methods_that_a_pickle_puts_on_a_dict_are_not_called(tmp_path: Path) -> None:
    stand_in = name(LIGHTNING, "ModelCheckpoint")
    methods = [text(method) + stand_in for method in ("items", "get", "keys", "__iter__")]
    weights = call(name("collections", "OrderedDict")) + text("w") + tensor() + b"s"
    path = write_archive(tmp_path / "x", whole(weights + mapping(*methods) + b"b"))
    assert list(open_tensors(path)) == ["w"]


@pytest.mark.parametrize("protocol", [0, 1, 3, 4, 5])
def test_other_protocols_are_not_read(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"x": Pretender(tmp_path / "canary")}, protocol=protocol)
    refused(write_archive(tmp_path / "x.ckpt", data))
    assert not (tmp_path / "canary").exists()
