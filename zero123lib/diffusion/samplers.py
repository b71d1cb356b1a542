"""Samplers: one algorithm, one generator, over one signature of a model.

A model is a callable ``model(x, t) -> output`` on noisy latents ``x`` ``[N, C, h, w]``; guidance
is inside it. What its output means, x0, eps or v, is the business of the :class:`Schedule`, where
these words are explained, so no sampler asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, get_args

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from zero123lib._choices import NOISY_SAMPLERS, Sampler
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_number
from zero123lib.diffusion.schedule import Schedule

# official: DDIM as the official code runs it, for its very numbers; see `official`.
# ddim:  Song et al. 2021. First order; deterministic at eta 0, ancestral at eta 1.
# unipc: UniPC, Zhao et al. 2023. Third order: for 5 to 20 steps.
# dpmpp: DPM-Solver++(2M), Lu et al. 2022. Second order: for 10 to 25 steps.
# euler: Euler's method in sigma / alpha, Karras et al. 2022. First order.
# All but "official" take exactly the asked number of steps, start at the noisiest timestep
# whatever the checkpoint's spacing is, and end at clean latents.

_SOLVERS: dict[str, Any] = {
    "unipc": UniPCMultistepScheduler,
    "dpmpp": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
}

Model = Callable[[Tensor, int], Tensor]
Noise = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class SampleStep:
    """One finished step.

    Attributes:
        index: 0 for the first of ``total`` steps.
        total: evaluations of the model in all, which :func:`step_count` tells beforehand.
        timestep: where the model was asked.
        latents: ``[N, C, h, w]`` after the step.
        predicted: ``[N, C, h, w]``, the clean latents that the model saw in the noise: decode
            them for a live preview.
    """

    index: int
    total: int
    timestep: int
    latents: Tensor
    predicted: Tensor


# Yields steps; a tensor sent back takes the place of that step's latents.
Steps = Generator[SampleStep, Tensor | None, None]


def ddim(
    model: Model,
    x: Tensor,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    noise: Noise | None = None,
) -> Steps:
    """DDIM (Song et al. 2021, equations 12 and 16), corrected: exact count, clean end.

    Each step goes to the timestep where the next one evaluates, and the last to clean latents.
    It is our own, since diffusers' DDIMScheduler goes ``T // steps`` down instead, which misses
    both wherever ``steps`` does not divide T; where it does, the two agree.

    Args:
        model: see the top of the module.
        x: unit noise ``[N, C, h, w]``.
        schedule: noise levels.
        num_inference_steps: exactly this many evaluations.
        eta: in [0, 1]; 0 adds no noise, 1 as much as DDPM.
        noise: draws fresh unit noise ``[N, C, h, w]``, unless eta is 0; called only where noise is
            added, which the last step never does.

    Raises:
        ValueError: a number of steps that the schedule does not have, or eta without ``noise``.
    """
    timesteps = schedule.timesteps(num_inference_steps)
    _check_noise(eta, noise)
    return _ddim(model, x, schedule, timesteps, None, eta, noise)


def official(
    model: Model,
    x: Tensor,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    noise: Noise | None = None,
) -> Steps:
    """DDIM as zero123's ``ldm/models/diffusion/ddim.py`` runs it; arguments as for :func:`ddim`.

    The step is the paper's; the schedule is the official code's. ``num_inference_steps`` is not
    the number of evaluations, and unit noise enters below the noisiest timestep, for which it is a
    little too noisy (see :meth:`Schedule.official_timesteps`). The last step ends at the noise of
    t = 0 and not at clean latents; with eta it adds noise like every other.

    Raises:
        ValueError: a number of steps that has no such schedule, or eta without ``noise``.
    """
    timesteps = schedule.official_timesteps(num_inference_steps)
    _check_noise(eta, noise)
    return _ddim(model, x, schedule, timesteps, 0, eta, noise)


def _ddim(
    model: Model,
    x: Tensor,
    schedule: Schedule,
    timesteps: list[int],
    end: int | None,
    eta: float,
    noise: Noise | None,
) -> Steps:
    for index, (t, to) in enumerate(zip(timesteps, [*timesteps[1:], end], strict=True)):
        x0, eps = schedule.split(model(x, t), x, t)
        (alpha, sigma), (alpha_to, sigma_to) = schedule.level(t), schedule.level(to)
        added = eta * sigma_to / sigma * math.sqrt(1 - (alpha / alpha_to) ** 2)  # equation 16
        x = alpha_to * x0 + math.sqrt(sigma_to**2 - added**2) * eps
        if added and noise is not None:
            x = x + added * noise()
        replaced = yield SampleStep(index, len(timesteps), t, x, x0)
        x = x if replaced is None else replaced


def solve(
    sampler: Sampler, model: Model, x: Tensor, schedule: Schedule, num_inference_steps: int
) -> Steps:
    """What diffusers' "unipc", "dpmpp" or "euler" does; arguments as for :func:`ddim`.

    An Euler step in sigma / alpha is a DDIM step with eta 0; what differs is the start, where
    diffusers takes the noise times sigma, without its share of alpha.
    """
    timesteps = schedule.timesteps(num_inference_steps)
    return _solve(diffusers_solver(sampler, schedule, timesteps), model, x, schedule, timesteps)


def _solve(solver: Any, model: Model, x: Tensor, schedule: Schedule, timesteps: list[int]) -> Steps:
    y = x * solver.init_noise_sigma  # in the solver's scale: x for all but Euler, with x / alpha
    for index, (t, step) in enumerate(zip(timesteps, solver.timesteps, strict=True)):
        x = solver.scale_model_input(y, step)
        x0, _ = schedule.split(model(x, t), x, t)
        y = solver.step(x0, step, y, return_dict=False)[0]
        scale = float(solver.scale_model_input(torch.ones(()), step))  # now that of the next step
        replaced = yield SampleStep(index, len(timesteps), t, y * scale, x0)
        # Compared by value: latents sent back as they are must change nothing, not even rounding.
        if replaced is not None and not torch.equal(replaced := replaced.to(y), y * scale):
            y = replaced / scale
            if isinstance(solver, UniPCMultistepScheduler):
                # Its corrector would redo the last step and so undo the replacement.
                solver.last_sample = None


def diffusers_solver(sampler: Sampler, schedule: Schedule, timesteps: list[int]) -> Any:
    """diffusers' scheduler for "unipc", "dpmpp" or "euler", set to step through ``timesteps``.

    It is told of these timesteps' noise alone, so it has as many timesteps as steps to take and
    nothing to space: its own lists are one too long for 62 of the counts up to 1000 (61, 103, 121,
    ...), with a last evaluation at t = -1. It is also given x0 whatever the model predicts, so that
    clipping and pure noise are the schedule's business here too.
    """
    abar = schedule.alphas_cumprod[timesteps].flip(0)
    solver = _SOLVERS[sampler](
        num_train_timesteps=len(timesteps),
        trained_betas=(1 - abar / torch.cat([abar.new_ones(1), abar[:-1]])).tolist(),
        prediction_type="sample",
        timestep_spacing="trailing",
        # Solvers need log(alpha): with this, diffusers puts abar = 2^-24 in place of 0.
        rescale_betas_zero_snr=bool(abar[-1] == 0),
    )
    solver.set_timesteps(len(timesteps))
    return solver


def start(
    sampler: Sampler,
    model: Model,
    x: Tensor,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    noise: Noise | None = None,
) -> Steps:
    """The named sampler's steps; arguments as for :func:`ddim`, and checked at once.

    Raises:
        ValueError: an unknown name, eta where the algorithm adds no noise or without a source of
            noise, or a number of steps that the sampler does not have.
    """
    check_sampler(sampler, eta)
    if sampler in _SOLVERS:
        return solve(sampler, model, x, schedule, num_inference_steps)
    run = official if sampler == "official" else ddim
    return run(model, x, schedule, num_inference_steps, eta, noise)


def step_count(sampler: Sampler, schedule: Schedule, num_inference_steps: int) -> int:
    """How many steps :func:`start` yields: what a progress bar ends at.

    Raises:
        ValueError: a number of steps that the sampler does not have.
    """
    if sampler == "official":
        return len(schedule.official_timesteps(num_inference_steps))
    return len(schedule.timesteps(num_inference_steps))


def check_sampler(sampler: str, eta: float) -> None:
    """Raise ValueError for an unknown name, or for an eta that the sampler does not take."""
    if sampler not in get_args(Sampler):
        names = ", ".join(map(repr, get_args(Sampler)))
        raise ArgumentError("sampler", f"one of {names}", repr(sampler))
    check_number("eta", eta, 0.0, 1.0)
    if eta and sampler not in NOISY_SAMPLERS:
        raise ArgumentError("eta", f"0, as {sampler!r} adds no noise", repr(eta))


def _check_noise(eta: float, noise: Noise | None) -> None:
    if eta and noise is None:
        raise ArgumentError("noise", f"a callable, as eta is {eta:g}", "None")


def unit_noise(
    shape: tuple[int, int, int],
    count: int,
    generator: torch.Generator | list[torch.Generator] | None,
    device: torch.device,
) -> Tensor:
    """Unit noise ``[count, *shape]`` float32, drawn pose by pose.

    Drawn where each generator lives (the CPU without one), so that a seed means the same noise on
    every device, and the first poses get the same noise however many follow.

    Args:
        generator: one for all, or a list of one per pose.
    """
    generators = generator if isinstance(generator, list) else [generator] * count
    drawn = [torch.randn(shape, generator=g, device=g.device if g else "cpu") for g in generators]
    return torch.stack([noise.to(device) for noise in drawn])
