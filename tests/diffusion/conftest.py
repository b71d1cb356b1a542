"""Small pipelines with random weights: the bundled architecture's, and the published one's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import hooks
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.model import CameraProjection, enable_one_token
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.recipe import tiny_scheduler

# These models are so small that threads only get in each other's way.
torch.set_num_threads(1)

WIDTH = 32


def small_unet(in_channels: int, out_channels: int, sample_size: int) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
    ).eval()


def small_clip() -> CLIPVisionModelWithProjection:
    config = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=24,
        patch_size=8,
        projection_dim=WIDTH,
        hidden_act="quick_gelu",
    )
    return CLIPVisionModelWithProjection(config).eval()


def published_scheduler() -> DDIMScheduler:
    """As the published folders save it."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@pytest.fixture(scope="session")
def scheduler() -> DDIMScheduler:
    return published_scheduler()


def _published_style() -> dict[str, Any]:
    """A KL autoencoder (f8), noise prediction, and Stable Diffusion's saved scheduler config."""
    config: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (8, 8, 8, 8),
    }
    vae = AutoencoderKL(norm_num_groups=4, latent_channels=4, sample_size=32, **config)
    return {"unet": small_unet(8, 4, 4), "vae": vae.eval(), "scheduler": published_scheduler()}


def _bundled_style() -> dict[str, Any]:
    vae = PatchAutoencoder(patch_size=4, latent_channels=48)
    return {"unet": small_unet(96, 48, 8), "vae": vae, "scheduler": tiny_scheduler()}


FAMILIES = {"bundled": _bundled_style, "published": _published_style}


@pytest.fixture(scope="session")
def make_pipeline() -> Callable[..., Zero123Pipeline]:
    """Build a pipeline for images of 32 px: `make_pipeline("bundled", **config)`."""

    def make(family: str = "bundled", **config: Any) -> Zero123Pipeline:
        torch.manual_seed(0)
        projection = CameraProjection(WIDTH, 4)
        torch.nn.init.normal_(projection.proj.weight, std=0.3)
        clip = small_clip()
        parts = FAMILIES[family]()
        enable_one_token(parts["unet"])
        parts.update(image_encoder=clip, camera_projection=projection.eval())
        pipe = Zero123Pipeline(**parts, **config)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return make


@pytest.fixture(params=FAMILIES)
def pipe(request: pytest.FixtureRequest, make_pipeline: Callable[..., Zero123Pipeline]) -> Any:
    """A pipeline of either family."""
    return make_pipeline(request.param)


@pytest.fixture(scope="session")
def image() -> torch.Tensor:
    """A prepared image `[3, 32, 32]` in [-1, 1]: a coloured ramp on white."""
    ramp = torch.linspace(-1, 1, 20)
    result = torch.ones(3, 32, 32)
    result[0, 6:26, 6:26], result[1, 6:26, 6:26] = ramp[:, None], ramp[None, :]
    result[2, 6:26, 6:26] = -0.5
    return result


@pytest.fixture
def cpu_as_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let accelerate offload from the CPU to nowhere, as it does from an accelerator to the CPU.

    Its hooks are all the same, but that on the CPU they leave weights as tensors that are no
    parameters, and then stumble over them.
    """
    place = hooks.set_module_tensor_to_device

    def placed(module: Any, name: str, *given: Any, **rest: Any) -> None:
        place(module, name, *given, **rest)
        *path, leaf = name.split(".")
        owner = module.get_submodule(".".join(path))
        weight = owner._parameters.get(leaf)
        if weight is not None and not isinstance(weight, nn.Parameter):
            owner._parameters[leaf] = nn.Parameter(weight, requires_grad=False)

    monkeypatch.setattr(hooks, "set_module_tensor_to_device", placed)
