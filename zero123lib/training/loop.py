"""The loop: steps as a generator, one process or several, and its state on disk."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from zero123lib.diffusion.model import enable_one_token
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.scenes import HELD_OUT_SEED
from zero123lib.training.data import ScenePairs
from zero123lib.training.recipe import (
    TrainConfig,
    TrainedModel,
    denoising_loss,
    tiny_model,
    tiny_scheduler,
)


@dataclass
class TrainState:
    """Everything that a run carries from step to step."""

    model: TrainedModel
    ema: TrainedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    pairs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class TrainProgress:
    """One line of progress; ``loss`` is a running mean of the latent mean squared error."""

    step: int
    pairs: int
    loss: float
    learning_rate: float
    pairs_per_second: float
    done: float


def start(config: TrainConfig, initial: Path | None = None) -> TrainState:
    """Weights, their average and an optimizer.

    Args:
        initial: folder of a pipeline to go on from; None starts from nothing.
    """
    torch.manual_seed(config.seed)
    if initial is None:
        model = tiny_model()
    else:
        pipe = Zero123Pipeline.from_pretrained(initial)
        model = TrainedModel(pipe.unet, pipe.image_encoder, pipe.camera_projection)
    enable_one_token(model.unet)
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    return TrainState(model, copy.deepcopy(model).requires_grad_(False), optimizer)


def train(config: TrainConfig, state: TrainState) -> Generator[TrainProgress]:
    """Train in place until ``config.minutes`` have been spent, yielding after every step.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    vae, scheduler = PatchAutoencoder(), tiny_scheduler()
    rank, processes = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    first_seed = rank * (HELD_OUT_SEED // processes) + state.step * config.fresh_scenes
    torch.manual_seed(config.seed + first_seed)
    loader = DataLoader(
        ScenePairs(config, first_seed), batch_size=None, num_workers=1, prefetch_factor=4
    )
    mean_loss, clock = math.nan, time.monotonic()
    for batch in loader:
        done = _agreed(state.seconds / (60 * config.minutes))
        if done >= 1:
            return
        rate = config.learning_rate * min(1.0, (state.step + 1) / config.warmup_steps)
        rate *= 0.5 * (1 + math.cos(math.pi * done))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = denoising_loss(state.model, vae, scheduler, batch, config)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(
                f"loss: expected a finite number at step {state.step}, got {value}"
            )
        loss.backward()
        _average_gradients(state.model)
        nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.optimizer.step()
        state.optimizer.zero_grad()
        _average(state, config)
        state.step += 1
        state.pairs += len(batch["pose"]) * processes
        now = time.monotonic()
        spent, clock = now - clock, now
        state.seconds += spent
        mean_loss = value if math.isnan(mean_loss) else 0.99 * mean_loss + 0.01 * value
        yield TrainProgress(
            state.step, state.pairs, mean_loss, rate, len(batch["pose"]) * processes / spent, done
        )


def _agreed(done: float) -> float:
    """Every process's largest value, so that all stop at the same step."""
    if not dist.is_initialized():
        return done
    value = torch.tensor(done)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return float(value)


def _average_gradients(model: nn.Module) -> None:
    """The mean over processes, as if one had seen the whole batch."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def _average(state: TrainState, config: TrainConfig) -> None:
    decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
    for average, value in zip(state.ema.parameters(), state.model.parameters(), strict=True):
        average.lerp_(value, 1 - decay)


def save_checkpoint(path: Path, state: TrainState, config: TrainConfig) -> None:
    """Write a checkpoint whole or not at all (temporary file, fsync, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    content = {
        "model": state.model.state_dict(),
        "ema": state.ema.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "counters": {"step": state.step, "pairs": state.pairs, "seconds": state.seconds},
        "config": asdict(config),
    }
    with open(partial, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path, config: TrainConfig) -> TrainState:
    """Continue from :func:`save_checkpoint`'s file."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    state = start(config)
    state.model.load_state_dict(content["model"])
    state.ema.load_state_dict(content["ema"])
    state.optimizer.load_state_dict(content["optimizer"])
    for name, value in content["counters"].items():
        setattr(state, name, value)
    return state
