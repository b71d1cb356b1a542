"""Weights sharded over two processes (FSDP2 on gloo) train as whole ones on one process do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from tests.ports import free_port
from tests.training.toy import NumberedPairs, join_group, start_process, toy_config, toy_yaml
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.checkpoints import resume, save_checkpoint
from zero123lib.training.config_files import parse_override, read_config
from zero123lib.training.loop import train
from zero123lib.training.output import write_model
from zero123lib.training.processes import end_training
from zero123lib.training.state import start
from zero123lib.training.validation import Validation

PATIENCE_S = 900
COMMON = ["batch.size=4", "validation.pairs=3"]
ADAPTERS = ["trained={unet: lora, image_encoder: false}", "compute.gradient_checkpointing=true"]
HALF = ["compute.precision=bf16", "compute.frozen_precision=bf16"]


def go(out: Path, state: Any, steps: int) -> dict[str, Any]:
    """Train, validate, write all that a run writes, and tell."""
    losses = []
    for progress in train(state, NumberedPairs()):
        losses.append((progress.loss, progress.gradient_norm))
        if len(losses) == steps:
            break
    validation = Validation.of(state, NumberedPairs())
    loss = validation.loss(state)
    if state.skeletons or state.accelerator.is_main_process:
        assert torch.isfinite(validation.views(state)).all()
    save_checkpoint(out, state, loss, 9)
    write_model(out, state)
    return {"losses": losses, "validation": loss}


def train_sharded(folder: Path, overrides: list[str], rank: int, port: int) -> None:
    """Three steps; then three more by a state that is resumed. The second process has no files."""
    join_group(rank, 2, port)
    out = folder / f"sharded-{rank}"
    config = read_config(folder / "toy.yaml", [parse_override(text) for text in overrides])
    state = start(config)
    assert all(isinstance(p, DTensor) for p in state.model.parameters())
    told = [go(out, state, 3)]
    shares: list[Any] = list(state.trained.values())
    local = sum(p.to_local().numel() for p in shares)
    whole = sum(p.numel() for p in state.trained.values())
    again = start(config)
    resume(out, again)
    told.append(go(out, again, 3))
    (folder / f"told-{rank}.json").write_text(json.dumps([told, local / whole]))
    end_training(again.accelerator)


def tensors(out: Path, step: int) -> dict[str, torch.Tensor]:
    folder = out / "checkpoints" / f"step-{step:08d}"
    found = {
        f"{file}/{name}": tensor
        for file in ("model", "ema")
        for name, tensor in load_file(folder / f"{file}.safetensors").items()
    }
    moments = torch.load(folder / "optimizer.pt", weights_only=True)["optimizer"]["state"]
    found |= {f"{i}/{key}": t for i, held in moments.items() for key, t in held.items()}
    return found


@pytest.mark.parametrize(
    ("more", "near", "same"),
    [
        ([], 1e-4, 1e-4),
        (ADAPTERS, 1e-4, 1e-4),
        # Adam's steps are of one size: what is rounded tells of signs alone.
        pytest.param([*ADAPTERS, *HALF], 0.03, 0.02, marks=pytest.mark.soak),
    ],
    ids=["all", "adapters", "half"],
)
def test_sharded_training_is_plain_training(tmp_path, more, near, same):
    toy_yaml(tmp_path)
    port = free_port()
    overrides = [*COMMON, *more, "compute.sharding=fsdp"]
    pair = [start_process(train_sharded, tmp_path, overrides, rank, port) for rank in range(2)]
    for process in pair:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in pair] == [0, 0]
    (told, share), (other, rest) = (
        json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in range(2)
    )
    assert share + rest == pytest.approx(1) and 0.3 < rest < 0.7
    assert told == other and not (tmp_path / "sharded-1").exists()
    out = tmp_path / "plain"
    config = toy_config(tmp_path, *COMMON, *more)
    state = start(config)
    expected = [go(out, state, 3)]
    # Three more from what was written sharded: it is loaded without.
    state = start(config)
    resume_at = tmp_path / "sharded-0" / "checkpoints"
    (resume_at / "step-00000006").rename(tmp_path / "last")
    resume(tmp_path / "sharded-0", state)
    expected.append(go(out, state, 3))
    (tmp_path / "last").rename(resume_at / "step-00000006")
    for mine, plain in zip(told, expected, strict=True):
        assert mine["validation"] == pytest.approx(plain["validation"], rel=near)
        for pair_, plain_ in zip(mine["losses"], plain["losses"], strict=True):
            assert pair_ == pytest.approx(plain_, rel=near)
    for step in (3, 6):
        whole = tensors(out, step)
        sharded = tensors(tmp_path / "sharded-0", step)
        assert sharded.keys() == whole.keys()
        for name, tensor in sharded.items():
            assert tensor.dtype == whole[name].dtype, name
            assert torch.allclose(tensor, whole[name], atol=same), (step, name)
    made, plain = (
        Zero123Pipeline.from_pretrained(one / "model") for one in (tmp_path / "sharded-0", out)
    )
    for part in ("unet", "camera_projection", "image_encoder"):
        for name, tensor in getattr(made, part).state_dict().items():
            other_one = getattr(plain, part).state_dict()[name]
            assert torch.allclose(tensor, other_one, atol=same), name
    if more:
        assert (tmp_path / "sharded-0" / "lora" / "camera_projection").is_dir()


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("compute.compile=true", "none with compile"),
        ("compute.precision=fp16", "none with fp16"),
        ("optimizer.muon_learning_rate=0.01", "none with optimizer.muon_learning_rate"),
    ],
)
def test_what_knows_no_shards_is_refused(tmp_path, override, word):
    with pytest.raises(ValueError, match=f"sharding: expected {word}, got fsdp"):
        toy_config(tmp_path, "compute.sharding=fsdp", override)


def test_one_process_has_all(tmp_path):
    state = start(toy_config(tmp_path, "compute.sharding=fsdp"))
    assert not state.skeletons and not any(isinstance(p, DTensor) for p in state.model.parameters())
