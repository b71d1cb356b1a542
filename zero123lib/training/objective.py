"""The loss of a batch: what is drawn for each pair, what is dropped, what the network is asked.

Vocabulary as in :mod:`zero123lib.diffusion.schedule`: ``x = alpha x0 + sigma eps``. Everything
drawn for a pair is a pure function of the seed and the pair's number in the run, so it does not
matter which process sees the pair, in what batch, or whether the run was interrupted before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zero123lib.datasets.pairs import Batch
from zero123lib.diffusion.deblocking import DeblockingFilter
from zero123lib.diffusion.model import clip_embedding
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import PredictionType, Schedule
from zero123lib.lpips import lpips_alex
from zero123lib.training.config import ObjectiveConfig
from zero123lib.training.recipe import TrainedModel

# LPIPS sees images moved by fewer pixels than this.
SHIFT_PX = 8
# Weights where the filter is trained: of the pixels' squared and absolute errors (which makes white
# exactly white), of what the filter does to true images, and of the grid.
_SQUARED, _ABSOLUTE, _UNTOUCHED, _GRID = 0.08, 0.06, 0.05, 0.03
# What the filter does to true images is asked of every so many.
_EVERY = 4
# What a number is drawn for, so that no two streams are alike; the data's own are below 10.
_NOISE = 10


@dataclass(frozen=True, eq=False)
class Draws:
    """What chance decides for B pairs.

    Attributes:
        dropout, timestep: uniform in [0, 1), ``[B]``.
        noise: unit normal ``[B, C, h, w]``, added to the latents.
        posterior: unit normal ``[B, C, h, w]``, of the sample of the VAE's posterior; None where
            its mode is taken.
        shift: rows and columns that LPIPS sees both images moved by, whole pixels ``[B, 2]``.
    """

    dropout: Tensor
    timestep: Tensor
    noise: Tensor
    posterior: Tensor | None
    shift: Tensor


def draw(
    seed: int, pairs: Sequence[int], latent_shape: tuple[int, int, int], posterior: bool
) -> Draws:
    """Return the draws of pairs by their numbers, on the CPU so that all devices have the same."""
    uniforms, noises, samples, shifts = [], [], [], []
    for pair in pairs:
        random = np.random.default_rng((seed, _NOISE, pair))
        uniforms.append(random.random(2, np.float32))
        noises.append(random.standard_normal(latent_shape, np.float32))
        if posterior:
            samples.append(random.standard_normal(latent_shape, np.float32))
        shifts.append(random.integers(0, SHIFT_PX, 2))
    uniform, noise = (torch.from_numpy(np.stack(one)) for one in (uniforms, noises))
    sample = torch.from_numpy(np.stack(samples)) if posterior else None
    shift = torch.from_numpy(np.stack(shifts))
    return Draws(uniform[:, 0], uniform[:, 1], noise, sample, shift)


@dataclass(frozen=True, eq=False)
class Kept:
    """1 where a condition is kept and 0 where it is dropped, ``[B]`` each: CLIP's embedding, the
    concatenated latent, and the whole context token, pose included."""

    embedding: Tensor
    concat: Tensor
    token: Tensor


def keep(uniform: Tensor, config: ObjectiveConfig) -> Kept:
    """Condition dropout by group from one uniform u per pair (official ``ddpm.py``, ``get_input``).

    With p = ``config.dropout``: u < p drops CLIP's embedding; p <= u < 2p the embedding and the
    concatenated latent; 2p <= u < 3p the concatenated latent. The pose is never dropped, unless
    ``null_token`` is "zero": then the second group has the null of sampling, a zero token.

    Args:
        uniform: ``[B]`` in [0, 1).
    """
    p = config.dropout
    both = (uniform >= p) & (uniform < 2 * p)
    concat = (uniform >= p) & (uniform < 3 * p)
    token = both if config.null_token == "zero" else torch.zeros_like(both)
    kept = [(~dropped).to(uniform) for dropped in (uniform < 2 * p, concat, token)]
    return Kept(*kept)


def timesteps(uniform: Tensor, total: int, power: float) -> Tensor:
    """Return ``floor(T * u ** power)`` ``[B]`` int64; uniform over 0 .. T - 1 for a power of 1."""
    return (total * uniform**power).long().clamp_max(total - 1)


def perceptual_weights(prediction_type: PredictionType, abar: Tensor) -> Tensor:
    """Give each pair's share in the perceptual loss, ``[B]`` in [0, 1].

    An error of the output is one of the clean latents times 1, or sigma where v is predicted, or
    sigma / alpha where noise is, which has no bound: there it is weighted down to 1.

    Args:
        abar: ``[B]``.
    """
    if prediction_type != "epsilon":
        return torch.ones_like(abar)
    return (abar / (1 - abar)).sqrt().clamp_max(1)


def image_loss(
    pipe: Zero123Pipeline,
    output: Tensor,
    noisy: Tensor,
    steps: Tensor,
    target: Tensor,
    shift: Tensor,
    perceptual: float,
    deblocking: DeblockingFilter | None = None,
) -> Tensor:
    """Compare the images that the outputs stand for with the targets, a scalar.

    It is ``perceptual`` times LPIPS. Where the filter is trained, the mean squared and absolute
    errors of the pixels are added, :func:`grid_contrast`, and how much the filter changes the
    targets, which it should leave alone.

    Args:
        output, noisy: ``[B, C, h, w]``.
        steps: their timesteps ``[B]``.
        target: ``[B, 3, H, W]`` in [-1, 1].
        shift: of both under LPIPS, see :func:`shifted`.
        perceptual: the weight of LPIPS, averaged over the pairs by :func:`perceptual_weights`.
        deblocking: the VAE's filter where it is trained.
    """
    # What is clipped has no gradient.
    schedule = replace(Schedule.from_scheduler(pipe.scheduler), clip_range=None)
    made = decoded(pipe, schedule.x0_and_eps(output, noisy, steps)[0], deblocking)
    error = made.new_zeros(len(made))
    if perceptual:
        seen = ((shifted(images, shift) + 1) / 2 for images in (made, target))
        error = perceptual * lpips_alex(target.device)(*seen)
    if deblocking is not None:
        off = made - target
        error = error + (_SQUARED * off.square() + _ABSOLUTE * off.abs()).mean((1, 2, 3))
    abar = schedule.level(steps, error)[0].square()
    loss = (perceptual_weights(schedule.prediction_type, abar) * error).mean()
    if deblocking is not None:
        some = target[::_EVERY]
        loss = loss + _UNTOUCHED * (deblocking(some).float() - some).abs().mean()
        loss = loss + _GRID * grid_contrast(made, target, deblocking.block_size)
    return loss


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Move images down and to the right on white, ``[B, 3, H, W]`` to 8 pixels more of each side.

    LPIPS takes in every fourth pixel first; a network finds patterns that please it where those
    are, unless they are elsewhere each time (Kettunen et al. 2019, E-LPIPS).

    Args:
        images: in [-1, 1].
        shift: ``[B, 2]``, rows and columns, 0 to 8.
    """
    moved = [
        F.pad(image, (x, SHIFT_PX - x, y, SHIFT_PX - y), value=1.0)
        for image, (y, x) in zip(images, shift.tolist(), strict=True)
    ]
    return torch.stack(moved)


def grid_contrast(made: Tensor, target: Tensor, block_size: int) -> Tensor:
    """Measure how much of a grid images show that their targets do not, a scalar.

    Steps between neighbouring pixels are averaged over the batch, for each place in a block across
    and down, and divided by the mean step of the targets; it is the mean squared difference.

    Args:
        made, target: ``[B, 3, H, W]``.
        block_size: of the grid, pixels.
    """
    profiles = []
    for images in (made, target):
        across = F.pad(images.diff(dim=-1).abs(), (0, 1)).mean((0, 1, 2))
        down = F.pad(images.diff(dim=-2).abs(), (0, 0, 0, 1)).mean((0, 1, 3))
        places = [steps.view(-1, block_size).mean(0) for steps in (across, down)]
        profiles.append(torch.cat(places))
    mine, true = profiles
    return ((mine - true) / true.mean().clamp_min(1e-4)).square().mean()


def decoded(
    pipe: Zero123Pipeline, latents: Tensor, deblocking: DeblockingFilter | None = None
) -> Tensor:
    """Return the images ``[B, 3, H, W]`` of scaled latents, float32 and not clipped.

    Args:
        pipe: its VAE decodes, in the precision of its weights.
        latents: ``[B, C, h, w]``.
        deblocking: the VAE's filter where it is trained, which computes as all that is trained.
    """
    vae: Any = pipe.vae
    with torch.autocast(latents.device.type, enabled=False):
        plain = (latents / vae.config["scaling_factor"]).to(vae.dtype)
        if deblocking is None:
            return vae.decode(plain).sample.float()
        images = vae.unfiltered(plain)
    return deblocking(images).float()


@torch.no_grad()
def encode(pipe: Zero123Pipeline, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
    """Clean latents x0, scaled, and concat latents, not scaled; both ``[B, C, h, w]`` float32.

    The target is a sample of the VAE's posterior where one is drawn, else its mode; the condition
    is always the mode.
    """
    vae: Any = pipe.vae
    # Under autocast the patch transform would be rounded to half precision.
    with torch.autocast(batch["target"].device.type, enabled=False):
        target, condition = (
            vae.encode(batch[name].to(vae.dtype)).latent_dist for name in ("target", "condition")
        )
        latents = target.mode()
        if draws.posterior is not None:
            latents = target.mean + target.std * draws.posterior.to(target.mean)
    return latents.float() * vae.config["scaling_factor"], condition.mode().float()


def denoising_loss(
    model: Any,
    pipe: Zero123Pipeline,
    batch: Batch,
    draws: Draws,
    config: ObjectiveConfig,
    step: int | None = None,
) -> Tensor:
    """Mean squared error of the prediction (paper, equation 1), a scalar.

    :func:`image_loss` is added to it where the config asks for LPIPS, or the filter is trained.

    Args:
        model: a :class:`TrainedModel`, wrapped for several processes or not.
        pipe: its frozen parts are used: VAE, scheduler, and CLIP where it is not trained.
        batch: on the model's device.
        draws: of its pairs.
        step: steps done before this one; None adds the perceptual loss whatever its first step.
    """
    device = batch["target"].device
    x0, concat = encode(pipe, batch, draws)
    kept = keep(draws.dropout.to(device), config)
    schedule, eps = Schedule.from_scheduler(pipe.scheduler), draws.noise.to(device)
    total, power = schedule.num_train_timesteps, config.timestep_power
    steps = timesteps(draws.timestep.to(device), total, power)
    noisy = schedule.add_noise(x0, eps, steps)
    latents = torch.cat([noisy, concat * kept.concat[:, None, None, None]], 1)
    condition = condition_of(model, pipe, batch)
    predicted = model(latents, steps, condition, batch["pose"], kept.embedding, kept.token)
    predicted = predicted.float()
    loss = F.mse_loss(predicted, schedule.target(x0, eps, steps))
    weight, deblocking = perceptual_weight(config, step), unwrapped(model).deblocking
    if weight or deblocking is not None:
        images = batch["target"]
        shift = draws.shift
        loss = loss + image_loss(pipe, predicted, noisy, steps, images, shift, weight, deblocking)
    return loss


def perceptual_weight(config: ObjectiveConfig, step: int | None) -> float:
    """Return the weight of LPIPS at a step; None is after all that it waits for."""
    perceptual = config.perceptual
    return perceptual.weight if step is None or step >= perceptual.from_step else 0.0


def unwrapped(model: Any) -> TrainedModel:
    """Return a trained model out of what wraps it for several processes."""
    return cast(TrainedModel, getattr(model, "module", model))


@torch.no_grad()
def condition_of(model: Any, pipe: Zero123Pipeline, batch: Batch) -> Tensor:
    """Return what a :class:`TrainedModel` takes as its condition: the images where its CLIP is
    trained, else the frozen one's embeddings ``[B, D]``."""
    images = batch["condition"]
    if unwrapped(model).image_encoder is not None:
        return images
    clip: Any = pipe.image_encoder
    with torch.autocast(images.device.type, enabled=False):
        return clip_embedding(clip, images.to(clip.dtype)).float()
