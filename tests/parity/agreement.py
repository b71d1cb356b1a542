"""What both parity tests ask of a loaded pipeline, and how near is near enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity import case
from zero123lib import Zero123Pipeline
from zero123lib.diffusion.pipeline import Condition, OutputType
from zero123lib.diffusion.schedule import Schedule

# Of the largest magnitude in a tensor, in float32.
TOLERANCE = 1e-4


def assert_agrees(ours: Tensor, official: np.ndarray) -> None:
    found = difference(ours, official)
    assert found < TOLERANCE, f"differs from the official numbers by {found:.1e}"


def difference(ours: Tensor, official: np.ndarray) -> float:
    """Largest difference over largest magnitude."""
    assert ours.shape == official.shape
    theirs = torch.from_numpy(official)
    return float((ours - theirs).abs().max() / theirs.abs().max())


def noise_prediction(
    pipe: Zero123Pipeline, condition: Condition, start: Tensor, guidance_scale: float
) -> Tensor:
    """The first step's, ``[1, 4, h, w]``: guidance 0 is the unconditional one, 1 the posed one."""
    step = next(
        pipe.sample(
            condition,
            [case.POSE],
            num_inference_steps=case.NUM_STEPS,
            guidance_scale=guidance_scale,
            sampler="official",
            latents=start,
        )
    )
    alpha, sigma = Schedule.from_scheduler(pipe.scheduler).level(step.timestep)
    return (start - alpha * step.predicted) / sigma


def views(pipe: Zero123Pipeline, start: Tensor, eta: float, output_type: OutputType) -> Tensor:
    """The one view that is asked for: latents ``[1, 4, h, w]``, or pixels in [0, 1]."""
    output: Any = pipe(
        case.image(pipe.image_size),
        [case.POSE],
        num_inference_steps=case.NUM_STEPS,
        guidance_scale=case.GUIDANCE_SCALE,
        sampler="official",
        eta=eta,
        latents=start,
        generator=torch.Generator().manual_seed(case.STEPS_SEED),
        output_type=output_type,
    )
    return output.images
