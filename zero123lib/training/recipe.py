"""Fresh weights of the bundled architecture, at any size, and its noise schedule."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.deblocking import DeblockingFilter
from zero123lib.diffusion.model import CameraProjection, clip_embedding
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.architecture import Architecture


class TrainedModel(nn.Module):
    """The networks with weights to train: one forward pass from noise and conditions to output.

    Args:
        image_encoder: None where CLIP is frozen, and embeddings come in place of images.
        deblocking: the VAE's filter; None where it has none, or it is frozen. It has no part in the
            forward pass: the loss takes it from here.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        image_encoder: CLIPVisionModelWithProjection | None,
        camera_projection: CameraProjection,
        deblocking: DeblockingFilter | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.image_encoder = image_encoder
        self.camera_projection = camera_projection
        self.deblocking = deblocking

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        condition: Tensor,
        pose: Tensor,
        keep_embedding: Tensor,
        keep_token: Tensor,
    ) -> Tensor:
        """Return the UNet's output ``[B, C, h, w]``.

        Args:
            latents: ``[B, 2C, h, w]``, noisy and concatenated.
            timesteps: ``[B]``.
            condition: CLIP embeddings ``[B, D]``, or images ``[B, 3, H, W]`` in [-1, 1] where
                CLIP is trained.
            pose: ``[B, 4]``.
            keep_embedding, keep_token: 0 or 1, ``[B]``: CLIP's embedding, and what the projection
                makes of it and the pose.
        """
        if self.image_encoder is not None:
            condition = clip_embedding(self.image_encoder, condition)
        context = self.camera_projection(condition * keep_embedding[:, None], pose)
        context = context * keep_token[:, None, None]
        return self.unet(latents, timesteps, encoder_hidden_states=context).sample


def tiny_model(architecture: Architecture | None = None) -> TrainedModel:
    """Return the bundled architecture with fresh weights, at the bundled size unless told."""
    a = architecture or Architecture()
    clip = CLIPVisionConfig(
        hidden_size=a.clip_width,
        intermediate_size=4 * a.clip_width,
        num_hidden_layers=a.clip_layers,
        num_attention_heads=a.clip_heads,
        image_size=a.clip_image_size,
        patch_size=a.clip_patch_size,
        projection_dim=a.context_width,
        hidden_act="quick_gelu",
    )
    latent_channels = 3 * a.patch_size**2
    kinds = ["CrossAttn" if attended else "" for attended in a.attended]
    heads: Any = a.attention_heads  # "attention_head_dim" is diffusers' name for their number
    unet = UNet2DConditionModel(
        sample_size=a.image_size // a.patch_size,
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        block_out_channels=a.block_out_channels,
        layers_per_block=a.layers_per_block,
        transformer_layers_per_block=a.transformer_layers_per_block,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in kinds[::-1]),
        cross_attention_dim=a.context_width,
        attention_head_dim=heads,
        norm_num_groups=a.norm_num_groups,
    )
    projection = CameraProjection(a.context_width, 4)
    # The identity suits a network that knows objects already. From nothing, with these columns at
    # zero, azimuth was not learned in 118,000 pairs; large ones are part of what changed that,
    # beside smaller latents and sides of different colours: which mattered most is not known.
    nn.init.normal_(projection.proj.weight.data[:, a.context_width :], std=a.pose_std)
    return TrainedModel(unet, CLIPVisionModelWithProjection(clip), projection)


def tiny_scheduler(
    prediction_type: Literal["sample", "v_prediction", "epsilon"] = "sample",
) -> DDIMScheduler:
    """Stable Diffusion's betas, rescaled to end in pure noise (Lin et al. 2024) unless the noise
    is what is predicted."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction_type,
        rescale_betas_zero_snr=prediction_type != "epsilon",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


def tiny_pipeline(architecture: Architecture, seed: int) -> Zero123Pipeline:
    """Return a pipeline with fresh weights, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = tiny_model(architecture)
    patch = architecture.patch_size
    vae = PatchAutoencoder(
        patch,
        3 * patch**2,
        architecture.gain,
        scaling_factor=architecture.scaling_factor,
        overlap=architecture.overlap,
        deblocking_channels=architecture.deblocking_channels,
    )
    scheduler = tiny_scheduler(architecture.prediction_type)
    assert model.image_encoder is not None
    return Zero123Pipeline(model.unet, vae, model.image_encoder, model.camera_projection, scheduler)
