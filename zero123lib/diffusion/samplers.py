"""Samplers: one algorithm, one generator, over one signature of a model.

A model is a callable ``model(x, t) -> output`` on noisy latents ``x`` ``[N, C, h, w]``; guidance
is inside it. What its output means, x0, eps or v, is the business of the :class:`Schedule`, where
these words are explained, so no sampler asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from zero123lib._choices import NOISY_SAMPLERS, Sampler
from zero123lib._errors import ArgumentError, NotFiniteError
from zero123lib.diffusion.arguments import check_choice, check_number, checked_timesteps
from zero123lib.diffusion.schedule import Schedule

# official: DDIM as the official code runs it, for its very numbers; see `ddim`.
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

Model = Callable[[Tensor, Any], Tensor]
Noise = Callable[[], Tensor]


@dataclass(frozen=True, eq=False)
class SampleStep:
    """Hold one finished step.

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


class Steps(Generator[SampleStep, Tensor | None, None]):
    """Yield each :class:`SampleStep`; a tensor sent back takes the place of that step's latents.

    Attributes:
        timesteps: where the model is evaluated, one per step.
    """

    def __init__(self, steps: Generator[SampleStep, Tensor | None, None], timesteps: Any) -> None:
        self._steps, self.timesteps = steps, timesteps

    def send(self, value: Tensor | None) -> SampleStep:
        """Go on to the next step."""
        return self._steps.send(value)

    def throw(self, *error: Any) -> SampleStep:
        """Raise an error inside the sampler."""
        return self._steps.throw(*error)


def ddim(
    model: Model,
    x: Tensor,
    schedule: Schedule,
    timesteps: Sequence[int],
    end: int | None = None,
    eta: float = 0.0,
    noise: Noise | None = None,
) -> Generator[SampleStep, Tensor | None, None]:
    """Sample by DDIM (Song et al. 2021, equations 12 and 16).

    Each step goes to the timestep where the next one evaluates, and the last to ``end``. It is our
    own, since diffusers' DDIMScheduler goes ``T // steps`` down instead, which misses both wherever
    ``steps`` does not divide T; where it does, the two agree.

    zero123's ``ldm/models/diffusion/ddim.py`` ("official") takes the same steps by another
    schedule: unit noise enters below the noisiest timestep, for which it is a little too noisy (see
    :meth:`Schedule.official_timesteps`), and the last step ends at the noise of t = 0 and not at
    clean latents; with eta it adds noise like every other.

    Args:
        model: see the top of the module.
        x: unit noise ``[N, C, h, w]``.
        schedule: noise levels.
        timesteps: where to evaluate, falling.
        end: the timestep of what comes out; None for clean latents.
        eta: in [0, 1]; 0 adds no noise, 1 as much as DDPM.
        noise: draws fresh unit noise ``[N, C, h, w]``, unless eta is 0; called only where noise is
            added, which a step to clean latents never does.
    """
    for index, (t, to) in enumerate(zip(timesteps, [*timesteps[1:], end], strict=True)):
        x0, eps = schedule.x0_and_eps(model(x, t), x, t)
        (alpha, sigma), (alpha_to, sigma_to) = schedule.level(t), schedule.level(to)
        added = eta * sigma_to / sigma * math.sqrt(1 - (alpha / alpha_to) ** 2)  # equation 16
        x = alpha_to * x0 + math.sqrt(sigma_to**2 - added**2) * eps
        if added and noise is not None:
            x = x + added * noise()
        replaced = yield SampleStep(index, len(timesteps), t, x, x0)
        x = x if replaced is None else replaced.to(x)


def solve(
    solver: Any, model: Model, x: Tensor, schedule: Schedule, timesteps: Sequence[int]
) -> Generator[SampleStep, Tensor | None, None]:
    """Sample by a solver that :func:`diffusers_solver` made; arguments as for :func:`ddim`.

    An Euler step in sigma / alpha is a DDIM step with eta 0; what differs is the start, where
    diffusers takes the noise times sigma, without its share of alpha.
    """
    y = x * solver.init_noise_sigma  # in the solver's scale: x for all but Euler, with x / alpha
    for index, (t, step) in enumerate(zip(timesteps, solver.timesteps, strict=True)):
        x = solver.scale_model_input(y, step)
        x0, _ = schedule.x0_and_eps(model(x, t), x, t)
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
    """Make diffusers' scheduler for "unipc", "dpmpp" or "euler", to step through ``timesteps``.

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
    timesteps: Sequence[int] | None = None,
) -> Steps:
    """Start the named sampler; arguments, checked at once, as for :func:`ddim`.

    Args:
        num_inference_steps: see :func:`timesteps_of`.
        timesteps: of one's own, in place of the sampler's.

    Raises:
        ArgumentError: an unknown name, eta where the algorithm adds no noise or without a source of
            noise, or steps that the sampler does not have.
    """
    check_sampler(sampler, eta)
    if eta and noise is None:
        raise ArgumentError("noise", f"a callable, as eta is {eta:g}", "None")
    visited = timesteps_of(sampler, schedule, num_inference_steps, timesteps)
    if sampler in _SOLVERS:
        solver = diffusers_solver(sampler, schedule, visited)
        return Steps(solve(solver, model, x, schedule, visited), visited)
    end = 0 if sampler == "official" else None
    return Steps(ddim(model, x, schedule, visited, end, eta, noise), visited)


def timesteps_of(
    sampler: Sampler,
    schedule: Schedule,
    num_inference_steps: int,
    timesteps: Sequence[int] | None = None,
) -> list[int]:
    """Return where a sampler evaluates the model, falling.

    Args:
        num_inference_steps: so many, but for the official sampler, which makes its own number of
            it; of no effect beside ``timesteps``.
        timesteps: of one's own.

    Raises:
        ArgumentError: the sampler does not have such steps.
    """
    official = sampler == "official"
    if timesteps is None:
        find = schedule.official_timesteps if official else schedule.timesteps
        return find(num_inference_steps)
    if official:
        raise ArgumentError("timesteps", "None with the official sampler", repr(timesteps))
    return checked_timesteps(timesteps, schedule.num_train_timesteps)


def step_count(sampler: Sampler, schedule: Schedule, num_inference_steps: int) -> int:
    """Return how many steps :func:`start` yields: what a progress bar ends at.

    Raises:
        ArgumentError: the sampler does not have such a number.
    """
    return len(timesteps_of(sampler, schedule, num_inference_steps))


def last(steps: Steps, on_step: Callable[[SampleStep], Tensor | None] | None = None) -> Tensor:
    """Run a sampler to its end and return the last latents ``[N, C, h, w]``.

    Args:
        on_step: told of every step; a tensor that it returns takes the place of the step's
            latents. Where it closes ``steps`` this step is the last.

    Raises:
        NotFiniteError: a step's latents are NaN or infinite.
    """
    latents, replaced = None, None
    visited: list[int] = []
    finite: list[Tensor] = []
    while True:
        try:
            step = steps.send(replaced)
        except StopIteration:
            break
        replaced = on_step(step) if on_step is not None else None
        latents = step.latents if replaced is None else replaced
        visited.append(step.timestep)
        finite.append(latents.isfinite().all())  # not read here: a GPU would be waited for
    assert latents is not None, "a schedule has at least one step"
    check_finite(visited, torch.stack(finite))
    return latents


def check_finite(timesteps: Sequence[int], finite: Tensor) -> None:
    """Raise NotFiniteError, which names the first bad step, unless all steps are finite.

    Args:
        timesteps: of the steps.
        finite: ``[steps]``, whether each one's latents are.
    """
    bad = (~finite).nonzero()
    if len(bad):
        first = int(bad[0, 0])
        raise NotFiniteError(
            f"latents: expected finite numbers after step {first + 1} of {len(finite)} (timestep "
            f"{timesteps[first]}), got NaN or infinity; where it computes in half precision, "
            "float32 or bfloat16 reaches farther"
        )


def check_sampler(sampler: str, eta: float) -> None:
    """Raise ValueError for an unknown name, or for an eta that the sampler does not take."""
    check_choice("sampler", sampler, Sampler)
    check_number("eta", eta, 0.0, 1.0)
    if eta and sampler not in NOISY_SAMPLERS:
        raise ArgumentError("eta", f"0, as {sampler!r} adds no noise", repr(eta))


def unit_noise(
    shape: tuple[int, int, int],
    count: int,
    generator: torch.Generator | list[torch.Generator] | None,
    device: torch.device,
) -> Tensor:
    """Draw unit noise ``[count, *shape]`` float32, pose by pose.

    It is drawn where each generator lives (the CPU without one), so that a seed means the same
    noise on every device, and the first poses get the same noise however many follow.

    Args:
        generator: one for all, or a list of one per pose.
    """
    generators = generator if isinstance(generator, list) else [generator] * count
    drawn = [torch.randn(shape, generator=g, device=g.device if g else "cpu") for g in generators]
    return torch.stack([noise.to(device) for noise in drawn])
