"""Pipelines with random weights for images of 32 px, and an object that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from tiny_runs import INPUT

from zero123lib.diffusion.model import CameraProjection
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.scenes import Scene, random_scene, render
from zero123lib.training.recipe import Architecture, tiny_pipeline

torch.set_num_threads(1)

SMALL = Architecture(
    image_size=32,
    patch_size=4,
    block_out_channels=(16, 16),
    transformer_layers_per_block=1,
    attention_heads=(2, 2),
    clip_image_size=16,
    clip_patch_size=8,
    clip_width=16,
    clip_layers=1,
    context_width=16,
)


@pytest.fixture(scope="session")
def pipe() -> Zero123Pipeline:
    """The bundled architecture, with a patch transform in the VAE's place."""
    made = tiny_pipeline(SMALL, 0)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def latent_pipe(pipe: Zero123Pipeline) -> Zero123Pipeline:
    """The published kind: a KL autoencoder with 4 latent channels at an eighth of the size."""
    torch.manual_seed(0)
    blocks: dict[str, Any] = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae = AutoencoderKL(norm_num_groups=4, latent_channels=4, sample_size=32, **blocks)
    attended: dict[str, Any] = {
        "block_out_channels": (16, 16),
        "down_block_types": ("CrossAttnDownBlock2D",) * 2,
        "up_block_types": ("CrossAttnUpBlock2D",) * 2,
        "cross_attention_dim": SMALL.context_width,
    }
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=8,
        out_channels=4,
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=8,
        **attended,
    )
    projection = CameraProjection(SMALL.context_width, 4)
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False)
    return Zero123Pipeline(unet.eval(), vae.eval(), pipe.image_encoder, projection, scheduler)


@pytest.fixture(scope="session")
def scene() -> Scene:
    """A mug, seen from :data:`INPUT`."""
    return random_scene(7, "mug")


@pytest.fixture(scope="session")
def photo(scene: Scene) -> Image.Image:
    """Its image with alpha, 32 px."""
    rgba = render(scene, [INPUT], 32).rgba[0]
    return Image.fromarray((rgba * 255).round().to(torch.uint8).numpy().astype(np.uint8))


@pytest.fixture(scope="session")
def files(pipe: Zero123Pipeline, photo: Image.Image, tmp_path_factory: Any) -> Path:
    """A folder with the model and the photo, for runs in processes of their own."""
    folder = tmp_path_factory.mktemp("files")
    pipe.save_pretrained(folder / "model")
    photo.save(folder / "photo.png")
    return folder
