"""Optimizer groups, learning rates and averages against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from tests.training.toy import NumberedPairs, toy_config
from zero123lib.training.config import OptimizerConfig, ScheduleConfig
from zero123lib.training.config_files import read_config
from zero123lib.training.loop import train
from zero123lib.training.optimization import (
    RunningAverage,
    ema_decay,
    make_optimizer,
    rate_factor,
)
from zero123lib.training.state import start


class TwoParts(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unet = torch.nn.Linear(2, 2)
        self.camera_projection = torch.nn.Linear(3, 2)
        self.unet.bias.requires_grad_(False)


def test_the_papers_optimizer():
    """AdamW as torch has it by default, at 1e-4, and the projection at ten times that."""
    model = TwoParts()
    optimizer = make_optimizer(model, read_config("zero123", [("data.path", "x")]).optimizer)
    rest, projection = optimizer.param_groups
    assert rest["params"] == [model.unet.weight]  # the frozen bias is in no group
    assert projection["params"] == list(model.camera_projection.parameters())
    assert (rest["lr"], projection["lr"]) == (1e-4, pytest.approx(1e-3))
    defaults = torch.optim.AdamW([torch.zeros(1)]).defaults
    for name in ("betas", "eps", "weight_decay"):
        assert rest[name] == projection[name] == defaults[name]


def test_warm_up_is_linear_then_constant():
    """Official: f = f_start + (1 - f_start) n / 100 for n < 100, then 1."""
    config = ScheduleConfig()
    factors = [rate_factor(n, 0.5, config) for n in range(200)]
    assert factors[0] == 1e-6 and factors[50] == pytest.approx(1e-6 + (1 - 1e-6) / 2)
    assert torch.tensor(factors[:101]).diff().diff().abs().max() < 1e-6
    assert factors[100:] == [1.0] * 100


def test_cosine_falls_to_zero_over_the_budget():
    config = ScheduleConfig(warmup_steps=0, decay="cosine")
    for done in (0.0, 0.25, 0.5, 1.0):
        expected = math.cos(math.pi * done / 2) ** 2
        assert rate_factor(7, done, config) == pytest.approx(expected, abs=1e-12)


def test_every_step_has_its_learning_rate(tmp_path):
    state = start(toy_config(tmp_path))
    rates = [p.learning_rate for p in train(state, NumberedPairs())]
    schedule = state.config.schedule
    expected = [1e-3 * rate_factor(n, n / 6, schedule) for n in range(6)]
    assert rates == pytest.approx(expected, rel=1e-12)
    rest, projection = state.optimizer.param_groups
    assert projection["lr"] == pytest.approx(2 * rest["lr"])


def test_the_averages_decay_warms_up():
    assert [ema_decay(n, 0.9999) for n in (1, 8)] == [2 / 11, 0.5]
    assert ema_decay(10**6, 0.9999) == 0.9999


def test_average_closed_form_of_unet_and_projection():
    """Weights that jump from 0 to 1 leave an average of 1 - product of decays."""
    model = TwoParts()
    for parameter in model.parameters():
        parameter.data.zero_()
    average = RunningAverage(model)
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    for n in range(1, 21):
        average.update(ema_decay(n, 0.6))
    expected = 1 - math.prod(min(0.6, (1 + n) / (10 + n)) for n in range(1, 21))
    followed = {"unet.weight", "camera_projection.weight", "camera_projection.bias"}
    assert average.weights.keys() == followed
    for tensor in average.weights.values():
        assert torch.allclose(tensor, torch.full_like(tensor, expected))


def test_applying_an_average_is_undone_to_the_bit():
    model = TwoParts()
    average = RunningAverage(model, {"unet.weight": torch.full((2, 2), 0.1)})
    before = [p.detach().clone() for p in model.parameters()]
    with average.applied():
        assert torch.equal(model.unet.weight, torch.full((2, 2), 0.1))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert torch.equal(average.weights["unet.weight"], torch.full((2, 2), 0.1))


def test_a_run_averages_the_projection_too(tmp_path):
    state = start(toy_config(tmp_path, "trained.image_encoder=false"))
    rooms = {name.partition(".")[0] for name in state.average.weights}
    assert rooms == {"unet", "camera_projection"}
    first = {name: w.clone() for name, w in state.average.weights.items()}
    next(iter(train(state, NumberedPairs())))
    # The first update has the decay 2 / 11.
    for name, weight in state.trained.items():
        expected = first[name].lerp(weight, 9 / 11)
        assert torch.allclose(state.average.weights[name], expected, atol=1e-7), name


def test_weight_decay_reaches_adamw():
    model = TwoParts()
    config = OptimizerConfig(learning_rate=0.1, projection_factor=1, weight_decay=0.5)
    optimizer = make_optimizer(model, config)
    before = model.unet.weight.detach().clone()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model.unet.weight, before * (1 - 0.1 * 0.5))
