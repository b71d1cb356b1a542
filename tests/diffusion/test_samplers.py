"""Samplers against diffusers, against the equations of their papers, and against exact solutions.

Clean values that are N(0.7, 0.3^2) make both the best denoiser and the probability flow from unit
noise known in closed form, at every level of noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from zero123lib.diffusion import samplers
from zero123lib.diffusion.samplers import Sampler, SampleStep
from zero123lib.diffusion.schedule import PredictionType, Schedule
from zero123lib.training.recipe import tiny_scheduler

MEAN, STD = 0.7, 0.3
EXACT_COUNT: tuple[Any, ...] = ("ddim", "unipc", "dpmpp", "euler")
SOLVERS: dict[str, Any] = {
    "unipc": UniPCMultistepScheduler,
    "dpmpp": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}
BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
# Every prediction type under both kinds of schedule, less eps from pure noise, which says nothing.
MODELS = [
    ("epsilon", False),
    ("sample", False),
    ("v_prediction", False),
    ("sample", True),
    ("v_prediction", True),
]


def ddim_scheduler(prediction_type: Any = "epsilon", zero_snr: bool = False) -> Any:
    return DDIMScheduler(
        **BETAS,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
        clip_sample=False,
        timestep_spacing="trailing",
    )


def stable_diffusions() -> Any:
    """As the published checkpoints have it."""
    return DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)


def last(steps: Iterable[SampleStep]) -> Tensor:
    *_, step = steps
    return step.latents


def unit(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def wavy(x: Tensor, t: int) -> Tensor:
    """Some smooth network."""
    return torch.sin(x) + 0.1 * math.cos(t / 100) * x


def gaussian_model(schedule: Schedule) -> samplers.Model:
    """E[x0 | x] for the Gaussian at the top, as the schedule's model would say it."""

    def model(x: Tensor, t: int) -> Tensor:
        alpha, sigma = schedule.level(t)
        x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
        if schedule.prediction_type == "sample":
            return x0
        eps = (x - alpha * x0) / sigma
        return eps if schedule.prediction_type == "epsilon" else alpha * eps - sigma * x0

    return model


def flow(schedule: Schedule, x: Tensor, t: int | None) -> Tensor:
    """Where the probability flow takes x, from timestep 999, at timestep t."""
    alpha, sigma = schedule.level(999)
    standardised = (x - alpha * MEAN) / math.hypot(alpha * STD, sigma)
    alpha, sigma = schedule.level(t)
    return alpha * MEAN + math.hypot(alpha * STD, sigma) * standardised


def reached(sampler: Any, schedule: Schedule, x: Tensor, count: int) -> dict[int | None, Tensor]:
    """Latents by the timestep at which a step arrived; None is the clean end."""
    steps = list(samplers.start(sampler, gaussian_model(schedule), x, schedule, count))
    arrivals = [*(step.timestep for step in steps[1:]), None]
    return dict(zip(arrivals, (step.latents for step in steps), strict=True))


def flow_error(sampler: Any, schedule: Schedule, count: int, t: int | None) -> float:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64).view(1, 1, 3, 3)
    start = x * schedule.level(999)[1] if sampler == "euler" else x
    arrived = reached(sampler, schedule, x, count)[t]
    return float((arrived - flow(schedule, start, t)).abs().max())


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    ("sampler", "order"), [("ddim", 1), ("euler", 1), ("dpmpp", 2), ("unipc", 3)]
)
def test_order_of_convergence(sampler: str, order: int, prediction_type: PredictionType) -> None:
    # Before the last step, whose jump to clean latents is of first order for any sampler.
    schedule = Schedule.from_scheduler(ddim_scheduler(prediction_type))
    coarse, fine = (flow_error(sampler, schedule, count, 499) for count in (20, 100))
    assert math.log(coarse / fine) / math.log(5) == pytest.approx(order, abs=0.12)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
@pytest.mark.parametrize("sampler", EXACT_COUNT)
def test_convergence_from_pure_noise(sampler: str, prediction_type: PredictionType) -> None:
    schedule = Schedule.from_scheduler(ddim_scheduler(prediction_type, zero_snr=True))
    error = flow_error(sampler, schedule, 100, 499)
    # diffusers' solvers take pure noise to hold x0 times 2^-12.
    assert error < (8e-4 if sampler in ("ddim", "euler") else 2**-12)
    assert flow_error(sampler, schedule, 200, None) < 0.03


@pytest.mark.parametrize("scheduler", [tiny_scheduler, stable_diffusions])
@pytest.mark.parametrize("sampler", EXACT_COUNT)
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30, 61, 122, 201, 1000])
def test_exact_count_from_the_noisiest_to_the_clean_end(
    sampler: Any, count: int, scheduler: Any
) -> None:
    # A model that always sees the same clean latents must end in exactly these. diffusers' own
    # samplers do not: its DDIM wherever the count does not divide 1000, all of them at 61, 122 and
    # 201, where they evaluate once more, at t = -1.
    clean = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)
    schedule = Schedule.from_scheduler(scheduler())
    asked: list[int] = []

    def model(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        alpha, sigma = schedule.level(t)
        return clean if schedule.prediction_type == "sample" else (x - alpha * clean) / sigma

    steps = list(samplers.start(sampler, model, unit(1, 3, 2, 2), schedule, count))
    # Euler's last step subtracts numbers of its first sigma, 2^12 from pure noise, in float32.
    tolerance = 1e-3 if sampler == "euler" and count < 3 else 5e-6
    assert torch.allclose(steps[-1].latents, clean, atol=tolerance)
    assert asked == schedule.timesteps(count)
    assert [step.timestep for step in steps] == asked
    assert [step.index for step in steps] == list(range(count))
    assert {step.total for step in steps} == {count}
    assert all(torch.allclose(step.predicted, clean, atol=5e-5) for step in steps)


@pytest.mark.parametrize("sampler", SOLVERS)
def test_solvers_know_the_noise_of_their_timesteps_at_every_count(sampler: Any) -> None:
    schedule = Schedule.from_scheduler(stable_diffusions())
    for count in range(1, 1001):
        timesteps = schedule.timesteps(count)
        solver = samplers.diffusers_solver(sampler, schedule, timesteps)
        abar = schedule.alphas_cumprod[timesteps]
        assert len(solver.timesteps) == count
        assert torch.allclose(solver.sigmas[:-1].double(), (1 / abar - 1).sqrt(), rtol=1e-4)
        assert solver.sigmas[-1] == 0


def diffusers_run(scheduler: Any, x: Tensor, count: int) -> list[Tensor]:
    """Latents after every step of a plain loop, as diffusers' pipelines have it."""
    scheduler.set_timesteps(count)
    y, after = x * scheduler.init_noise_sigma, []
    for t in scheduler.timesteps:
        y = scheduler.step(wavy(scheduler.scale_model_input(y, t), int(t)), t, y).prev_sample
        after.append(scheduler.scale_model_input(y, t))
    return after


@pytest.mark.parametrize(("prediction_type", "zero_snr"), MODELS)
@pytest.mark.parametrize("sampler", SOLVERS)
@pytest.mark.parametrize("count", [1, 5, 20, 50])
def test_solvers_are_diffusers(
    sampler: Any, prediction_type: Any, zero_snr: bool, count: int
) -> None:
    reference = SOLVERS[sampler](
        **BETAS,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing="trailing",
    )
    schedule = Schedule.from_scheduler(reference)
    x = unit(2, 3, 4, 4)
    steps = list(samplers.start(sampler, wavy, x, schedule, count))
    # From pure noise a v-model says x0 exactly; diffusers reads it as if 2^-12 of x0 were there.
    tolerance = 2e-3 if zero_snr and prediction_type == "v_prediction" else 5e-6
    for step, expected in zip(steps, diffusers_run(reference, x, count), strict=True):
        assert (step.latents - expected).abs().max() < tolerance * expected.abs().max()


def test_euler_is_ddim_from_a_little_less_noise() -> None:
    schedule = Schedule.from_scheduler(stable_diffusions())
    x = unit(2, 3, 4, 4)
    _, sigma = schedule.level(999)
    less = samplers.start("ddim", wavy, sigma * x, schedule, 30)
    for ours, euler in zip(less, samplers.start("euler", wavy, x, schedule, 30), strict=True):
        assert torch.allclose(ours.latents, euler.latents, atol=2e-5)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(("prediction_type", "zero_snr"), MODELS)
@pytest.mark.parametrize("count", [1, 20])
def test_ddim_is_diffusers_ddim_where_steps_divide_t(
    prediction_type: str, zero_snr: bool, eta: float, count: int
) -> None:
    reference = ddim_scheduler(prediction_type, zero_snr)
    reference.set_timesteps(count)
    schedule = Schedule.from_scheduler(reference)
    noises = [unit(2, 3, 4, 4, seed=seed) for seed in range(count)]
    x, draws = noises[0], iter(noises[1:])
    steps = samplers.start("ddim", wavy, x, schedule, count, eta, lambda: next(draws))
    following = [*noises[1:], torch.zeros(2, 3, 4, 4)]  # the last step adds none
    arrivals = [*schedule.timesteps(count)[1:], None]
    for t, to, noise, ours in zip(reference.timesteps, arrivals, following, steps, strict=True):
        step = reference.step(wavy(x, int(t)), t, x, eta, variance_noise=noise if eta else None)
        x = step.prev_sample
        if zero_snr and eta == 1 and t == 999:
            # No eps is left of pure noise; diffusers leaves the root of a rounding error of it,
            # which is not a number where that is below zero.
            alpha, sigma = schedule.level(to)
            x = alpha * step.pred_original_sample + sigma * noise
        assert torch.allclose(ours.latents, x, atol=2e-5, rtol=1e-4)
        assert torch.allclose(ours.predicted, step.pred_original_sample, atol=2e-5, rtol=1e-4)


def plain_official(
    x: float, abar: np.ndarray, asked: int, eta: float, noises: list[float], model: Any
) -> tuple[float, int]:
    """One latent by Song et al. 2021, equations 12 and 16, at the official code's timesteps.

    Returns:
        The latent, and how many times the model was asked.
    """
    tau = [1 + i for i in range(0, 1000, 1000 // asked)][:-1]
    for i in reversed(range(len(tau))):
        now, before = abar[tau[i]], abar[tau[i - 1]] if i else abar[0]
        eps = model(x, tau[i])
        sigma = eta * np.sqrt((1 - before) / (1 - now)) * np.sqrt(1 - now / before)
        predicted = (x - np.sqrt(1 - now) * eps) / np.sqrt(now)
        direction = np.sqrt(1 - before - sigma**2) * eps
        x = np.sqrt(before) * predicted + direction + sigma * noises[i]
    return x, len(tau)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("asked", [2, 3, 12, 37, 50, 60, 75, 150, 501])
def test_official_is_the_papers_equations_at_the_official_timesteps(asked: int, eta: float) -> None:
    abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    noises = unit(1001, 3, dtype=torch.float64)
    expected, evaluations = zip(
        *(
            plain_official(
                float(noises[1000, j]),
                abar,
                asked,
                eta,
                noises[:, j].tolist(),
                lambda x, t: math.sin(x) + 0.1 * math.cos(t / 100) * x,
            )
            for j in range(3)
        ),
        strict=True,
    )
    schedule = Schedule(torch.from_numpy(abar))
    draws = iter(noises[: evaluations[0]].flip(0).view(-1, 1, 3, 1, 1))
    start = noises[1000].view(1, 3, 1, 1)
    steps = list(samplers.start("official", wavy, start, schedule, asked, eta, lambda: next(draws)))
    assert steps[-1].latents.flatten().tolist() == pytest.approx(expected, rel=1e-9)
    assert {(step.total, len(steps)) for step in steps} == {(evaluations[0], evaluations[0])}
    assert next(draws, None) is None or eta == 0  # noise on every step, the last one too


@pytest.mark.parametrize("eta", [0.5, 1.0])
@pytest.mark.parametrize(("sampler", "end"), [("ddim", None), ("official", 0)])
def test_added_noise_keeps_the_distribution(sampler: Any, end: int | None, eta: float) -> None:
    # "official" at 1000 starts from the noisiest timestep too, and ends at the noise of t = 0.
    schedule = Schedule.from_scheduler(ddim_scheduler("sample", zero_snr=True))
    random = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn(1, 1, 100, 100, generator=random, dtype=torch.float64)

    model = gaussian_model(schedule)
    x = last(samplers.start(sampler, model, noise(), schedule, 1000, eta, noise))
    # 10,000 values: the standard errors of mean and deviation are 0.003 and 0.002.
    alpha, sigma = schedule.level(end)
    assert float(x.mean()) == pytest.approx(alpha * MEAN, abs=0.01)
    assert float(x.std()) == pytest.approx(math.hypot(alpha * STD, sigma), abs=0.01)


@pytest.mark.parametrize("scheduler", [tiny_scheduler, stable_diffusions])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_tensor_sent_back_replaces_the_latents(sampler: Any, scheduler: Any) -> None:
    schedule = Schedule.from_scheduler(scheduler())
    seen: list[Tensor] = []

    def model(x: Tensor, t: int) -> Tensor:
        """Clean latents are all zero, so that x shrinks with sigma, by any sampler."""
        seen.append(x)
        return torch.zeros_like(x) if schedule.prediction_type == "sample" else x / level[t]

    level = {t: schedule.level(t)[1] for t in range(1000)}
    steps = samplers.start(sampler, model, unit(1, 1, 2, 2), schedule, 6)
    for _ in range(3):
        step = next(steps)
    other = torch.full((1, 1, 2, 2), 5.0)
    fourth = steps.send(other)
    fifth = next(steps)
    assert torch.allclose(seen[3], other, atol=1e-5)
    assert not torch.allclose(seen[3], step.latents, atol=1)
    shrunk = other * level[fifth.timestep] / level[fourth.timestep]
    assert torch.allclose(fourth.latents, shrunk, atol=1e-4)


@pytest.mark.parametrize("change", [False, True])
@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_latents_sent_back_matter_only_where_changed(sampler: Any, change: bool) -> None:
    schedule = Schedule.from_scheduler(tiny_scheduler())
    plain = last(samplers.start(sampler, wavy, unit(1, 1, 4, 4), schedule, 12))
    steps = samplers.start(sampler, wavy, unit(1, 1, 4, 4), schedule, 12)
    step = next(steps)
    while step.index < step.total - 1:
        if change:
            step.latents.mul_(1.5)
        step = steps.send(step.latents)
    assert torch.equal(step.latents, plain) == (not change)


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


@pytest.mark.parametrize(
    ("sampler", "eta", "message"),
    [
        ("heun", 0.0, "sampler: expected one of 'official', .*, 'euler', got 'heun'"),
        ([], 0.0, r"sampler: expected one of .*, got \[\]"),
        ("unipc", 0.5, "eta: expected 0, as 'unipc' adds no noise, got 0.5"),
        ("dpmpp", 1.0, "eta: expected 0, as 'dpmpp' adds no noise, got 1.0"),
        ("euler", 1, "eta: expected 0, as 'euler' adds no noise, got 1"),
        ("official", 1.5, r"eta: expected a number in \[0, 1\], got 1.5"),
        ("ddim", -0.1, r"eta: expected a number in \[0, 1\], got -0.1"),
        ("ddim", 0.5, "noise: expected a callable, as eta is 0.5, got None"),
    ],
)
def test_wrong_samplers_are_refused_at_once(sampler: Any, eta: float, message: str) -> None:
    schedule = Schedule.from_scheduler(tiny_scheduler())
    with pytest.raises(ValueError, match=f"^{message}$"):
        samplers.start(sampler, wavy, unit(1, 1, 2, 2), schedule, 4, eta)
