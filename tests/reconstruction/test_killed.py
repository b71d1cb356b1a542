"""`zero123 reconstruct` killed and gone on with, as a process of its own."""

from __future__ import annotations

import random
import time
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


def check_killed(files: Path, out: Path, kills: int, expected: dict[str, torch.Tensor]) -> None:
    lots = random.Random(kills)
    for _ in range(kills):
        process = start(files, out, "--resume")
        wait_for([out / CHECKPOINT], process)
        time.sleep(lots.uniform(0, 1.5))
        process.kill()
        process.wait()
        if (out / "metrics.json").exists():
            break
    process = start(files, out, "--resume")
    said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    found = load_field(out).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not list(out.glob(".making-*")) and not (out / CHECKPOINT).exists()


def test_a_killed_run_goes_on_to_the_bit(files: Path, tmp_path: Path) -> None:
    check_killed(files, tmp_path / "run", 1, whole(files))


@pytest.mark.soak
def test_many_kills(files: Path, tmp_path: Path) -> None:
    expected = whole(files)
    for kills in (4, 6, 10):
        check_killed(files, tmp_path / str(kills), kills, expected)
