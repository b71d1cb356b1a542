"""Mutual self-attention: every view also looks at the photo's own, as the model sees it.

Training-free (Zero-to-Hero, Sobol et al. 2024, section 4.2; MasaCtrl before it): beside the views
runs one more row, the photo at its own camera, whose noisy latents are known exactly. In each
self-attention the views' queries meet its keys and values next to their own, so that colours and
parts are taken from one place by all of them.

The pipeline's own UNet does so, and for everybody else it stays as it is.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from zero123lib.diffusion.outputs import Condition
from zero123lib.diffusion.schedule import Schedule

# Zero123Pipeline, whose module imports this one.
Pipeline = Any


# Whether the pass at hand is mutual. Attention itself asks, as blocks do in `deep_features`, so
# that passes run side by side, and what offloads or casts the UNet goes on as it is.
_MUTUAL: ContextVar[bool] = ContextVar("zero123lib_mutual", default=False)


def _attend(attn: Any, forward: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return ``[B, L, C]`` of ``[B, L, C]``; in a mutual pass rows see their own tokens and the
    first row's, which sees itself alone."""
    if not _MUTUAL.get():
        return forward(hidden_states, *args, **kwargs)
    query, key, value = (
        layer(hidden_states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        for layer in (attn.to_q, attn.to_k, attn.to_v)
    )
    first = [part[:1].expand_as(part) for part in (key, value)]
    own = scaled_dot_product_attention(query[:1], key[:1], value[:1], scale=attn.scale)
    both = scaled_dot_product_attention(
        query[1:],
        torch.cat([key, first[0]], 2)[1:],
        torch.cat([value, first[1]], 2)[1:],
        scale=attn.scale,
    )
    made = torch.cat([own, both]).transpose(1, 2).flatten(2)
    return attn.to_out[0](made.to(hidden_states.dtype)) / attn.rescale_output_factor


def _prepare(unet: UNet2DConditionModel) -> None:
    """Have self-attention ask whether a pass is mutual; other passes stay as they are."""
    for block in unet.modules():
        if isinstance(block, BasicTransformerBlock):
            attn: Any = block.attn1
            if not getattr(attn, "_asks_for_mutual", False):
                attn.forward = partial(_attend, attn, attn.forward)
                attn._asks_for_mutual = True


class BesidePhoto:
    """Make the UNet of each step, which sees the photo at the step's noise.

    Args:
        condition: the photo.
        token: its context token at its own camera, ``[1, 1, D]``.
    """

    def __init__(self, pipe: Pipeline, condition: Condition, token: Tensor) -> None:
        _prepare(pipe.unet)
        self._unet, self._token = pipe.unet, token
        self._schedule = Schedule.from_scheduler(pipe.scheduler)
        self._concat = condition.concat
        self._latents = condition.concat.float() * float(pipe.vae.config["scaling_factor"])
        self._noise: Tensor | None = None

    def at(self, x: Tensor, timestep: int | Tensor) -> MutualUNet:
        """Return the UNet for latents ``x`` at a timestep; the first views' noise is the photo's
        too."""
        if self._noise is None:
            self._noise = x[:1].clone()
        noisy = self._schedule.add_noise(self._latents, self._noise, int(timestep))
        row = torch.cat([noisy, self._concat.to(noisy)], 1)
        return MutualUNet(self._unet, row, self._token)


class MutualUNet:
    """Run a UNet with mutual self-attention and the photo as one more row, in the place of a plain
    UNet.

    Args:
        unet: the pipeline's.
        row: the photo's noisy latents beside its concat latent, ``[1, 2C, h, w]``.
        token: its context token ``[1, 1, D]``.
    """

    def __init__(self, unet: UNet2DConditionModel, row: Tensor, token: Tensor) -> None:
        self.unet, self.row, self.token, self.dtype = unet, row, token, unet.dtype

    def __call__(self, stacked: Tensor, steps: Tensor, encoder_hidden_states: Tensor) -> Any:
        """Return what the UNet does, of the views alone."""
        rows = torch.cat([self.row.to(stacked), stacked])
        tokens = torch.cat([self.token.to(encoder_hidden_states), encoder_hidden_states])
        if steps.ndim:
            steps = torch.cat([steps[:1], steps])
        mutual = _MUTUAL.set(True)
        try:
            made = self.unet(rows, steps, encoder_hidden_states=tokens)
        finally:
            _MUTUAL.reset(mutual)
        made.sample = made.sample[1:]
        return made
