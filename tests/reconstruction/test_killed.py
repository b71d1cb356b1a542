"""`zero123 reconstruct` killed, stopped and gone on with, as a process of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_runs import TINY

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.reconstruction.engine import reconstruct, result
from zero123lib.reconstruction.outputs import load_field
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.state import CHECKPOINT

OVERRIDES = [*TINY, "system.guidance.embedded.stages=[views, sds]", "trainer.max_steps=60"]
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def files(pipe: Zero123Pipeline, photo: Image.Image, tmp_path_factory: Any) -> Path:
    """A folder with the model and the picture."""
    folder = tmp_path_factory.mktemp("files")
    pipe.save_pretrained(folder / "model")
    photo.save(folder / "photo.png")
    return folder


def start(files: Path, out: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "zero123lib.cli", "reconstruct", str(files / "photo.png")]
    command += ["--config", "tiny-sds", "--model", str(files / "model"), "--device", "cpu"]
    command += ["--encoding", "zero123", "--out", str(out), *words, *OVERRIDES]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(file: Path, process: subprocess.Popen) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not file.exists():
        assert process.poll() is None, process.communicate()[0].decode()
        assert time.monotonic() < end, "no checkpoint came"
        time.sleep(0.02)


def whole(files: Path) -> dict[str, torch.Tensor]:
    """The field of a run that nothing interrupts."""
    pipe = Zero123Pipeline.from_pretrained(files / "model", encoding="zero123")
    recipe = read_recipe("tiny-sds", OVERRIDES)
    return result(reconstruct(files / "photo.png", recipe, pipe=pipe)).field.state_dict()


def check_killed(files: Path, out: Path, kills: int, expected: dict[str, torch.Tensor]) -> None:
    lots = random.Random(kills)
    for _ in range(kills):
        process = start(files, out, "--resume")
        wait_for(out / CHECKPOINT, process)
        time.sleep(lots.uniform(0, 1.5))
        process.kill()
        process.wait()
        if (out / "metrics.json").exists():
            break
    process = start(files, out, "--resume")
    said = process.communicate(timeout=_PATIENCE_S)[0].decode()
    assert process.returncode == 0, said
    found = load_field(out).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not list(out.glob(".making-*")) and not (out / CHECKPOINT).exists()


def test_a_killed_run_goes_on_to_the_bit(files: Path, tmp_path: Path) -> None:
    check_killed(files, tmp_path / "run", 1, whole(files))


@pytest.mark.soak
def test_many_kills(files: Path, tmp_path: Path) -> None:
    expected = whole(files)
    for kills in (3, 5, 8):
        check_killed(files, tmp_path / str(kills), kills, expected)


def test_ctrl_c_stops_with_a_result(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(files, out, "trainer.max_steps=100000")
    wait_for(out / CHECKPOINT, process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=_PATIENCE_S)[0].decode()
    assert process.returncode == 0, said
    assert "stopped by a signal: --resume goes on" in said
    for name in ("mesh.ply", "mesh.glb", "turntable.gif", "metrics.json", CHECKPOINT):
        assert (out / name).stat().st_size > 0
