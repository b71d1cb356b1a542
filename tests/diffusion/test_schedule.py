"""Noise levels and lists of timesteps, against diffusers, the official code and closed forms."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from zero123lib.diffusion import samplers
from zero123lib.diffusion.schedule import Schedule

BETAS: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


def schedule_of(prediction_type: Any = "epsilon", **config: Any) -> Schedule:
    config = {"clip_sample": False, **config}
    return Schedule.from_scheduler(
        DDIMScheduler(**BETAS, prediction_type=prediction_type, **config)
    )


def test_levels_are_stable_diffusions() -> None:
    # Rombach et al. 2022: betas linear in their square root; the official code has them in float64.
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    expected = torch.from_numpy(np.cumprod(1 - betas))
    assert torch.allclose(schedule_of().alphas_cumprod, expected, rtol=2e-6, atol=0)


def test_timesteps_of_fifty_steps() -> None:
    schedule = schedule_of()
    assert schedule.timesteps(50) == list(range(999, 0, -20))
    assert schedule.timesteps(2) == [999, 499]
    assert schedule.timesteps(1) == [999]


def test_every_count_of_steps_is_exact() -> None:
    schedule = schedule_of()
    for count in range(1, 1001):
        timesteps = schedule.timesteps(count)
        assert len(timesteps) == count
        assert timesteps[0] == 999
        assert timesteps[-1] >= 0
        assert all(a > b for a, b in itertools.pairwise(timesteps))


# What the official `make_ddim_timesteps("uniform", asked, 1000)` returns, less its last entry, was
# read off a run of the official code: so many evaluations, the first timestep, the distance. All
# lists end at 1. Those marked with a star are not reached there, as the code crashes before.
@pytest.mark.parametrize(
    ("asked", "evaluations", "first", "apart"),
    [
        (2, 1, 1, 500),
        (3, 3, 667, 333),  # *
        (9, 9, 889, 111),  # *
        (12, 12, 914, 83),
        (27, 27, 963, 37),  # *
        (36, 37, 973, 27),  # *
        (37, 37, 973, 27),  # *
        (50, 49, 961, 20),
        (60, 62, 977, 16),
        (75, 76, 976, 13),
        (101, 111, 991, 9),  # *
        (111, 111, 991, 9),  # *
        (150, 166, 991, 6),
        (251, 333, 997, 3),  # *
        (333, 333, 997, 3),  # *
        (334, 499, 997, 2),
        (500, 499, 997, 2),
        (501, 999, 999, 1),  # *
        (1000, 999, 999, 1),  # *
    ],
)
def test_official_timesteps_are_those_of_the_official_code(
    asked: int, evaluations: int, first: int, apart: int
) -> None:
    schedule = schedule_of()
    timesteps = schedule.official_timesteps(asked)
    assert timesteps == list(range(first, 0, -apart))
    assert (len(timesteps), timesteps[-1]) == (evaluations, 1)
    assert samplers.step_count("official", schedule, asked) == evaluations


def test_official_timesteps_exist_for_every_count_but_one() -> None:
    schedule = schedule_of()
    for asked in range(2, 1001):
        timesteps, apart = schedule.official_timesteps(asked), 1000 // asked
        assert timesteps[-1] == 1 and timesteps[0] <= 999
        assert {a - b for a, b in itertools.pairwise(timesteps)} <= {apart}
        # One more would be the noisiest, at most T, which the official code leaves out.
        assert timesteps[0] + apart <= 1000 < timesteps[0] + 2 * apart


@pytest.mark.parametrize("sampler", ["ddim", "unipc", "dpmpp", "euler"])
def test_other_samplers_take_the_asked_number_of_steps(sampler: Any) -> None:
    schedule = schedule_of()
    counts = [samplers.step_count(sampler, schedule, count) for count in range(1, 1001)]
    assert counts == list(range(1, 1001))


@pytest.mark.parametrize(
    ("sampler", "count", "message"),
    [
        ("official", 1, "from 2 to 1000 for the official sampler, got 1$"),
        ("official", 0, "from 2 to 1000 for the official sampler, got 0$"),
        ("official", 1001, "from 2 to 1000 for the official sampler, got 1001$"),
        ("official", True, "got True$"),
        ("official", 50.0, "got 50.0$"),
        ("ddim", 0, "from 1 to 1000, got 0$"),
        ("unipc", 1001, "from 1 to 1000, got 1001$"),
        ("dpmpp", 2.5, "got 2.5$"),
        ("euler", None, "got None$"),
    ],
)
def test_impossible_counts_are_refused_at_once(sampler: Any, count: Any, message: str) -> None:
    expected = f"^num_inference_steps: expected a whole number .*{message}"
    schedule = schedule_of()
    with pytest.raises(ValueError, match=expected):
        samplers.step_count(sampler, schedule, count)
    with pytest.raises(ValueError, match=expected):
        samplers.start(sampler, lambda x, t: x, torch.zeros(1, 1, 1, 1), schedule, count)


TYPES: list[Any] = ["epsilon", "sample", "v_prediction"]
AT = torch.tensor([0, 17, 500, 998])


def latents(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("prediction_type", TYPES)
def test_one_timestep_each_is_one_after_the_other(prediction_type: Any) -> None:
    schedule, (x0, eps) = schedule_of(prediction_type), (latents(0), latents(1))

    def together(t: Any, a: torch.Tensor, b: torch.Tensor) -> list[torch.Tensor]:
        return [
            schedule.add_noise(a, b, t),
            schedule.target(a, b, t),
            *schedule.x0_and_eps(a, b, t),
        ]

    whole = together(AT, x0, eps)
    apart = [together(int(t), x0[i, None], eps[i, None]) for i, t in enumerate(AT)]
    for one, parts in zip(whole, zip(*apart, strict=True), strict=True):
        assert torch.equal(one, torch.cat(parts))


@pytest.mark.parametrize("prediction_type", TYPES)
def test_an_output_that_is_the_target_gives_back_what_went_in(prediction_type: Any) -> None:
    schedule = schedule_of(prediction_type)
    x0, eps = latents(0, torch.float64), latents(1, torch.float64)
    noisy = schedule.add_noise(x0, eps, AT)
    found = schedule.x0_and_eps(schedule.target(x0, eps, AT), noisy, AT)
    for one, expected in zip(found, (x0, eps), strict=True):
        assert torch.allclose(one, expected, atol=1e-10)


def test_noise_and_velocity_are_diffusers() -> None:
    schedule, (x0, eps) = schedule_of("v_prediction"), (latents(0), latents(1))
    reference: Any = DDIMScheduler(**BETAS)
    assert torch.allclose(schedule.add_noise(x0, eps, AT), reference.add_noise(x0, eps, AT))
    velocity = reference.get_velocity(x0, eps, AT)
    assert torch.allclose(schedule.target(x0, eps, AT), velocity, atol=1e-6)


def test_levels_broadcast_in_the_type_of_what_they_are_of() -> None:
    schedule = schedule_of()
    assert schedule.level(None) == (1.0, 0.0)
    for like in (latents(0).half(), latents(0)[..., 0], torch.zeros(4)):
        for value, one in zip(schedule.level(AT, like), (0, 1), strict=True):
            assert (value.dtype, value.ndim) == (like.dtype, like.ndim)
            expected = torch.tensor([schedule.level(int(t))[one] for t in AT])
            assert torch.allclose(value.flatten().float(), expected, atol=1e-3)


def test_clipping_is_the_checkpoints() -> None:
    clipped = schedule_of("sample", rescale_betas_zero_snr=True, clip_sample=True)
    x0, _ = clipped.x0_and_eps(torch.tensor([-3.0, 0.5, 3.0]), torch.zeros(3), 500)
    assert x0.tolist() == [-1.0, 0.5, 1.0]
    assert schedule_of("sample", clip_sample=True, clip_sample_range=2.0).clip_range == 2
    told = SimpleNamespace(alphas_cumprod=None, config={"clip_sample": True})  # but not how far
    assert Schedule.from_scheduler(told).clip_range == 1


@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, UniPCMultistepScheduler, PNDMScheduler])
def test_any_scheduler_tells_the_schedule(kind: Any) -> None:
    schedule = Schedule.from_scheduler(kind(**BETAS, prediction_type="v_prediction"))
    assert torch.equal(schedule.alphas_cumprod, schedule_of("v_prediction").alphas_cumprod)
    assert schedule.prediction_type == "v_prediction"
    assert schedule.clip_range is None


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match="prediction_type: expected 'sample' or 'v_prediction'"):
        schedule_of("epsilon", rescale_betas_zero_snr=True)
    with pytest.raises(ValueError, match="prediction_type: expected one of 'epsilon'"):
        Schedule(torch.ones(3), "noise")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="scheduler: expected thresholding=False, got True"):
        schedule_of("sample", thresholding=True)
    with pytest.raises(ValueError, match="with betas, .*, got a FlowMatchEulerDiscreteScheduler"):
        Schedule.from_scheduler(FlowMatchEulerDiscreteScheduler())
