"""Two processes on a CPU (gloo) see and do what one does with the double batch."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from tests.ports import free_port
from tests.training.test_objective import SMALL
from tests.training.toy import NumberedPairs, join_group, start_process, toy_config, toy_yaml
from zero123lib.training.config_files import parse_override, read_config
from zero123lib.training.loop import train
from zero123lib.training.processes import end_training, restarts_fail
from zero123lib.training.recipe import tiny_pipeline
from zero123lib.training.state import start

PATIENCE_S = 600


def train_and_tell(folder: Path, overrides: list[str], rank: int, processes: int, port: int):
    """Train; the first process writes the first step's gradients and the last weights."""
    join_group(rank, processes, port)
    config = read_config(folder / "toy.yaml", [parse_override(text) for text in overrides])
    state = start(config)
    gradients, losses = trained(state)
    if rank == 0:
        save_file(gradients, folder / "gradients.safetensors")
        weights = {name: p.detach().contiguous() for name, p in state.trained.items()}
        save_file(weights, folder / "weights.safetensors")
        (folder / "losses.json").write_text(json.dumps([losses, str(state.model.__class__)]))
    end_training(state.accelerator)


def trained(state: Any) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Gradients of the first step, as the optimizer is given them, and all losses."""
    gradients: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        if not gradients:
            grads = {n: p.grad for n, p in state.trained.items()}
            gradients.update({n: g.clone().contiguous() for n, g in grads.items()})

    state.optimizer.optimizer.register_step_pre_hook(keep)
    return gradients, [progress.loss for progress in train(state, NumberedPairs())]


@pytest.mark.parametrize(("per_device", "distils"), [(4, False), (1, False), (2, True)])
def test_two_processes_do_what_one_does(tmp_path, per_device, distils):
    """Batches of 8 in all: as two of 4, or accumulated one pair at a time; a student, which is
    asked twice in each step, by two pairs."""
    common = ["batch.size=8", "budget.steps=3"]
    if distils:
        tiny_pipeline(SMALL, seed=0).save_pretrained(tmp_path / "teacher")
        common += [
            f"initial={{source: {tmp_path / 'teacher'}}}", "objective.dropout=0",
            "objective.distillation={steps: 2, teacher_steps: 6, guidance_scale: 2}",
        ]  # fmt: skip
    overrides = [*common, f"batch.per_device={per_device}"]
    toy_yaml(tmp_path)
    port = free_port()
    pair = [start_process(train_and_tell, tmp_path, overrides, rank, 2, port) for rank in range(2)]
    for process in pair:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in pair] == [0, 0]
    losses, wrapper = json.loads((tmp_path / "losses.json").read_text())
    assert "DistributedDataParallel" in wrapper
    state = start(toy_config(tmp_path, *common, "batch.per_device=8"))
    expected, expected_losses = trained(state)
    gradients = load_file(tmp_path / "gradients.safetensors")
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        scale = float(expected[name].abs().max())
        assert (gradient - expected[name]).abs().max() <= 2e-6 + 1e-5 * scale, name
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    weights = load_file(tmp_path / "weights.safetensors")
    for name, parameter in state.trained.items():
        assert torch.allclose(weights[name], parameter, atol=1e-4), name


@pytest.mark.parametrize(
    ("restarts", "shared", "fail"),
    [(None, None, False), ("0", "True", False), ("3", "True", True), ("3", "False", False)],
)
def test_a_launch_whose_restarts_fail_is_known(monkeypatch, restarts, shared, fail):
    names = ("TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_USE_AGENT_STORE")
    for name, value in zip(names, (restarts, shared), strict=True):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert restarts_fail() == fail


def end_many_trainings(folder: Path, rank: int) -> None:
    """A collective, and at once the end, again and again."""
    torch.set_num_threads(1)
    accelerator = cast(Any, SimpleNamespace(end_training=dist.destroy_process_group))
    for index in range(150):
        place = f"file://{folder}/{index}"
        dist.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(8, 8))
        model(torch.ones(2, 8)).sum().backward()
        dist.broadcast_object_list([index])
        end_training(accelerator)
        del model


def test_the_end_waits_for_nobody(tmp_path):
    pair = [start_process(end_many_trainings, tmp_path, rank) for rank in range(2)]
    for process in pair:
        process.join(PATIENCE_S)
    ended = [process.exitcode for process in pair]
    for process in pair:
        process.kill()
    assert ended == [0, 0]
