"""SIGKILL in the middle of a verb, folders that a user may not write to, a device that is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from zero123lib import cli
from zero123lib._errors import RunError, device_failure
from zero123lib.evaluation import sweep

ROOT = Path(__file__).resolve().parents[1]
DUCK = str(ROOT / "zero123lib/app/examples/duck.png")
NOBODY = 65534
PATIENCE_S = 600
# Processes start from a server that has loaded what they need.
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["zero123lib.cli.verbs", "zero123lib.evaluation.sweep",
                                 "zero123lib.diffusion.convert"])  # fmt: skip

CONVERT = ["convert", "tiny", "OUT"]
EVALUATE = ["evaluate", "scenes", "--objects", "2", "--views", "1", "--device", "cpu",
            "--guidance", "1", "--sweep-steps", "1", "2", "--out", "OUT"]  # fmt: skip


def verb(words: list[str], said: Path, user: int | None = None) -> None:
    """`zero123 WORDS` in this process, as another user if told; what it says goes to a file."""
    torch.set_num_threads(1)
    with open(said, "w") as file, redirect_stdout(file), redirect_stderr(file):
        if user is not None:
            become(user)
        status = cli.main(words)
    sys.exit(status)


def become(user: int) -> None:
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)


def begun(words: list[str], said: Path, user: int | None = None) -> Any:
    process = _CONTEXT.Process(target=verb, args=(words, said, user))
    process.start()
    return process


def finish(words: list[str], said: Path) -> float:
    """Run a verb to its end; the seconds that it took."""
    started = time.monotonic()
    process = begun(words, said)
    process.join(PATIENCE_S)
    assert process.exitcode == 0, said.read_text()
    return time.monotonic() - started


def into(words: list[str], out: Path) -> list[str]:
    return [str(out) if word == "OUT" else word for word in words]


def contents(out: Path) -> dict[str, bytes]:
    """The files of a folder, those of locks left out."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files if path.name != ".lock"}


def check_model(out: Path, whole: dict[str, bytes]) -> None:
    """A folder that says it is a model is the model."""
    if (out / "model_index.json").exists():
        found = contents(out)
        assert {name: found.get(name) for name in whole} == whole


def check_cells(out: Path, whole: dict[str, bytes]) -> None:
    """What has been measured is whole, and is what it would have been."""
    for cell in (out / "cells").glob("[!.]*.json"):
        assert cell.read_bytes() == whole[f"cells/{cell.name}"]
    table = out / "curves.csv"
    assert not table.exists() or table.read_bytes() == whole["curves.csv"]


CASES = {"convert": (CONVERT, check_model), "evaluate": (EVALUATE, check_cells)}


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", CASES)
def test_a_killed_verb_leaves_nothing_half_written_and_goes_on(
    kind: str, kills: int, tmp_path: Path
) -> None:
    words, check = CASES[kind]
    whole, out, said = tmp_path / "whole", tmp_path / "out", tmp_path / "said"
    finish(["--version"], said)  # the server of processes has loaded
    lasts = finish(into(words, whole), said)
    expected, draw, killed = contents(whole), random.Random(24), 0
    for _ in range(5 * kills):
        process = begun(into(words, out), said)
        started = time.monotonic()
        process.join(draw.uniform(0.0, lasts))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), said.read_text()
        killed += process.exitcode != 0
        check(out, expected)
        if killed == kills:
            break
        if process.exitcode == 0:  # sooner than the first one, on a machine that was busy then
            lasts = min(lasts, time.monotonic() - started)
            shutil.rmtree(out)
    assert killed == kills
    if kind == "convert" and (out / "model_index.json").exists():  # killed after the last file
        shutil.rmtree(out)
    finish(into(words, out), said)
    found = contents(out)
    # Pictures have the seconds that a run took, so that they are not the same again.
    names = [name for name in expected if name.endswith((".safetensors", ".csv", "config.json"))]
    assert names and {name: found[name] for name in names} == {
        name: expected[name] for name in names
    }
    assert not list(out.rglob(".making-*"))


def looked_at_by(user: int) -> None:
    """Read, as another user, what verbs read of the tree and of the libraries."""
    become(user)
    for name in VERBS.keys() - {"orbit"}:  # which is in the module of views
        import_module(f"zero123lib.cli.{name}")
    Path(DUCK).read_bytes()


@pytest.fixture(scope="module")
def ordinary_user() -> int:
    """Return a user who may read what verbs read, and write to none of it."""
    if os.geteuid():
        pytest.skip("becoming an ordinary user needs the superuser")
    process = _CONTEXT.Process(target=looked_at_by, args=(NOBODY,))
    process.start()
    process.join(PATIENCE_S)
    if process.exitcode:
        pytest.skip("the tree or its Python lies where the superuser alone may look, as in /root")
    return NOBODY


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder of the superuser's that everybody may look into; pytest's own are closed."""
    with tempfile.TemporaryDirectory(prefix="zero123-") as place:
        os.chmod(place, 0o755)
        yield Path(place)


VERBS = {
    "views": ["views", DUCK, "--out", "OUT"],
    "orbit": ["orbit", DUCK, "--out", "OUT"],
    "reconstruct": ["reconstruct", DUCK, "--out", "OUT"],
    "convert": ["convert", "tiny", "OUT/model"],
    "cutout": ["cutout", DUCK, "OUT/a.png"],
    "render": ["render", "MESH", "OUT"],
    "mesh": ["mesh", "convert", "MESH", "OUT/a.glb"],
    "evaluate": ["evaluate", "scenes", "--out", "OUT"],
}


@pytest.mark.parametrize("name", VERBS)
def test_an_ordinary_user_is_told_what_cannot_be_written_to(
    name: str, ordinary_user: int, open_folder: Path
) -> None:
    closed, said, mesh = open_folder / "closed", open_folder / "said", open_folder / "a.obj"
    closed.mkdir(mode=0o755)
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    said.touch()
    said.chmod(0o666)
    words = [one.replace("OUT", str(closed)).replace("MESH", str(mesh)) for one in VERBS[name]]
    process = begun(words, said, ordinary_user)
    process.join(PATIENCE_S)
    (line,) = said.read_text().splitlines()
    assert process.exitcode == 2 and str(closed) in line and "can be written" in line
    assert not list(closed.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has ..."),
        torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate "
                     "memory: you tried to allocate 4 bytes."),
        RuntimeError("NCCL Error 2: unhandled system error"),
        MemoryError(),
    ],
)  # fmt: skip
def test_a_device_that_is_lost_is_one_line_and_what_was_measured_stays(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked = []

    def lost(*arguments: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 3:  # of the second object, the first of two settings
            raise error
        return plain(*arguments)

    plain = sweep.predict_views
    monkeypatch.setattr(sweep, "predict_views", lost)
    words = into([*EVALUATE[:2], "--objects", "2", *EVALUATE[4:]], tmp_path)
    assert cli.main(words) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("zero123 evaluate scenes: error: device: expected one that lasts, got ")
    before = contents(tmp_path)
    assert before and all(json.loads(cell) for cell in before.values())
    assert cli.main(words) == 0
    assert len(asked) == 3 + 2  # nothing is asked again but what was lost


def test_other_errors_are_not_the_devices() -> None:
    for error in (RuntimeError("shape mismatch"), RunError("loss"), ValueError("out of memory")):
        assert device_failure(error) is None
