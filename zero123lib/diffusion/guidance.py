"""Classifier-free guidance: the UNet with its condition, without it, and between or beyond the two.

Axes: B views, latents ``[B, C, h, w]``, context tokens ``[B, 1, D]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from zero123lib.diffusion.deep_features import DeepFeatures
from zero123lib.diffusion.mutual import MutualUNet


def guided(
    unet: UNet2DConditionModel | MutualUNet,
    x: Tensor,
    timesteps: Tensor,
    concat: Tensor,
    tokens: Tensor,
    scales: Sequence[float],
    max_batch_size: int,
    deep: DeepFeatures | None = None,
) -> list[Tensor]:
    """Return the UNet's output at each guidance scale: ``null + scale * (conditional - null)``.

    All scales share one evaluation of the UNet, and a condition that none of them asks for is left
    out of it: a scale of 1 alone makes no unconditional pass, one of 0 no conditional one.

    Args:
        x: noisy latents.
        timesteps: a scalar, or one per view ``[B]``.
        concat: the input view's latent ``[1, C, h, w]``, not scaled.
        tokens: one context token per view.
        scales: guidance scales, 0 and above.
        max_batch_size: views in one batch of the UNet.
        deep: of this job, to remember or to use again; None computes all.

    Returns:
        One float32 tensor ``[B, C, h, w]`` per scale.
    """
    parts = [
        _evaluated(unet, x[rows], _of(timesteps, rows), concat, tokens[rows], scales, batch, deep)
        for batch, rows in enumerate(torch.arange(len(x), device=x.device).split(max_batch_size))
    ]
    return [torch.cat(outputs) for outputs in zip(*parts, strict=True)]


def _of(timesteps: Tensor, rows: Tensor) -> Tensor:
    return timesteps[rows] if timesteps.ndim else timesteps


def _evaluated(
    unet: UNet2DConditionModel | MutualUNet,
    x: Tensor,
    timesteps: Tensor,
    concat: Tensor,
    tokens: Tensor,
    scales: Sequence[float],
    batch: int,
    deep: DeepFeatures | None,
) -> list[Tensor]:
    """Evaluate one batch.

    The null condition is a zero token, after the projection, and a zero concat latent, as the
    official sampler has it (zero123's ``gradio_new.py``, ``sample_model``).
    """
    concat = concat.to(x).expand(len(x), -1, -1, -1)
    asked = {}
    if any(scale != 1 for scale in scales):
        asked["null"] = torch.zeros_like(concat), torch.zeros_like(tokens)
    if any(scale != 0 for scale in scales):
        asked["image"] = concat, tokens
    concats, contexts = (torch.cat(part) for part in zip(*asked.values(), strict=True))
    count = len(asked)
    stacked = torch.cat([torch.cat([x] * count), concats], 1).to(unet.dtype)
    steps = timesteps.repeat(count) if timesteps.ndim else timesteps
    with nullcontext() if deep is None else deep.used(batch, list(asked)):
        made = unet(stacked, steps, encoder_hidden_states=contexts.to(unet.dtype)).sample.float()
    if count == 1:
        return [made] * len(scales)
    uncond, cond = made.chunk(2)
    return [uncond.lerp(cond, scale) for scale in scales]
