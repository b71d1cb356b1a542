"""The published architecture with made-up weights, which changes no time and no memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion import checkpoints
from zero123lib.diffusion.model import CameraProjection, enable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline

CONFIGS = Path(checkpoints.__file__).parent / "configs"


def published_pipeline(device: str = "cpu") -> Zero123Pipeline:
    """Make all of a published model in float32, 5 GB."""
    unet: Any
    vae: Any
    with torch.device(device):
        unet = UNet2DConditionModel.from_config(_config("unet"))
        vae = AutoencoderKL.from_config(_config("vae"))
        clip = CLIPVisionConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
            image_size=224, patch_size=14, projection_dim=768, hidden_act="quick_gelu",
        )  # fmt: skip
        tower, projection = CLIPVisionModelWithProjection(clip), CameraProjection()
    scheduler: Any = DDIMScheduler.from_config(_config("scheduler"))
    enable_one_token(unet)
    return Zero123Pipeline(unet.eval(), vae.eval(), tower.eval(), projection, scheduler, "zero123")


def _config(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text())
