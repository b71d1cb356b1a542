"""`zero123 reconstruct` killed and gone on with, as a process of its own."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from processes import OVERRIDES, PATIENCE_S, start, wait_for

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.reconstruction.engine import reconstruct, result
from zero123lib.reconstruction.outputs import load_field
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.state import CHECKPOINT


def whole(files: Path) -> dict[str, torch.Tensor]:
    """The field of a run that nothing interrupts."""
    pipe = Zero123Pipeline.from_pretrained(files / "model", encoding="zero123")
    recipe = read_recipe("tiny-sds", OVERRIDES)
    return result(reconstruct(files / "photo.png", recipe, pipe=pipe)).field.state_dict()


def check_finished(files: Path, out: Path, expected: dict[str, torch.Tensor]) -> None:
    """Run to the end: the field is that of an undisturbed run."""
    process = start(files, out, "--resume")
    said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    found = load_field(out).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not list(out.glob(".making-*")) and not (out / CHECKPOINT).exists()


def test_a_killed_run_goes_on_to_the_bit(files: Path, tmp_path: Path) -> None:
    process = start(files, tmp_path / "run")
    wait_for([tmp_path / "run" / CHECKPOINT], process)
    process.kill()
    process.wait()
    check_finished(files, tmp_path / "run", whole(files))


@pytest.mark.soak
def test_many_kills(files: Path, tmp_path: Path) -> None:
    expected, lots, out, killed = whole(files), random.Random(0), tmp_path / "run", 0
    begun = time.monotonic()
    check_finished(files, tmp_path / "whole", expected)
    lasts = time.monotonic() - begun
    while killed < 20:
        process = start(files, out, "--resume")
        with suppress(subprocess.TimeoutExpired):
            process.wait(lots.uniform(0, lasts))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
        if (out / "metrics.json").exists():  # the last file: a run that is done is begun anew
            check_finished(files, out, expected)
            shutil.rmtree(out)
    check_finished(files, out, expected)
