"""Low-rank adapters (Hu et al. 2021) of the UNet's attention, by peft."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel

from zero123lib._optional import require
from zero123lib.training.config import TrainedConfig

# With one context token, the queries and keys of cross-attention have no effect to be trained.
_ONE_TOKEN = r".*(attn1\.(to_q|to_k|to_v|to_out\.0)|attn2\.(to_v|to_out\.0))"
_ALL = r".*attn[12]\.(to_q|to_k|to_v|to_out\.0)"


def add_adapters(unet: UNet2DConditionModel, config: TrainedConfig, seed: int) -> None:
    """Put adapters, of no effect at first, on the attention's layers; they alone are trained."""
    peft = require("peft", "train")
    unet.requires_grad_(False)
    adapters = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules=_ONE_TOKEN if config.one_token else _ALL,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(adapters)


def has_adapters(unet: UNet2DConditionModel) -> bool:
    """Tell whether :func:`add_adapters` was called."""
    return bool(getattr(unet, "peft_config", None))


def merge(unet: UNet2DConditionModel) -> None:
    """Add the adapters, if there are any, to the weights in place; where both are float32, the sum
    loses nothing."""
    whole: Any = unet
    if has_adapters(unet):
        whole.fuse_lora()
        whole.unload_lora()
