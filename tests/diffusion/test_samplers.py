"""Samplers against diffusers, against closed forms, and against exact solutions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from zero123lib.diffusion import samplers
from zero123lib.diffusion.samplers import PredictionType, SampleStep, Schedule
from zero123lib.training.recipe import tiny_scheduler


def scheduler(prediction_type: Any = "epsilon", zero_snr: bool = False, **config: Any) -> Any:
    defaults = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": False,
        "timestep_spacing": "trailing",
    }
    return DDIMScheduler(
        prediction_type=prediction_type, rescale_betas_zero_snr=zero_snr, **{**defaults, **config}
    )


def last(steps: Iterator[SampleStep]) -> Tensor:
    *_, step = steps
    return step.latents


def wavy(x: Tensor, t: int) -> Tensor:
    """Some smooth network."""
    return torch.sin(x) + 0.1 * math.cos(t / 100) * x


def test_timesteps_of_fifty_steps() -> None:
    schedule = Schedule.from_scheduler(scheduler())
    assert schedule.timesteps(50) == list(range(999, 0, -20))
    assert schedule.timesteps(2) == [999, 499]
    assert schedule.timesteps(1) == [999]


def test_every_count_of_steps_is_exact() -> None:
    schedule = Schedule.from_scheduler(scheduler())
    for count in range(1, 1001):
        timesteps = schedule.timesteps(count)
        assert len(timesteps) == count
        assert timesteps[0] == 999
        assert timesteps[-1] >= 0
        assert all(a > b for a, b in itertools.pairwise(timesteps))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    ("prediction_type", "zero_snr"),
    [("epsilon", False), ("sample", True), ("v_prediction", True), ("v_prediction", False)],
)
def test_ddim_is_diffusers_ddim_where_steps_divide_t(
    prediction_type: str, zero_snr: bool, eta: float
) -> None:
    reference = scheduler(prediction_type, zero_snr)
    random = torch.Generator().manual_seed(0)
    noises = [torch.randn(2, 3, 4, 4, generator=random) for _ in range(21)]
    reference.set_timesteps(20)
    x = noises[0]
    for t, noise in zip(reference.timesteps, noises[1:], strict=True):
        step = reference.step(wavy(x, int(t)), t, x, eta, variance_noise=noise if eta else None)
        x = step.prev_sample
    draws = iter(noises[1:])
    schedule = Schedule.from_scheduler(reference)
    ours = samplers.ddim(wavy, noises[0], schedule, 20, eta, lambda: next(draws))
    assert torch.allclose(last(ours), x, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp"])
@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_last_step_is_clean(sampler: Any, count: int) -> None:
    # A model that always sees the same clean latents must end in exactly these; diffusers' own
    # last step does not at 7 and 30, which do not divide 1000.
    clean = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    schedule = Schedule.from_scheduler(tiny_scheduler())
    noise = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    steps = list(samplers.start(sampler, lambda x, t: clean, noise, schedule, count))
    assert torch.allclose(steps[-1].latents, clean, atol=1e-6)
    assert [step.index for step in steps] == list(range(count))
    assert {step.total for step in steps} == {count}
    assert [step.timestep for step in steps] == schedule.timesteps(count)
    assert all(torch.equal(step.predicted, clean) for step in steps)


def gaussian_model(schedule: Schedule, mean: float, std: float) -> samplers.Model:
    """E[x0 | x] when clean values are N(mean, std^2), as the schedule's model would say it."""

    def model(x: Tensor, t: int) -> Tensor:
        alpha, sigma = schedule.level(t)
        x0 = mean + alpha * std**2 / (alpha**2 * std**2 + sigma**2) * (x - alpha * mean)
        if schedule.prediction_type == "sample":
            return x0
        eps = (x - alpha * x0) / sigma
        return eps if schedule.prediction_type == "epsilon" else alpha * eps - sigma * x0

    return model


def gaussian_error(sampler: Any, prediction_type: PredictionType, count: int, t: int) -> float:
    """Distance at timestep t to the exact solution of the probability flow from unit noise."""
    schedule = Schedule.from_scheduler(scheduler(prediction_type, prediction_type != "epsilon"))
    mean, std = 0.7, 0.3
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(1, 1, 3, 3)

    def exact(level: tuple[float, float]) -> Tensor:
        alpha, sigma = schedule.level(999)
        unit = (x - alpha * mean) / math.hypot(alpha * std, sigma)
        alpha, sigma = level
        return alpha * mean + math.hypot(alpha * std, sigma) * unit

    steps = samplers.start(sampler, gaussian_model(schedule, mean, std), x, schedule, count)
    arrivals = schedule.timesteps(count)[1:]
    reached = dict(zip(arrivals, (step.latents for step in steps), strict=False))
    return float((reached[t] - exact(schedule.level(t))).abs().max())


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp", 2)])
def test_order_of_convergence(sampler: str, order: int, prediction_type: PredictionType) -> None:
    # Before the last step, whose jump to clean latents is of first order for any sampler.
    coarse, fine = (gaussian_error(sampler, prediction_type, n, 499) for n in (20, 100))
    assert math.log(coarse / fine) / math.log(5) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_added_noise_keeps_the_distribution(eta: float) -> None:
    schedule = Schedule.from_scheduler(scheduler("sample", True))
    random = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(1, 1, 100, 200, generator=random, dtype=torch.float64)

    model = gaussian_model(schedule, 0.7, 0.3)
    x = last(samplers.ddim(model, noise(), schedule, 1000, eta, noise))
    # 20,000 values: the standard errors of mean and deviation are 0.002 and 0.0015.
    assert float(x.mean()) == pytest.approx(0.7, abs=0.01)
    assert float(x.std()) == pytest.approx(0.3, abs=0.01)


def test_clipping_is_the_checkpoints() -> None:
    clipped = Schedule.from_scheduler(scheduler("sample", True, clip_sample=True))
    x0, _ = clipped.split(torch.tensor([-3.0, 0.5, 3.0]), torch.zeros(3), 500)
    assert x0.tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, UniPCMultistepScheduler, PNDMScheduler])
def test_any_scheduler_tells_the_schedule(kind: Any) -> None:
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    schedule = Schedule.from_scheduler(kind(**betas, prediction_type="v_prediction"))
    expected = Schedule.from_scheduler(scheduler("v_prediction"))
    assert torch.equal(schedule.alphas_cumprod, expected.alphas_cumprod)
    assert schedule.prediction_type == "v_prediction"
    assert schedule.clip_range is None


def test_a_tensor_sent_back_replaces_the_latents() -> None:
    schedule = Schedule.from_scheduler(tiny_scheduler())
    seen: list[Tensor] = []

    def model(x: Tensor, t: int) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    steps = samplers.ddim(model, torch.ones(1, 1, 2, 2), schedule, 3)
    next(steps)
    other = torch.full((1, 1, 2, 2), 5.0)
    steps.send(other)
    next(steps)
    assert torch.equal(seen[1], other)
    assert not torch.equal(seen[2], other)


def test_noise_is_drawn_pose_by_pose() -> None:
    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    cpu = torch.device("cpu")
    many = samplers.unit_noise((3, 4, 4), 5, seeded(7), cpu)
    few = samplers.unit_noise((3, 4, 4), 2, seeded(7), cpu)
    assert torch.equal(many[:2], few)
    assert torch.equal(few[0], torch.randn(3, 4, 4, generator=seeded(7)))
    listed = samplers.unit_noise((3, 4, 4), 2, [seeded(1), seeded(2)], cpu)
    assert torch.equal(listed[1], torch.randn(3, 4, 4, generator=seeded(2)))


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="prediction_type: expected 'sample' or 'v_prediction'"):
        Schedule.from_scheduler(scheduler("epsilon", zero_snr=True))
    with pytest.raises(ValueError, match="prediction_type: expected one of 'epsilon'"):
        Schedule(torch.ones(3), "noise")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="scheduler: expected thresholding=False, got True"):
        Schedule.from_scheduler(scheduler("sample", thresholding=True))
