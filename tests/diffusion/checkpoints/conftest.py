"""A small Zero123 with random weights, in the official code's layout and sizes of its YAML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.original import original_origins
from zero123lib.diffusion.model import CameraProjection, enable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose

torch.set_num_threads(1)

# The context is 768 wide: published ports of the projection save no config.
WIDTH = 768
SIZE = 32

YAML: dict[str, Any] = {
    "model": {
        "params": {
            "linear_start": 0.00085,
            "linear_end": 0.012,
            "timesteps": 1000,
            "image_size": 4,
            "scale_factor": 0.18215,
            "unet_config": {
                "params": {
                    "in_channels": 8,
                    "out_channels": 4,
                    "model_channels": 32,
                    "attention_resolutions": [2],
                    "num_res_blocks": 2,
                    "channel_mult": [1, 2],
                    "num_heads": 2,
                    "use_spatial_transformer": True,
                    "transformer_depth": 1,
                    "context_dim": WIDTH,
                    "legacy": False,
                }
            },
            "first_stage_config": {
                "params": {
                    "ddconfig": {
                        "z_channels": 4,
                        "in_channels": 3,
                        "out_ch": 3,
                        "ch": 32,
                        "ch_mult": [1, 1, 1, 2],
                        "num_res_blocks": 1,
                        "attn_resolutions": [],
                    }
                }
            },
        }
    }
}


def random_networks(seed: int = 0) -> dict[str, Any]:
    """The four networks of YAML's sizes."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=8,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
    )
    blocks: dict[str, Any] = {
        "block_out_channels": (32, 32, 32, 64),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae = AutoencoderKL(
        **blocks,
        layers_per_block=1,
        latent_channels=4,
        sample_size=SIZE,
        scaling_factor=0.18215,
    )
    clip = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=1,
        image_size=28,
        patch_size=14,
        projection_dim=WIDTH,
        hidden_act="quick_gelu",
    )
    projection = CameraProjection(WIDTH, 4)
    nn.init.normal_(projection.proj.weight, std=0.05)
    encoder = CLIPVisionModelWithProjection(clip)
    nn.init.normal_(encoder.visual_projection.weight, std=0.1)
    return {
        "unet": unet.eval(),
        "vae": vae.eval(),
        "image_encoder": encoder.eval(),
        "camera_projection": projection.eval(),
    }


@dataclass(frozen=True)
class Original:
    """A state dict in the original layout, its YAML, and the networks whose weights it holds."""

    networks: dict[str, Any]
    state: dict[str, Tensor]
    config: dict[str, Any]

    def averaged(self, factor: float = 0.5) -> dict[str, Tensor]:
        """The state with a running average of the UNet: its weights times a factor."""
        unet = [name for name in self.state if name.startswith(names.UNET)]
        averages = {names.ema_name(name): self.state[name] * factor for name in unet}
        return {**self.state, **averages, "model_ema.decay": torch.tensor(0.9999)}


@pytest.fixture(scope="session")
def original() -> Original:
    """The small model as an original file holds it, with leftovers of the published files."""
    networks = random_networks()
    taken: dict[str, dict[names.Take, Tensor]] = {}
    for part, origins in original_origins(networks).items():
        weights = networks[part].state_dict()
        for name, origin in origins.items():
            taken.setdefault(origin.name, {})[origin.take] = weights[name]
    state = {name: names.joined(parts).clone() for name, parts in taken.items()}
    state["betas"] = torch.zeros(1000)
    state["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    state["cond_stage_model.model.token_embedding.weight"] = torch.zeros(4, 4)
    return Original(networks, state, YAML)


@pytest.fixture(scope="session")
def views(scheduler: DDIMScheduler) -> Callable[[Any], Tensor]:
    """Two views of a fixed image by a pipeline, or by networks."""
    torch.manual_seed(7)
    image = torch.rand(3, SIZE, SIZE) * 2 - 1
    poses = [RelativePose(azimuth_deg=40), RelativePose(elevation_deg=-20, radius=0.3)]

    def make(model: Any) -> Tensor:
        if isinstance(model, dict):
            model = Zero123Pipeline(**model, scheduler=scheduler)
            enable_one_token(model.unet)
        model.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(3)
        call = {"num_inference_steps": 2, "generator": generator, "output_type": "pt"}
        return model(image, poses, **call).images

    return make


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Write a state dict as Lightning does, beside what it keeps for training."""

    def write(state: dict[str, Tensor], name: str = "zero123.ckpt") -> Path:
        path = tmp_path / name
        torch.save({"state_dict": state, "global_step": 105000, "epoch": 3}, path)
        return path

    return write
