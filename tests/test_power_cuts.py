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

from tests.killed_verbs import CASES, contents, same
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


# The others, as these, in the soak alone.
QUICK = ("convert", "scenes", "eschernet meshes")
MANY = ("convert", "scenes")  # of 20 kills each


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        *((kind, 2) for kind in QUICK),
        *(pytest.param(kind, 20 if kind in MANY else 5, marks=pytest.mark.soak) for kind in CASES),
    ],
)
def test_a_killed_verb_leaves_nothing_half_written_and_goes_on(
    kind: str, kills: int, tmp_path: Path
) -> None:
    case = CASES[kind]
    whole, out, said = tmp_path / "whole", tmp_path / "out", tmp_path / "said"
    case.prepare(tmp_path / "in")

    def words(folder: Path) -> list[str]:
        told = case.words.replace("IN", str(tmp_path / "in")).replace("OUT", str(folder))
        return told.split()

    finish(["--version"], said)  # the server of processes has loaded
    lasts = finish(words(whole), said)
    expected, draw, killed = contents(whole), random.Random(24), 0
    for _ in range(5 * kills):
        process = begun(words(out), said)
        started = time.monotonic()
        process.join(draw.uniform(0.0, lasts))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), said.read_text()
        killed += process.exitcode != 0
        case.check(out, whole, expected)
        if killed == kills:
            break
        if process.exitcode == 0:  # sooner than the first one, on a machine that was busy then
            lasts = min(lasts, time.monotonic() - started)
            shutil.rmtree(out)
    assert killed == kills
    if kind == "convert" and (out / "model_index.json").exists():  # killed after the last file
        shutil.rmtree(out)
    finish(words(out), said)
    found = contents(out)
    assert found.keys() == expected.keys()
    assert same(out, whole, found, expected)
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
    words = CASES["scenes"].words.replace("OUT", str(tmp_path)).split()
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
