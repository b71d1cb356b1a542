"""Other models are refused by name, told apart by the names that their public code gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import UnsupportedCheckpointError
from zero123lib.diffusion.checkpoints.foreign import refuse_foreign_folder, refuse_foreign_tensors

SOURCE = Path("models/105000.ckpt")

UNET = "model.diffusion_model."
VAE = ["first_stage_model.encoder.conv_in.weight", "first_stage_model.decoder.conv_in.weight"]
VISUAL = [
    "cond_stage_model.model.visual.conv1.weight",
    "cond_stage_model.model.visual.proj",
]
# Original files hold OpenAI's whole CLIP, its text tower too.
CLIP = [*VISUAL, "cond_stage_model.model.transformer.resblocks.0.ln_1.weight"]
BLOCKS = [
    UNET + "time_embed.0.weight",
    UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
]
PROJECTION = {"cc_projection.weight": (768, 772), "cc_projection.bias": (768,)}
SGM = [*BLOCKS, *VAE, "conditioner.embedders.0.open_clip.model.visual.conv1.weight"]
STACK = UNET + "input_blocks.1.1.time_stack.0.attn1.to_q.weight"
LABEL = UNET + "label_emb.0.0.weight"


def tensors(*names: str, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    result = {name: torch.zeros(1) for name in names}
    return result | {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


ZERO123 = tensors(*BLOCKS, *VAE, *CLIP, "model_ema.decay", "betas", **PROJECTION)

FILES = {
    "SyncDreamer": tensors(
        *BLOCKS,
        *VAE,
        "clip_image_encoder.model.visual.conv1.weight",
        "time_embed.0.weight",
        "spatial_volume.target_encoder.init_conv.weight",
        **PROJECTION,
    ),
    "Zero123++ (zero123plus)": tensors("unet.unet.conv_in.weight", "alphas_cumprod"),
    "Wonder3D": tensors(
        "conv_in.weight",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn_joint_mid.to_q.weight",
    ),
    "Free3D": tensors(
        *BLOCKS, *VAE, *CLIP, UNET + "input_blocks.1.0.pose_layers.0.weight", **PROJECTION
    ),
    "ZeroNVS": tensors(*BLOCKS, *VAE, *CLIP, **{"cc_projection.weight": (768, 787)}),
    "Stable Video 4D": tensors(
        *SGM, UNET + "input_blocks.1.1.time_mix_blocks.0.norm1.weight", **{LABEL: (1280, 1280)}
    ),
    "Stable Video 3D (SV3D)": tensors(*SGM, STACK, **{LABEL: (1280, 1280)}),
    "Stable Video 3D": tensors(*SGM, STACK, **{LABEL: (1280, 256)}),
    "Stable Video Diffusion": tensors(*SGM, STACK, **{LABEL: (1280, 768)}),
    "ImageDream": tensors(
        *BLOCKS,
        UNET + "camera_embed.0.weight",
        UNET + "image_embed.latents",
        "vae_model.encoder.conv_in.weight",
        "clip_model.model.visual.conv1.weight",
    ),
    "MVDream": tensors(
        *BLOCKS, *VAE, UNET + "camera_embed.0.weight", "cond_stage_model.model.ln_final.weight"
    ),
    "Stable Diffusion XL": tensors(
        *BLOCKS, *VAE, "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight"
    ),
    "Stable Diffusion 2.x": tensors(
        *BLOCKS, *VAE, "cond_stage_model.model.transformer.resblocks.0.ln_1.weight"
    ),
    "Stable Diffusion 1.x": tensors(
        *BLOCKS, *VAE, "cond_stage_model.transformer.text_model.final_layer_norm.weight"
    ),
    "Stable Diffusion image variations": tensors(*BLOCKS, *VAE, *CLIP),
    "one component of a diffusers folder": tensors("conv_in.weight", "down_blocks.0.resnets.0"),
}

ENCODER = ["transformers", "CLIPVisionModelWithProjection"]
PARTS: dict[str, Any] = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "image_encoder": ENCODER,
    "scheduler": ["diffusers", "DDIMScheduler"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": [None, None],
}
TEXT = {
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "text_encoder": ["transformers", "CLIPTextModel"],
}
PORTS = [
    ("Zero123Pipeline", "camera_projection", ["zero123lib.diffusion.model", "CameraProjection"]),
    ("Zero1to3StableDiffusionPipeline", "cc_projection", ["pipeline_zero1to3", "CCProjection"]),
    ("Zero123Pipeline", "clip_camera_projection", ["zero123", "CLIPCameraProjection"]),
]


def index(pipeline: str, **parts: Any) -> dict[str, Any]:
    return {"_class_name": pipeline, "_diffusers_version": "0.20.0", **PARTS, **parts}


FOLDERS = {
    "Zero123++": index("Zero123PlusPipeline", vision_encoder=ENCODER, **TEXT),
    "Wonder3D": index(
        "MVDiffusionImagePipeline", unet=["unet_mv2d_condition", "UNetMV2DConditionModel"]
    ),
    "Era3D": index(
        "StableUnCLIPImg2ImgPipeline",
        unet=["unet_mv2d_condition", "UNetMV2DConditionModel"],
        **TEXT,
    ),
    "EscherNet": index(
        "Zero1to3StableDiffusionPipeline", image_encoder=["CN_encoder", "CN_encoder"]
    ),
    "Stable Video 3D": index(
        "StableVideo3DDiffusionPipeline",
        unet=["diffusers_sv3d", "SV3DUNetSpatioTemporalConditionModel"],
    ),
    "Stable Video Diffusion": index("StableVideoDiffusionPipeline"),
    "ImageDream": index("MVDreamPipeline", unet=["mv_unet", "MultiViewUNetModel"], **TEXT),
    "MVDream": index("MVDreamPipeline", image_encoder=[None, None], **TEXT),
    "Stable Diffusion XL": index("StableDiffusionXLImg2ImgPipeline", **TEXT),
    "Stable Diffusion image variations": index("StableDiffusionImageVariationPipeline"),
    "images from text": index("StableDiffusionPipeline", **TEXT),
}


def refusal(caught: pytest.ExceptionInfo[UnsupportedCheckpointError]) -> str:
    message = str(caught.value)
    assert message.startswith("source: expected a Zero123")
    assert repr(str(SOURCE)) in message
    assert "\n" not in message
    return message


def test_zero123_passes_whatever_its_sizes() -> None:
    refuse_foreign_tensors(ZERO123, SOURCE)
    refuse_foreign_tensors(ZERO123 | tensors(**{"cc_projection.weight": (32, 36)}), SOURCE)


@pytest.mark.parametrize(("name", "file"), FILES.items(), ids=list(FILES))
def test_files_of_other_models_are_refused_by_name(name: str, file: dict[str, Tensor]) -> None:
    with pytest.raises(UnsupportedCheckpointError) as caught:
        refuse_foreign_tensors(file, SOURCE)
    message = refusal(caught)
    assert f", which is {name}" in message
    assert "zero123-xl" in message or "model_index.json" in message


@pytest.mark.parametrize("prefix", ["model.", "first_stage_model.", "cond_stage_model.", None])
def test_files_that_lack_a_part_are_told_which(prefix: str | None) -> None:
    kept = {name: t for name, t in ZERO123.items() if prefix and not name.startswith(prefix)}
    with pytest.raises(UnsupportedCheckpointError) as caught:
        refuse_foreign_tensors(kept or {"resnet.conv1.weight": torch.zeros(1)}, SOURCE)
    lacked, _, held = refusal(caught).partition("which lacks ")[2].partition(" and holds ")
    assert lacked.count("*") == (1 if prefix else 4)
    assert (prefix or "first_stage_model.") in lacked
    assert held


@pytest.mark.parametrize(("pipeline", "name", "kind"), PORTS)
def test_every_port_of_zero123_passes(pipeline: str, name: str, kind: list[str]) -> None:
    refuse_foreign_folder(index(pipeline, **{name: kind}), SOURCE)


@pytest.mark.parametrize(("name", "folder"), FOLDERS.items(), ids=list(FOLDERS))
def test_folders_of_other_models_are_refused_by_name(name: str, folder: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedCheckpointError) as caught:
        refuse_foreign_folder(folder, SOURCE)
    named = refusal(caught).partition(", which is ")[2]
    assert named.startswith(name) or name == "images from text" in named


@pytest.mark.parametrize("name", ["unet", "vae", "image_encoder", "cc_projection"])
@pytest.mark.parametrize("entry", [None, [None, None], "text", 3])
def test_folders_that_lack_a_part_are_told_which(name: str, entry: Any) -> None:
    pipeline, projection, kind = PORTS[1]
    folder = index(pipeline, **{projection: kind})
    with pytest.raises(UnsupportedCheckpointError) as caught:
        refuse_foreign_folder(folder | {name: entry}, SOURCE)
    assert name in refusal(caught).partition("which lacks ")[2]
