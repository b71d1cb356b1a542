"""What happens to a run: kills, signals, a full disk, NaN, broken checkpoints."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.toy import (
    NumberedPairs,
    recorded_main,
    send_after,
    start_process,
    steps_in,
    toy_config,
    toy_yaml,
    weights_of,
)
from zero123lib import cli
from zero123lib._files import whole_folder
from zero123lib.training import checkpoints
from zero123lib.training import run as training_run
from zero123lib.training import state as states
from zero123lib.training.checkpoints import resume, save_checkpoint, whole_checkpoints
from zero123lib.training.loop import train
from zero123lib.training.state import start

pytestmark = pytest.mark.long

STEPS = 24


def command(tmp_path: Path, out: Path, renders: Path, *more: str) -> list[str]:
    sets = ["batch.per_device=2", "saving.every_steps=2", *more]
    return [
        "train", str(toy_yaml(tmp_path)), "--out", str(out), "--data", str(renders), "--resume",
        "--max-steps", str(STEPS), *itertools.chain(*(["--set", one] for one in sets)),
    ]  # fmt: skip


def final_weights(out: Path) -> dict[str, torch.Tensor]:
    folder = out / "checkpoints" / f"step-{STEPS:08d}"
    return {
        f"{file}/{name}": tensor
        for file in ("model", "ema")
        for name, tensor in load_file(folder / f"{file}.safetensors").items()
    }


def unbroken(tmp_path: Path, renders: Path) -> tuple[dict[int, str], dict[str, torch.Tensor]]:
    process = start_process(
        recorded_main, command(tmp_path, tmp_path / "whole", renders), tmp_path / "whole.log"
    )
    process.join()
    assert process.exitcode == 0
    steps = steps_in(tmp_path / "whole.log")
    assert [step for step, _ in steps] == list(range(1, STEPS + 1))
    return dict(steps), final_weights(tmp_path / "whole")


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=pytest.mark.soak)], ids=["two", "twenty"]
)
def test_a_run_that_is_killed_anywhere_goes_on_as_if_it_were_not(tmp_path, renders, kills):
    expected, weights = unbroken(tmp_path, renders)
    chance = random.Random(0)
    argv = command(tmp_path, tmp_path / "run", renders)
    killed = 0
    for attempt in range(3 * kills):
        log = tmp_path / f"{attempt}.log"
        process = start_process(recorded_main, argv, log)
        # Into a step, a checkpoint, or the time before the first step; a run that has hardly
        # anything left is begun anew.
        send_after(process, log, chance.randrange(0, 9), chance.random() * 0.1, signal.SIGKILL)
        killed += process.exitcode == -signal.SIGKILL
        if process.exitcode == 0 and killed < kills:
            shutil.rmtree(tmp_path / "run")
        if killed == kills:
            break
    assert killed == kills
    process = start_process(recorded_main, argv, tmp_path / "last.log")
    process.join()
    assert process.exitcode == 0
    for log in tmp_path.glob("*.log"):
        for step, loss in steps_in(log):
            assert loss == expected[step], (log.name, step)
    for name, tensor in final_weights(tmp_path / "run").items():
        assert torch.equal(tensor, weights[name]), name
    assert not list((tmp_path / "run").rglob(".making-*"))
    assert (tmp_path / "run" / "model" / "model_index.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_exits(tmp_path, renders, number):
    argv = command(tmp_path, tmp_path / "run", renders, "saving.every_steps=1000", "data.workers=1")
    argv[argv.index("--max-steps") + 1] = "100000"
    log = tmp_path / "first.log"
    process = start_process(recorded_main, argv, log)
    send_after(process, log, 2, 0.01, number)
    assert process.exitcode == 0
    steps = steps_in(log)
    (saved,) = whole_checkpoints(tmp_path / "run")
    assert saved.step == steps[-1][0] == len(steps) >= 2
    state = start(toy_config(tmp_path, f"data.path={renders}", "budget.steps=100000"))
    resume(tmp_path / "run", state)
    assert state.step == len(steps)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; skips where nobody may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_stops_with_the_last_good_state(small_disk, tmp_path, renders, capsys):
    run = small_disk / "run"
    argv = command(tmp_path, run, renders, "saving.every_steps=1", "saving.keep_last=1000")
    assert cli.main(argv) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith("zero123 train: error: ")
    saved = whole_checkpoints(run)
    assert saved and str(saved[0].folder) in told[0]
    assert not [p for p in run.rglob("*") if p.name.startswith((".making", ".old"))]
    state = start(toy_config(tmp_path, f"data.path={renders}", "budget.steps=100"))
    assert resume(run, state) == saved[0].folder


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "state.json"])
def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch, name):
    state = start(toy_config(tmp_path))
    save_checkpoint(tmp_path, state, None, 1)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if name == "model.safetensors":
        monkeypatch.setattr(checkpoints, "write_safetensors", full)
    elif name == "optimizer.pt":
        monkeypatch.setattr(checkpoints.torch, "save", full)
    else:
        monkeypatch.setattr(checkpoints.json, "dumps", full)
    state.step = 1
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, state, None, 1)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_nan_stops_with_the_last_good_state(tmp_path, renders, monkeypatch, capsys):
    """Pair 14 of batches of 4 belongs to the fourth step."""
    monkeypatch.setattr(training_run, "training_pairs", lambda *_: NumberedPairs(broken=14))
    run = tmp_path / "run"
    argv = command(tmp_path, run, renders, "saving.every_steps=1")
    assert cli.main(argv) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and "loss: expected a finite number at step 3, got nan" in told[0]
    saved = whole_checkpoints(run)
    assert saved[0].step == 3 and str(saved[0].folder) in told[0]
    for file in ("model", "ema"):
        for tensor in load_file(saved[0].folder / f"{file}.safetensors").values():
            assert torch.isfinite(tensor).all()


def test_weights_are_untouched_by_the_step_that_fails(tmp_path):
    state = start(toy_config(tmp_path))
    steps = train(state, NumberedPairs(broken=5))
    next(steps)
    before = weights_of(state)
    with pytest.raises(FloatingPointError, match="loss: expected a finite number at step 1"):
        next(steps)
    assert all(torch.equal(weight, before[n]) for n, weight in weights_of(state).items())


def three_checkpoints(tmp_path: Path) -> list[Path]:
    state = start(toy_config(tmp_path))
    folders = []
    for step in (1, 2, 3):
        state.step = step
        folders.append(save_checkpoint(tmp_path, state, None, 3))
    return folders


def test_broken_checkpoints_are_passed_over(tmp_path, caplog):
    first, second, third = three_checkpoints(tmp_path)
    weights = bytearray((third / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (third / "model.safetensors").write_bytes(weights)
    os.truncate(second / "optimizer.pt", 100)
    (tmp_path / "checkpoints" / ".making-step-00000009").mkdir()
    state = start(toy_config(tmp_path))
    assert resume(tmp_path, state) == first and state.step == 1
    assert "step-00000003 is broken and ignored: model.safetensors is not" in caplog.text
    assert "step-00000002 is broken and ignored: optimizer.pt is not" in caplog.text
    (first / "state.json").write_text("{")
    assert resume(tmp_path, start(toy_config(tmp_path))) is None


def test_the_last_and_the_best_are_kept(tmp_path):
    state = start(toy_config(tmp_path))
    for step, loss in enumerate((0.5, 0.2, 0.4, None, 0.3, None), 1):
        state.step = step
        save_checkpoint(tmp_path, state, loss, 2)
    assert [saved.step for saved in whole_checkpoints(tmp_path)] == [6, 5, 2]
    assert checkpoints.best_loss(tmp_path) == 0.2


def test_a_kill_while_old_checkpoints_go_leaves_none_broken(tmp_path, monkeypatch, caplog):
    state = start(toy_config(tmp_path))
    save_checkpoint(tmp_path, state, None, 1)
    state.step = 1
    plain = shutil.rmtree

    def killed(folder, *args, **kwargs):
        if Path(folder).name.endswith("step-00000000"):
            (Path(folder) / "model.safetensors").unlink()
            raise KeyboardInterrupt
        plain(folder, *args, **kwargs)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        save_checkpoint(tmp_path, state, None, 1)
    assert [saved.step for saved in whole_checkpoints(tmp_path)] == [1] and not caplog.text
    state.step = 2
    save_checkpoint(tmp_path, state, None, 1)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000002"]


def test_no_checkpoint_tells_of_a_best_model_that_was_not_written(tmp_path, renders, monkeypatch):
    """Killed while the model is written, a run goes on and writes it."""
    argv = command(tmp_path, tmp_path / "run", renders, "validation.every_steps=3")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(training_run, "write_model", killed)
        assert cli.main(argv) == 130
    assert whole_checkpoints(tmp_path / "run")
    assert checkpoints.best_loss(tmp_path / "run") == float("inf")


def test_a_device_that_is_lost_leaves_the_last_checkpoint_which_is_gone_on_from(
    tmp_path, renders, monkeypatch, capsys
):
    argv = command(tmp_path, tmp_path / "run", renders, "data.workers=0")
    plain, asked = states.denoising_loss, []

    def lost(*args):
        asked.append(args[-1])
        if asked[-1] == 5:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return plain(*args)

    with monkeypatch.context() as patched:
        patched.setattr(states, "denoising_loss", lost)
        assert cli.main(argv) == 1
    assert "error: device: expected one that lasts" in capsys.readouterr().err.splitlines()[-1]
    assert whole_checkpoints(tmp_path / "run")[0].step == 4
    assert cli.main(argv) == 0
    assert cli.main(command(tmp_path, tmp_path / "whole", renders, "data.workers=0")) == 0
    weights = final_weights(tmp_path / "whole")
    for name, tensor in final_weights(tmp_path / "run").items():
        assert torch.equal(tensor, weights[name]), name


def test_another_config_is_refused_by_name(tmp_path):
    three_checkpoints(tmp_path)
    state = start(toy_config(tmp_path, "optimizer.learning_rate=0.5"))
    line = "resume: expected the run's own config, in which optimizer.learning_rate is 0.001"
    with pytest.raises(ValueError, match=line):
        resume(tmp_path, state)


def test_a_folder_is_replaced_or_left(tmp_path):
    final = tmp_path / "model"
    with whole_folder(final) as making:
        (making / "a").write_text("1")
    with pytest.raises(RuntimeError), whole_folder(final) as making:
        (making / "a").write_text("2")
        raise RuntimeError
    assert (final / "a").read_text() == "1" and [p.name for p in tmp_path.iterdir()] == ["model"]
    with whole_folder(final) as making:
        (making / "b").write_text("3")
    assert [p.name for p in final.iterdir()] == ["b"]
    # Killed between the two renames: the old one gets its name back.
    final.rename(tmp_path / ".old-model")
    (tmp_path / ".making-model").mkdir()
    with whole_folder(tmp_path / "other"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "other"]
