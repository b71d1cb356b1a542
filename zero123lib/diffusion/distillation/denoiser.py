"""A pipeline's UNet as the variants of score distillation ask it.

Axes as in :mod:`zero123lib.diffusion.distillation.variants`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from zero123lib.diffusion.distillation.variants import Denoiser, Prediction
from zero123lib.diffusion.pipeline import Condition, Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule


def denoiser(
    pipe: Zero123Pipeline, condition: Condition, pose: Tensor, max_batch_size: int
) -> Denoiser:
    """The UNet on views of one input view, at most so many views at a time.

    The null condition is a zero token, after the projection, and a zero concat latent, as the
    official sampler has it.

    Args:
        pose: encoded, ``[B, 4]``.
    """
    schedule = Schedule.from_scheduler(pipe.scheduler)
    embedding = condition.embedding.to(pipe.camera_projection.dtype)
    context = pipe.camera_projection(embedding.expand(len(pose), -1), pose.to(embedding.device))

    def denoise(x: Tensor, timesteps: Tensor, scales: Sequence[float]) -> list[Prediction]:
        made = [
            guided(pipe, condition, x[part], timesteps[part], context[part], scales)
            for part in torch.arange(len(x), device=x.device).split(max_batch_size)
        ]
        return [
            predictions(schedule, torch.cat(output), x, timesteps)
            for output in zip(*made, strict=True)
        ]

    return denoise


def guided(
    pipe: Zero123Pipeline,
    condition: Condition,
    x: Tensor,
    timesteps: Tensor,
    context: Tensor,
    scales: Sequence[float],
) -> list[Tensor]:
    """The UNet's output at each guidance scale, in one batch: a condition that no scale asks for
    is left out of it."""
    kinds = [kind for kind in (0.0, 1.0) if any(scale != 1.0 - kind for scale in scales)]
    dtype, concat = pipe.unet.dtype, condition.concat.to(x).expand(len(x), -1, -1, -1)
    stacked = torch.cat([torch.cat([x, kind * concat], 1) for kind in kinds]).to(dtype)
    tokens = torch.cat([kind * context for kind in kinds]).to(dtype)
    made = pipe.unet(stacked, timesteps.repeat(len(kinds)), encoder_hidden_states=tokens)
    outputs = made.sample.float().chunk(len(kinds))
    return [
        outputs[0].lerp(outputs[-1], scale) if len(kinds) > 1 else outputs[0] for scale in scales
    ]


def predictions(schedule: Schedule, output: Tensor, x: Tensor, timesteps: Tensor) -> Prediction:
    """What the model's output at (x, t) says, each view at its own timestep."""
    rows = zip(output, x, timesteps.tolist(), strict=True)
    x0, eps = zip(*(schedule.split(one, noisy, t) for one, noisy, t in rows), strict=True)
    return Prediction(torch.stack(x0), torch.stack(eps))
