"""Samplers step by step: timesteps of one's own, replaced latents, where a run ends, its noise."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from zero123lib._errors import NotFiniteError
from zero123lib.diffusion import samplers
from zero123lib.diffusion.samplers import Sampler, SampleStep
from zero123lib.diffusion.schedule import Schedule

OWN = [900, 480, 20]
CPU = torch.device("cpu")
CLEAN = torch.linspace(-1, 1, 12).view(1, 3, 2, 2)


@pytest.fixture(scope="module")
def schedule() -> Schedule:
    return Schedule.from_scheduler(DDIMScheduler(prediction_type="sample", clip_sample=False))


def doubling(x: Tensor, t: int) -> Tensor:
    return 2 * x


def noise() -> Tensor:
    return torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", [name for name in get_args(Sampler) if name != "official"])
def test_timesteps_of_ones_own_are_visited(sampler: Any, schedule: Schedule) -> None:
    asked = []

    def model(x: Tensor, t: int) -> Tensor:
        asked.append(t)
        return CLEAN

    steps = samplers.start(sampler, model, noise(), schedule, 50, timesteps=OWN)
    assert steps.timesteps == OWN
    found = list(steps)
    assert [step.timestep for step in found] == asked == OWN
    assert {step.total for step in found} == {3}
    assert torch.allclose(found[-1].latents, CLEAN, atol=1e-5)


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_a_run_tells_its_timesteps_beforehand(sampler: Any, schedule: Schedule) -> None:
    steps = samplers.start(sampler, doubling, noise(), schedule, 7)
    assert steps.timesteps == [step.timestep for step in steps]


@pytest.mark.parametrize(
    ("sampler", "timesteps", "message"),
    [
        ("official", OWN, r"None with the official sampler, got \[900, 480, 20\]"),
        ("ddim", [1000, 1], r"whole numbers from 999 down to 0, .*, got \[1000, 1\]"),
        ("euler", [], r"whole numbers from 999 down to 0, .*, got \[\]"),
    ],
)
def test_timesteps_that_are_not_a_samplers_are_refused(
    sampler: Any, timesteps: list[int], message: str, schedule: Schedule
) -> None:
    with pytest.raises(ValueError, match=f"^timesteps: expected {message}$"):
        samplers.start(sampler, doubling, noise(), schedule, 7, timesteps=timesteps)


def test_ddim_adds_no_noise_unless_told(schedule: Schedule) -> None:
    plain = samplers.last(samplers.start("ddim", doubling, noise(), schedule, 7, eta=0.0))
    *_, step = samplers.ddim(doubling, noise(), schedule, schedule.timesteps(7))
    assert torch.equal(step.latents, plain)


def test_a_solver_of_other_steps_is_refused(schedule: Schedule) -> None:
    solver = samplers.diffusers_solver("euler", schedule, OWN)
    steps = samplers.solve(solver, doubling, noise(), schedule, OWN[:2])
    with pytest.raises(ValueError, match="shorter|longer"):
        list(steps)


def test_the_last_latents_are_those_of_the_last_step(schedule: Schedule) -> None:
    *_, step = samplers.start("ddim", doubling, noise(), schedule, 4)
    told: list[SampleStep] = []
    latents = samplers.last(samplers.start("ddim", doubling, noise(), schedule, 4), told.append)
    assert torch.equal(latents, step.latents)
    assert [one.index for one in told] == [0, 1, 2, 3]
    assert torch.equal(
        samplers.last(samplers.start("ddim", doubling, noise(), schedule, 4)), latents
    )


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_what_is_returned_of_a_step_takes_the_place_of_its_latents(
    sampler: Any, schedule: Schedule
) -> None:
    seen, other = [], torch.full((1, 3, 2, 2), 5.0)

    def model(x: Tensor, t: int) -> Tensor:
        seen.append(x)
        return CLEAN

    steps = samplers.start(sampler, model, noise(), schedule, 4)
    last = samplers.last(steps, lambda step: None if step.index == 1 else other * step.index)
    assert torch.equal(last, other * (len(seen) - 1))
    assert torch.allclose(seen[1], torch.zeros(()), atol=1e-6)
    assert not torch.allclose(seen[2], other, atol=1)  # of step 1, which keeps its own


@pytest.mark.parametrize("sampler", get_args(Sampler))
def test_what_is_returned_of_a_step_goes_on_in_the_type_of_the_latents(
    sampler: Any, schedule: Schedule
) -> None:
    types = []

    def model(x: Tensor, t: int) -> Tensor:
        types.append(x.dtype)
        return CLEAN

    samplers.last(
        samplers.start(sampler, model, noise(), schedule, 4), lambda step: step.latents.double() + 1
    )
    assert set(types) == {torch.float32}


def test_a_run_that_is_closed_ends_with_that_step(schedule: Schedule) -> None:
    told: list[SampleStep] = []

    def closing(step: SampleStep) -> None:
        told.append(step)
        if step.index == 1:
            steps.close()

    steps = samplers.start("ddim", doubling, noise(), schedule, 7)
    assert torch.equal(samplers.last(steps, closing), told[1].latents)
    assert len(told) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("bad", [[0], [2], [1, 3]])
def test_the_first_step_that_is_not_finite_is_named(
    bad: list[int], value: float, schedule: Schedule
) -> None:
    def spoilt(step: SampleStep) -> Tensor | None:
        if step.index not in bad:
            return torch.zeros_like(step.latents)
        return step.latents.index_fill(1, torch.tensor([1]), value)

    steps = samplers.start("ddim", doubling, noise(), schedule, 4)
    timestep = schedule.timesteps(4)[bad[0]]
    expected = rf"^latents: .* after step {bad[0] + 1} of 4 \(timestep {timestep}\), got NaN"
    with pytest.raises(NotFiniteError, match=expected):
        samplers.last(steps, spoilt)


def test_noise_lies_where_it_is_wanted_and_is_drawn_where_its_generator_lives() -> None:
    with torch.device("meta"):  # the device of what is made without one
        drawn = samplers.unit_noise((3, 4, 4), 2, None, CPU)
    assert drawn.device == CPU
    assert samplers.unit_noise((3, 4, 4), 2, None, torch.device("meta")).device.type == "meta"
