"""From a checkpoint to the folder that is shipped."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from zero123lib.diffusion.domain import fit_domain
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.scenes import random_camera, random_scene, render
from zero123lib.training.loop import TrainState
from zero123lib.training.recipe import TrainConfig, tiny_scheduler
from zero123lib.views.images import prepare

# What the bundled model's card found best for pictures to look at.
RECOMMENDED_STEPS = 8
RECOMMENDED_GUIDANCE = 1.0
# At 64 px few pixels lie away from an edge, so the measure of grain is coarse: a threshold that
# took in 99 % of drawn pictures would take in photographs too.
DOMAIN_COVERAGE = 0.95


def export(state: TrainState, folder: Path) -> Zero123Pipeline:
    """Write the averaged weights as a pipeline in half precision, in shards below 9 MB.

    A README in the folder, the model card, stays.
    """
    model = copy.deepcopy(state.ema)
    pipe = Zero123Pipeline(
        model.unet,
        PatchAutoencoder(),
        model.image_encoder,
        model.camera_projection,
        tiny_scheduler(),
        model_name=folder.name,
        num_inference_steps=RECOMMENDED_STEPS,
        guidance_scale=RECOMMENDED_GUIDANCE,
        domain="simple drawn objects",
        domain_statistics=fit_domain(_framed_pictures(512), DOMAIN_COVERAGE).to_config(),
    )
    pipe.to(dtype=torch.float16).save_pretrained(folder, max_shard_size="8MB")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)  # safetensors makes files private to the user
    return pipe


def _framed_pictures(count: int) -> Tensor:
    """Training pictures ``[count, 3, S, S]`` framed as users' pictures are, by ``prepare``."""
    random, size = torch.Generator().manual_seed(0), TrainConfig.size
    pictures = []
    for seed in range(count):
        rgba = render(random_scene(seed), [random_camera(random)], size).rgba[0]
        pictures.append(prepare(rgba.numpy(), size).tensor)
    return torch.stack(pictures)
