"""Score distillation: which way a frozen model would change the latents of a view.

One variant, one plain function over one signature of a model, with its source. What it returns is
a residual, the difference of two predictions of the noise; times :func:`weight` it is the gradient
with respect to clean latents, downhill, as an optimiser takes it.

Axes: B views; ``clean``, ``noise`` and all predictions are ``[B, C, h, w]``, latents scaled;
timesteps are whole numbers ``[B]``, one per view. x0, eps, alpha, sigma and abar are explained in
:mod:`zero123lib.diffusion.schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import check_choice
from zero123lib.diffusion.schedule import Schedule

# sds: DreamFusion, Poole et al. 2022. One call of the model.
# sjc: Score Jacobian Chaining, Wang et al. 2023. One call.
# csd: Classifier Score Distillation, Yu et al. 2023. One call, both conditions, no scale.
# ism: Interval Score Matching, LucidDreamer, Liang et al. 2023. Two to seven calls, little noise.
# csd and ism live on what the condition adds to the model without it: they suit checkpoints that
# gain by guidance. The bundled model does not, and there they lead nowhere.
Variant = Literal["sds", "sjc", "csd", "ism"]

# sigma2: 1 - abar, DreamFusion's as threestudio has it;  uniform: 1
# sigma_over_alpha: LucidDreamer's, makes the SDS gradient x0 minus the predicted x0
# alpha_sigma2: sqrt(abar) (1 - abar), Fantasia3D's, which spares both ends
Weighting = Literal["sigma2", "uniform", "sigma_over_alpha", "alpha_sigma2"]

# What each variant's authors weigh it by.
WEIGHTINGS: dict[Variant, Weighting] = {
    "sds": "sigma2",
    "sjc": "uniform",
    "csd": "sigma2",
    "ism": "sigma_over_alpha",
}

# ISM's shares of all timesteps: from s to t, and at most from one step of its inversion to the next
# (LucidDreamer's delta_T and delta_S, 50 and 200 of 1000).
ISM_INTERVAL, ISM_STRIDE = 0.05, 0.2


@dataclass(frozen=True, eq=False)
class Prediction:
    """Hold what a model sees in noisy latents: clean latents ``x0`` and unit noise ``eps``."""

    x0: Tensor
    eps: Tensor


# denoise(noisy, timesteps, scales) -> one prediction per guidance scale, all of one batched call:
# 1 is the conditional one, 0 the unconditional one, others go through both.
Denoiser = Callable[[Tensor, Tensor, Sequence[float]], list[Prediction]]


@dataclass(frozen=True, eq=False)
class Residual:
    """Hold what a variant found.

    Attributes:
        residual: the unweighted gradient.
        noisy: latents that the model was last asked about.
        predicted: the clean latents that it saw there.
    """

    residual: Tensor
    noisy: Tensor
    predicted: Tensor


def sds(
    denoise: Denoiser,
    schedule: Schedule,
    clean: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    guidance_scale: float,
) -> Residual:
    """Distil by Score Distillation Sampling (DreamFusion, Poole et al. 2022, equation 3).

    ``eps_hat(x, t) - eps`` at ``x = alpha x0 + sigma eps``, without the UNet's Jacobian.
    """
    noisy = schedule.add_noise(clean, noise, timesteps)
    (guided,) = denoise(noisy, timesteps, [guidance_scale])
    return Residual(guided.eps - noise, noisy, guided.x0)


def sjc(
    denoise: Denoiser,
    schedule: Schedule,
    clean: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    guidance_scale: float,
) -> Residual:
    """Distil by Score Jacobian Chaining (Wang et al. 2023; zero123's ``3drec/run_zero123.py``).

    The perturb-and-average score at ``z = y + varsigma n`` is ``(D(z) - y) / varsigma``, here
    with the sign of a gradient and ``varsigma = sigma / alpha``. For a model of noise it equals
    SDS with uniform weights, up to rounding.
    """
    alpha, sigma = schedule.level(timesteps, clean)
    noisy = schedule.add_noise(clean, noise, timesteps)  # alpha z
    (guided,) = denoise(noisy, timesteps, [guidance_scale])
    return Residual((clean - guided.x0) * (alpha / sigma), noisy, guided.x0)


def csd(
    denoise: Denoiser,
    schedule: Schedule,
    clean: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    guidance_scale: float,
) -> Residual:
    """Distil by Classifier Score Distillation (Yu et al. 2023): what guidance adds, alone.

    ``eps_hat(x, t; condition) - eps_hat(x, t; null)``. The noise cancels, and with it most of the
    variance; so does the pull towards images that are likely without the condition.

    Args:
        guidance_scale: of no effect: it would scale the gradient.
    """
    noisy = schedule.add_noise(clean, noise, timesteps)
    conditional, null = denoise(noisy, timesteps, [1.0, 0.0])
    return Residual(conditional.eps - null.eps, noisy, conditional.x0)


def ism(
    denoise: Denoiser,
    schedule: Schedule,
    clean: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    guidance_scale: float,
) -> Residual:
    """Distil by Interval Score Matching (LucidDreamer, Liang et al. 2023, algorithm 1).

    DDIM inversion without the condition leads from clean latents to ``x_s`` in strides of
    ``ISM_STRIDE``, and one step on to ``x_t``; the residual is
    ``eps_hat(x_t, t) - eps_hat(x_s, s; null)``. Only the noise of t = 0 is drawn.
    """
    total = schedule.num_train_timesteps
    earlier = (timesteps - round(ISM_INTERVAL * total)).clamp(min=0)
    stride = round(ISM_STRIDE * total)
    noisy, at = schedule.add_noise(clean, noise, 0), earlier * 0
    for left in range(-(-int(earlier.max()) // stride) - 1, -1, -1):
        (null,) = denoise(noisy, at, [0.0])
        at = (earlier - left * stride).clamp(min=0)
        noisy = schedule.add_noise(null.x0, null.eps, at)
    (null,) = denoise(noisy, earlier, [0.0])
    noisy = schedule.add_noise(null.x0, null.eps, timesteps)
    (guided,) = denoise(noisy, timesteps, [guidance_scale])
    return Residual(guided.eps - null.eps, noisy, guided.x0)


VARIANTS = {"sds": sds, "sjc": sjc, "csd": csd, "ism": ism}
assert VARIANTS.keys() == WEIGHTINGS.keys() == set(get_args(Variant))


def weight(weighting: Weighting, schedule: Schedule, timesteps: Tensor, like: Tensor) -> Tensor:
    """Return w(t) ``[B, 1, 1, 1]``, see :data:`Weighting`.

    Raises:
        ArgumentError: unknown weighting, or one that is infinite in pure noise, of pure noise.
    """
    check_choice("weighting", weighting, Weighting)
    # In double precision until the end: 1 - abar is all rounding where abar is nearly 1.
    alpha, sigma = schedule.level(timesteps.cpu(), schedule.alphas_cumprod)
    if weighting == "sigma_over_alpha" and bool((alpha == 0).any()):
        raise ArgumentError(
            "timesteps",
            "an upper end below 1 for the weighting 'sigma_over_alpha'",
            "the timestep of pure noise, where it is infinite",
        )
    weights = {
        "sigma2": sigma**2,
        "uniform": torch.ones_like(sigma),
        "sigma_over_alpha": sigma / alpha,
        "alpha_sigma2": alpha * sigma**2,
    }
    return weights[weighting].reshape(-1, 1, 1, 1).to(like)
