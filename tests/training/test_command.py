"""`zero123 train` as it is called."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.toy import toy_config, toy_yaml, write_renders
from zero123lib import cli
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.checkpoints import whole_checkpoints
from zero123lib.training.data import validation_pairs
from zero123lib.training.state import start
from zero123lib.training.validation import Validation


def arguments(tmp_path, renders, *more: str) -> list[str]:
    out = str(tmp_path / "run")
    return ["train", str(toy_yaml(tmp_path)), "--out", out, "--data", str(renders), *more]


def test_a_run_from_end_to_end(tmp_path, renders, capsys):
    """Losses, validation and views in TensorBoard; the best weights as a model that makes views."""
    more = ["--set", "validation.every_steps=2", "--set", "saving.every_steps=3"]
    assert cli.main(arguments(tmp_path, renders, *more)) == 0
    said = capsys.readouterr().out
    assert "step 2: validation loss " in said and "wrote " in said
    assert "(1 process x " in said and "budget 6 steps" in said and str(tmp_path) in said
    run = tmp_path / "run"
    log = EventAccumulator(str(run / "logs")).Reload()
    scalars = ["loss", "learning_rate", "gradient_norm", "images_per_second", "skipped"]
    assert set(log.Tags()["scalars"]) == {*(f"train/{s}" for s in scalars), "validation/loss"}
    assert [event.step for event in log.Scalars("validation/loss")] == [2, 4, 6]
    (sheet,) = {(e.width, e.height) for e in log.Images("validation/condition_target_view")}
    assert sheet == (48, 16)
    losses = [event.value for event in log.Scalars("validation/loss")]
    assert min(s.validation_loss for s in whole_checkpoints(run)) == pytest.approx(min(losses))
    assert Zero123Pipeline.from_pretrained(run / "model").image_size == 16
    # A second run there needs to be told to go on, and has nothing left to do.
    assert cli.main(arguments(tmp_path, renders)) == 2
    assert "--out: expected a folder without checkpoints, or --resume" in capsys.readouterr().err
    assert cli.main(arguments(tmp_path, renders, "--resume", *more)) == 0
    assert "going on from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--set", "optimizer.rate=1"], "optimizer.rate: expected one of learning_rate"),
        (["--initial", "nothing"], "source: expected a model's name"),
        (["--max-steps", "0"], "--max-steps: expected a whole number from 1"),
        (["--minutes", "-1"], "--minutes: expected a finite number above 0"),
        (["--data", "absent"], "expected"),
        (["--set", "compute.precision=fp16", "--set", "compute.device=cpu"], "compute.precision"),
    ],
)
def test_wrong_input_is_one_line_and_writes_nothing(tmp_path, renders, capsys, more, line):
    assert cli.main(arguments(tmp_path, renders, *more)) == 2
    told = capsys.readouterr().err.strip()
    assert told.startswith("zero123 train: error: ") and "\n" not in told and line in told
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_corrupt_samples_are_counted_and_named(tmp_path, capsys):
    broken = write_renders(tmp_path / "renders")
    (broken / "object-1" / "002.png").write_bytes(b"no image")
    assert cli.main(arguments(tmp_path, broken, "--set", "data.workers=1")) == 0
    assert "skipped 1 corrupt sample, such as object-1/002: " in capsys.readouterr().out


@pytest.mark.parametrize("workers", [0, 1])
def test_data_of_no_use_is_one_line_whoever_loads_it(tmp_path, capsys, workers):
    broken = write_renders(tmp_path / "renders")
    for path in broken.rglob("*.png"):
        path.write_bytes(b"no image")
    assert cli.main(arguments(tmp_path, broken, "--set", f"data.workers={workers}")) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("zero123 train: error: path: expected at least one object with two")
    assert "Traceback" not in told
    # A worker that outlives its run would hold up the interpreter's exit.
    assert not multiprocessing.active_children()


def test_validation_is_fixed_and_free_of_dropout(tmp_path, renders):
    config = toy_config(tmp_path, f"data.path={renders}", "objective.dropout=0.33")
    state = start(config)
    losses = [
        Validation.of(state, validation_pairs(config, state.pipe)).loss(state) for _ in range(2)
    ]
    plain = start(toy_config(tmp_path, f"data.path={renders}", "objective.dropout=0"))
    pairs = validation_pairs(plain.config, plain.pipe)
    assert losses[0] == losses[1] == Validation.of(plain, pairs).loss(plain)


def test_torchrun_starts_it(tmp_path, renders):
    """The command line of the docs, two processes."""
    launched = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            "-m", "zero123lib", *arguments(tmp_path, renders),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("wrote ") == 1
    assert (tmp_path / "run" / "model" / "model_index.json").exists()
