"""Samplers: one algorithm, one generator, over one signature of a model.

Vocabulary. T timesteps ``t = 0 .. T - 1``, T - 1 the noisiest. ``x`` are noisy latents
``[N, C, h, w]``, ``x0`` clean ones, ``eps`` unit noise; ``x = alpha x0 + sigma eps`` with
``alpha = sqrt(abar_t)`` and ``sigma = sqrt(1 - abar_t)``. The clean end of the schedule, alpha 1
and sigma 0, lies after t = 0 and is written as t = None.

A model is a callable ``model(x, t) -> output``; guidance is inside it. What its output means,
x0, eps or v, is the :class:`Schedule`'s business, so no sampler asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from zero123lib.diffusion.arguments import check_number, is_whole

# ddim:  Song et al. 2021. First order; deterministic at eta 0, ancestral at eta 1.
# dpmpp: DPM-Solver++(2M), Lu et al. 2022. Second order, deterministic: for 10 to 25 steps.
# Both take exactly the asked number of steps, start at the noisiest timestep whatever the
# checkpoint's spacing is, and end at clean latents. (An Euler step in sigma *is* DDIM at eta 0.)
Sampler = Literal["ddim", "dpmpp"]

# What a network predicts, in diffusers' words: eps, x0, or alpha eps - sigma x0.
PredictionType = Literal["epsilon", "sample", "v_prediction"]

Model = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True, eq=False)
class SampleStep:
    """One finished step.

    Attributes:
        index: 0 for the first of ``total`` steps.
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


@dataclass(frozen=True, eq=False)
class Schedule:
    """How much noise each timestep holds, and what the model predicts.

    Args:
        alphas_cumprod: abar ``[T]``, float64 on the CPU, falling.
        prediction_type: see :data:`PredictionType`.
        clip_range: predicted clean latents are clamped to +- this; None leaves them.

    Raises:
        ValueError: unknown prediction type, or an eps-model under a schedule that ends in pure
            noise, where eps says nothing about x0.
    """

    alphas_cumprod: Tensor
    prediction_type: PredictionType = "epsilon"
    clip_range: float | None = None

    def __post_init__(self) -> None:
        if self.prediction_type not in get_args(PredictionType):
            names = ", ".join(map(repr, get_args(PredictionType)))
            raise ValueError(
                f"prediction_type: expected one of {names}, got {self.prediction_type!r}"
            )
        if self.prediction_type == "epsilon" and self.alphas_cumprod[-1] == 0:
            raise ValueError(
                "prediction_type: expected 'sample' or 'v_prediction' with "
                "rescale_betas_zero_snr, got 'epsilon'"
            )

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> Schedule:
        """The schedule of any diffusers scheduler, read from its config.

        Betas, prediction type and clipping are the checkpoint's; its timestep spacing, offset and
        final alpha are not taken over (see :meth:`timesteps`).

        Raises:
            ValueError: the config asks for dynamic thresholding, which no Zero123 model uses.
        """
        ddim: Any = DDIMScheduler.from_config(scheduler.config)
        # Asked of the scheduler itself: where it has no such setting, DDIM's default is to clip.
        settings = scheduler.config
        if settings.get("thresholding", False):
            raise ValueError("scheduler: expected thresholding=False, got True")
        clip_range = settings.get("clip_sample_range", 1.0) if settings.get("clip_sample") else None
        return cls(ddim.alphas_cumprod.double(), ddim.config.prediction_type, clip_range)

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def timesteps(self, count: int) -> list[int]:
        """``count`` timesteps, falling: ``round(k T / count) - 1`` for k = count .. 1.

        "Trailing" spacing (Lin et al. 2024, table 2): always starts at T - 1, where the model
        was trained to start from noise, and is exactly ``count`` long, T / count apart. With
        T = 1000: 2 steps are [999, 499], 50 are [999, 979, ..., 19].

        Raises:
            ValueError: not a whole number from 1 to T.
        """
        total = self.num_train_timesteps
        if not is_whole(count) or not 1 <= count <= total:
            raise ValueError(
                f"num_inference_steps: expected a whole number from 1 to {total}, got {count!r}"
            )
        return [round(k * total / int(count)) - 1 for k in range(count, 0, -1)]

    def level(self, t: int | None) -> tuple[float, float]:
        """(alpha, sigma) at t."""
        abar = 1.0 if t is None else float(self.alphas_cumprod[t])
        return math.sqrt(abar), math.sqrt(1 - abar)

    def split(self, output: Tensor, x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """(x0, eps) that the model's output at (x, t) stands for."""
        alpha, sigma = self.level(t)
        if self.prediction_type == "epsilon":
            x0, eps = (x - sigma * output) / alpha, output
        elif self.prediction_type == "sample":
            x0, eps = output, (x - alpha * output) / sigma
        else:  # v: Salimans and Ho 2022, appendix D
            x0, eps = alpha * x - sigma * output, alpha * output + sigma * x
        if self.clip_range is not None:
            x0 = x0.clamp(-self.clip_range, self.clip_range)
        return x0, eps


def ddim(
    model: Model,
    x: Tensor,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    noise: Callable[[], Tensor] | None = None,
) -> Steps:
    """DDIM (Song et al. 2021, equations 12 and 16), corrected.

    Each step goes to the timestep where the next one evaluates, and the last to clean latents.
    diffusers' DDIMScheduler goes ``T // steps`` down instead, which misses both wherever ``steps``
    does not divide T.

    Args:
        model: see the top of the module.
        x: unit noise ``[N, C, h, w]``.
        schedule: noise levels.
        num_inference_steps: exactly this many evaluations.
        eta: in [0, 1]; 0 adds no noise, 1 as much as DDPM.
        noise: draws fresh unit noise ``[N, C, h, w]``; called only where noise is added, which
            the last step never does.
    """
    timesteps = schedule.timesteps(num_inference_steps)
    for index, t in enumerate(timesteps):
        x0, eps = schedule.split(model(x, t), x, t)
        (alpha, sigma), (alpha_to, sigma_to) = map(schedule.level, _pair(timesteps, index))
        added = eta * sigma_to / sigma * math.sqrt(1 - (alpha / alpha_to) ** 2)
        x = alpha_to * x0 + math.sqrt(sigma_to**2 - added**2) * eps
        if added and noise is not None:
            x = x + added * noise()
        replaced = yield SampleStep(index, len(timesteps), t, x, x0)
        x = x if replaced is None else replaced


def dpmpp(model: Model, x: Tensor, schedule: Schedule, num_inference_steps: int) -> Steps:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), first order at both ends.

    Arguments as for :func:`ddim`. With lambda = log(alpha / sigma), a step by h uses the last two
    predictions; where the schedule starts in pure noise (lambda = -inf) the formula falls back to
    first order by itself, and the last step returns its prediction.
    """
    timesteps = schedule.timesteps(num_inference_steps)
    x0_before, h_before = None, math.inf
    for index, t in enumerate(timesteps):
        x0, _ = schedule.split(model(x, t), x, t)
        (alpha, sigma), (alpha_to, sigma_to) = map(schedule.level, _pair(timesteps, index))
        h = _lambda(alpha_to, sigma_to) - _lambda(alpha, sigma)
        d = x0
        if x0_before is not None and math.isfinite(h):
            d = x0 + h / (2 * h_before) * (x0 - x0_before)
        x = sigma_to / sigma * x + (alpha_to - alpha * sigma_to / sigma) * d
        x0_before, h_before = x0, h
        replaced = yield SampleStep(index, len(timesteps), t, x, x0)
        x = x if replaced is None else replaced


def start(
    sampler: Sampler,
    model: Model,
    x: Tensor,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    noise: Callable[[], Tensor] | None = None,
) -> Steps:
    """The named sampler's steps; arguments as for :func:`ddim`.

    Raises:
        ValueError: an unknown name, or eta where the algorithm adds no noise.
    """
    check_sampler(sampler, eta)
    if sampler == "dpmpp":
        return dpmpp(model, x, schedule, num_inference_steps)
    return ddim(model, x, schedule, num_inference_steps, eta, noise)


def check_sampler(sampler: str, eta: float) -> None:
    """Raise the ValueError that :func:`start` would raise."""
    if sampler not in get_args(Sampler):
        names = " or ".join(map(repr, get_args(Sampler)))
        raise ValueError(f"sampler: expected {names}, got {sampler!r}")
    check_number("eta", eta, 0.0, 1.0)
    if eta and sampler != "ddim":
        raise ValueError(f"eta: expected 0, as {sampler!r} adds no noise, got {eta!r}")


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


def _pair(timesteps: list[int], index: int) -> tuple[int, int | None]:
    """Where a step starts, and where it ends."""
    following = timesteps[index + 1] if index + 1 < len(timesteps) else None
    return timesteps[index], following


def _lambda(alpha: float, sigma: float) -> float:
    if alpha == 0 or sigma == 0:
        return -math.inf if alpha == 0 else math.inf
    return math.log(alpha / sigma)
