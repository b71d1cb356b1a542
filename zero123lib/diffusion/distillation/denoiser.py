"""A pipeline's UNet as the variants of score distillation ask it.

Axes as in :mod:`zero123lib.diffusion.distillation.variants`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from zero123lib.diffusion.distillation.variants import Denoiser, Prediction
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.pipeline import Condition, Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule


def denoiser(
    pipe: Zero123Pipeline,
    schedule: Schedule,
    condition: Condition,
    context: Tensor,
    max_batch_size: int,
) -> Denoiser:
    """Make the UNet on views of one input view, at most so many views at a time.

    Args:
        schedule: that the noise was added by.
        context: tokens ``[B, 1, D]``, as ``pipe.context`` makes them.
    """

    def denoise(x: Tensor, timesteps: Tensor, scales: Sequence[float]) -> list[Prediction]:
        outputs = guided(pipe.unet, x, timesteps, condition.concat, context, scales, max_batch_size)
        return [Prediction(*schedule.x0_and_eps(output, x, timesteps)) for output in outputs]

    return denoise
