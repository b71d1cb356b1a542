"""The recipe: its numbers, the bundled architecture, and the loss of one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.model import CameraProjection, clip_embedding
from zero123lib.diffusion.patches import PatchAutoencoder


@dataclass(frozen=True)
class TrainConfig:
    """What decides a run; saved beside the weights.

    Attributes:
        minutes: length of the run; the learning rate falls to zero over it.
        batch_size: pairs per step and process.
        learning_rate: AdamW's, after ``warmup_steps`` of linear warm-up.
        ema_decay: limit of the weight average; warms up as (1 + n) / (10 + n).
        dropout: probability of each of the three groups of dropped conditions.
        noise_power: timesteps are ``T * u ** noise_power``, u uniform: below 1 favours noise,
            where the object's place and shape are decided.
        size: pixels.
        views: rendered per scene.
        pool_scenes: scenes that pairs are drawn from; each batch adds ``fresh_scenes`` new ones.
        seed: of weights, data and noise.
    """

    minutes: float = 120.0
    batch_size: int = 32
    learning_rate: float = 8e-4
    warmup_steps: int = 100
    ema_decay: float = 0.999
    dropout: float = 0.05
    noise_power: float = 0.3
    size: int = 64
    views: int = 8
    pool_scenes: int = 512
    fresh_scenes: int = 1
    seed: int = 0


class TrainedModel(nn.Module):
    """The parts of a pipeline that have weights to train."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        image_encoder: CLIPVisionModelWithProjection,
        camera_projection: CameraProjection,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.image_encoder = image_encoder
        self.camera_projection = camera_projection


def tiny_model() -> TrainedModel:
    """The bundled architecture with fresh weights."""
    width = 128
    clip = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        projection_dim=width,
        hidden_act="quick_gelu",
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=384,
        out_channels=192,
        block_out_channels=(96, 128),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=width,
        attention_head_dim=cast(
            Any, (3, 4)
        ),  # diffusers' name for the number of heads; 32 wide each
        norm_num_groups=8,
    )
    projection = CameraProjection(width, 4)
    # The identity suits a network that knows objects already. From nothing, with these columns at
    # zero, azimuth was not learned in 118,000 pairs; large ones are part of what changed that,
    # beside smaller latents and sides of different colours: which mattered most is not known.
    nn.init.normal_(projection.proj.weight.data[:, width:], std=1.5)
    return TrainedModel(unet, CLIPVisionModelWithProjection(clip), projection)


def tiny_scheduler() -> DDIMScheduler:
    """Stable Diffusion's betas, rescaled to end in pure noise (Lin et al. 2024)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def denoising_loss(
    model: TrainedModel,
    vae: PatchAutoencoder,
    scheduler: DDIMScheduler,
    batch: dict[str, Tensor],
    config: TrainConfig,
) -> Tensor:
    """Mean squared error of the predicted clean latent (paper, equation 1, in x instead of eps).

    Condition dropout draws one uniform u per pair, p = ``config.dropout``: u < p zeroes CLIP's
    embedding, p..2p the whole token and the concatenated latent (the null that sampling uses),
    2p..3p the concatenated latent.
    """
    # Under autocast the transform and the noise levels would be rounded to half precision.
    with torch.autocast(batch["target"].device.type, enabled=False):
        latents = vae.encode(batch["target"]).latent_dist.mode() * vae.config["scaling_factor"]
        concat = vae.encode(batch["condition"]).latent_dist.mode()
    u, p = torch.rand(len(latents), device=latents.device), config.dropout
    embedding = clip_embedding(model.image_encoder, batch["condition"])
    embedding = embedding * (u >= p)[:, None]
    context = model.camera_projection(embedding, batch["pose"])
    context = context * ((u < p) | (u >= 2 * p))[:, None, None]
    concat = concat * ((u < p) | (u >= 3 * p))[:, None, None, None]
    total = scheduler.config["num_train_timesteps"]
    uniform = torch.rand(len(latents), device=latents.device)
    timesteps = (total * uniform**config.noise_power).long().clamp_max(total - 1)
    with torch.autocast(latents.device.type, enabled=False):
        noisy = scheduler.add_noise(latents, torch.randn_like(latents), timesteps)
    predicted = model.unet(
        torch.cat([noisy, concat], 1), timesteps, encoder_hidden_states=context
    ).sample
    return F.mse_loss(predicted.float(), latents)
