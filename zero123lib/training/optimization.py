"""The paper's optimizer: its groups of parameters, its learning rate, its running average."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zero123lib.training.config import OptimizerConfig, ScheduleConfig
from zero123lib.training.muon import MuonWithAdamW
from zero123lib.training.sharding import put

_PROJECTION = "camera_projection."


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Build AdamW over what is trained, the camera projection in a group of its own.

    Each group keeps the learning rate that the schedule's factor is applied to as ``base_lr``.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups: list[dict[str, Any]] = []
    for factor, inside in ((1.0, False), (config.projection_factor, True)):
        members = [
            p
            for name, p in trained.items()
            if name.startswith(_PROJECTION) == inside and not _orthogonalized(name, p, config)
        ]
        rate = factor * config.learning_rate
        groups.append({"params": members, "lr": rate, "base_lr": rate})
    settings: dict[str, Any] = {
        "betas": config.betas, "eps": config.epsilon, "weight_decay": config.weight_decay
    }  # fmt: skip
    if config.muon_learning_rate is None:
        return torch.optim.AdamW(groups, fused=True, **settings)
    rate = config.muon_learning_rate
    members = [p for name, p in trained.items() if _orthogonalized(name, p, config)]
    groups.append({"params": members, "lr": rate, "base_lr": rate, "muon": True})
    return MuonWithAdamW(groups, fused=True, **settings)


def _orthogonalized(name: str, parameter: Tensor, config: OptimizerConfig) -> bool:
    """Tell whether Muon trains it: a matrix inside the UNet or the tower, not at their ends."""
    ends = ("conv_in", "conv_out", "embedding", _PROJECTION)
    inner = parameter.ndim >= 2 and not any(end in name for end in ends)
    return config.muon_learning_rate is not None and inner


def rate_factor(step: int, done: float, config: ScheduleConfig) -> float:
    """Return what learning rates are multiplied by at a step.

    Warm-up is ``start + (1 - start) n / W`` for n < W (official ``lr_scheduler.py``,
    LambdaLinearScheduler), then 1; the cosine decay is ``(1 + cos(pi done)) / 2``.

    Args:
        step: n, steps done before this one.
        done: fraction of the budget that is budget_progress, 0 to 1.
    """
    factor = 1.0
    if step < config.warmup_steps:
        factor = config.warmup_start + (1 - config.warmup_start) * step / config.warmup_steps
    if config.decay == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * done))
    return factor


def ema_decay(updates: int, limit: float) -> float:
    """Return the average's decay at its update number ``updates``, the first being 1.

    It is ``(1 + n) / (10 + n)`` up to the limit (official ``ldm/modules/ema.py``, LitEma).
    """
    return min(limit, (1 + updates) / (10 + updates))


class RunningAverage:
    """The exponential moving average of all weights that are trained.

    Args:
        model: whose trained weights it follows.
        initial: what it starts from in place of the weights themselves, by name.
    """

    def __init__(self, model: nn.Module, initial: Mapping[str, Tensor] | None = None) -> None:
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._followed = list(trained.values())
        self.weights = {name: p.detach().clone() for name, p in trained.items()}
        for name, average in self.weights.items():
            if initial and name in initial:
                put(average, initial[name])

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Set ``average <- decay * average + (1 - decay) * weight``."""
        for average, value in zip(self.weights.values(), self._followed, strict=True):
            average.lerp_(value, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the place of the weights for as long as it lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, value in zip(self.weights.values(), self._followed, strict=True):
            kept = value.clone()
            value.copy_(average)
            average.copy_(kept)
