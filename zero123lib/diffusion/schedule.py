"""The noise schedule: how much noise a timestep holds, which timesteps are visited, what a model is
to predict, and what its output says about the clean latents.

Vocabulary. T timesteps ``t = 0 .. T - 1``, T - 1 the noisiest. ``x`` are noisy latents
``[N, C, h, w]``, ``x0`` clean ones, ``eps`` unit noise; ``x = alpha x0 + sigma eps`` with
``alpha = sqrt(abar_t)`` and ``sigma = sqrt(1 - abar_t)``. The clean end of the schedule, alpha 1
and sigma 0, lies after t = 0 and is written as t = None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from diffusers import DDIMScheduler
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_choice, is_whole

# What a network predicts, in diffusers' words: eps, x0, or alpha eps - sigma x0.
PredictionType = Literal["epsilon", "sample", "v_prediction"]


@dataclass(frozen=True, eq=False)
class Schedule:
    """Hold how much noise each timestep has, and what the model predicts.

    Its formulas take one timestep for all samples, or one per sample.

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
        check_choice("prediction_type", self.prediction_type, PredictionType)
        if self.prediction_type == "epsilon" and self.alphas_cumprod[-1] == 0:
            raise ArgumentError(
                "prediction_type",
                "'sample' or 'v_prediction' with rescale_betas_zero_snr",
                "'epsilon'",
            )

    @classmethod
    def from_scheduler(cls, scheduler: Any) -> Schedule:
        """Read the schedule of any diffusers scheduler from its config.

        Betas, prediction type and clipping are the checkpoint's; its timestep spacing, offset and
        final alpha are not taken over (see :meth:`timesteps`).

        Raises:
            ArgumentError: the scheduler has no betas, as those of flow matching, or its config asks
                for dynamic thresholding, which no Zero123 model uses.
        """
        if not hasattr(scheduler, "alphas_cumprod"):
            kind = f"a {type(scheduler).__name__}"
            raise ArgumentError("scheduler", "one with betas, such as a DDIMScheduler", kind)
        settings = scheduler.config
        if settings.get("thresholding", False):
            raise ArgumentError("scheduler", "thresholding=False", "True")
        ddim: Any = DDIMScheduler.from_config(settings)
        # Asked of the scheduler itself: where it has no such setting, DDIM's default is to clip.
        clip_range = settings.get("clip_sample_range", 1.0) if settings.get("clip_sample") else None
        return cls(ddim.alphas_cumprod.double(), ddim.config.prediction_type, clip_range)

    @property
    def num_train_timesteps(self) -> int:
        """Return T."""
        return len(self.alphas_cumprod)

    def timesteps(self, count: int) -> list[int]:
        """Return ``count`` timesteps, falling: ``round(k T / count) - 1`` for k = count .. 1.

        "Trailing" spacing (Lin et al. 2024, table 2): always starts at T - 1, where the model
        was trained to start from noise, and is exactly ``count`` long, T / count apart. With
        T = 1000: 2 steps are [999, 499], 50 are [999, 979, ..., 19].

        Raises:
            ValueError: not a whole number from 1 to T.
        """
        total = self.num_train_timesteps
        _check_count(count, 1, total, "")
        return [round(k * total / int(count)) - 1 for k in range(count, 0, -1)]

    def official_timesteps(self, count: int) -> list[int]:
        """Return the official code's timesteps, falling: ``1, 1 + c, 1 + 2c, ...`` with
        ``c = T // count``, less the noisiest (zero123's ``ldm/models/diffusion/ddim.py``,
        ``ddim_sampling``, and ``ldm/modules/diffusionmodules/util.py``, ``make_ddim_timesteps``).

        They are not ``count`` many: with T = 1000, 50 gives 49 from 961 down, 75 gives 76 from
        976, 60 gives 62, 501 to 1000 all give 999. Where c divides T - 1 (3, 9, 27, 36, 37, 101 to
        111, 251 to 333, 501 to 1000) the official code crashes, since it looks up the noise of
        timestep T. That is the noisiest, which it would have dropped unused: the list without it
        is correct, and is given.

        Raises:
            ValueError: not a whole number from 2 to T. 1 leaves no timestep, for which the
                official code returns its noise; beyond T there is no such c.
        """
        total = self.num_train_timesteps
        _check_count(count, 2, total, " for the official sampler")
        return list(range(1, total + 1, total // int(count)))[-2::-1]

    def level(self, t: int | Tensor | None, like: Tensor | None = None) -> tuple[Any, Any]:
        """Return (alpha, sigma) at a timestep, or at one per sample.

        Args:
            t: one timestep, None for the clean end, or whole numbers ``[B]``.
            like: ``[B, ...]``, asked for with timesteps ``[B]`` alone: alpha and sigma broadcast
                over it, in its type and on its device.

        Returns:
            Two floats, or two tensors ``[B, 1, ...]``.
        """
        if not isinstance(t, Tensor):
            abar = 1.0 if t is None else float(self.alphas_cumprod[t])
            return math.sqrt(abar), math.sqrt(1 - abar)
        assert like is not None, "timesteps [B] come with what they are of"
        shape = (-1, *[1] * (like.ndim - 1))
        tables = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()
        alpha, sigma = (table.to(like)[t.to(like.device)].reshape(shape) for table in tables)
        return alpha, sigma

    def add_noise(self, x0: Tensor, eps: Tensor, t: int | Tensor | None) -> Tensor:
        """Return noisy latents ``alpha x0 + sigma eps``, each sample at its own timestep.

        Args:
            x0, eps: clean latents and unit noise, ``[B, ...]``.
            t: see :meth:`level`.
        """
        alpha, sigma = self.level(t, x0)
        return alpha * x0 + sigma * eps

    def target(self, x0: Tensor, eps: Tensor, t: int | Tensor) -> Tensor:
        """Return what the model is to say of :meth:`add_noise`'s latents: eps, x0, or v.

        Arguments are those of :meth:`add_noise`.
        """
        if self.prediction_type == "epsilon":
            return eps
        if self.prediction_type == "sample":
            return x0
        alpha, sigma = self.level(t, x0)
        return alpha * eps - sigma * x0

    def x0_and_eps(self, output: Tensor, x: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Return the (x0, eps) that the model's output at (x, t) stands for; x0 is clipped.

        It is the inverse of :meth:`target` (v: Salimans and Ho 2022, appendix D).

        Args:
            output, x: what the model says, and the noisy latents that it was asked about,
                ``[B, ...]``.
            t: see :meth:`level`.
        """
        alpha, sigma = self.level(t, x)
        if self.prediction_type == "epsilon":
            x0, eps = (x - sigma * output) / alpha, output
        elif self.prediction_type == "sample":
            x0, eps = output, (x - alpha * output) / sigma
        else:
            x0, eps = alpha * x - sigma * output, alpha * output + sigma * x
        if self.clip_range is not None:
            x0 = x0.clamp(-self.clip_range, self.clip_range)
        return x0, eps


def _check_count(count: Any, low: int, high: int, purpose: str) -> None:
    if not is_whole(count) or not low <= count <= high:
        expected = f"a whole number from {low} to {high}{purpose}"
        raise ArgumentError("num_inference_steps", expected, repr(count))
