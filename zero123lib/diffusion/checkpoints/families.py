"""The table of other models: what each is called, how it is told apart, what to use in its place.

Files are told apart by the names and shapes of their tensors, folders by their
``model_index.json``: its ``_class_name``, and the class of each component. The comment on each
family cites the files of its public repository that its marks are from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Tensors = Mapping[str, Tensor]
Index = Mapping[str, Any]


UNET = "model.diffusion_model."
VISUAL = "cond_stage_model.model.visual."
PROJECTION = "cc_projection."


@dataclass(frozen=True)
class Family:
    """Another model.

    Attributes:
        name: as its authors call it.
        advice: what to use in its place, or it with.
        file: whether tensors are those of its files; None if it is published in folders alone.
        folder: whether an index is that of its folders; None if it is published in files alone.
    """

    name: str
    advice: str
    file: Callable[[Tensors], bool] | None = None
    folder: Callable[[Index], bool] | None = None


def begins(tensors: Iterable[str], *prefixes: str) -> bool:
    """Whether any name begins with any of the prefixes."""
    return any(name.startswith(prefixes) for name in tensors)


def _contains(tensors: Iterable[str], part: str) -> bool:
    return any(part in name for name in tensors)


def _size(tensors: Tensors, name: str, axis: int) -> int | None:
    tensor = tensors.get(name)
    return None if tensor is None or tensor.ndim <= axis else tensor.shape[axis]


def component(index: Index, name: str) -> str | None:
    """The class of a component; None where the folder has none (diffusers writes [null, null])."""
    entry = index.get(name)
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], str):
        return entry[1]
    return None


def _of_class(*names: str) -> Callable[[Index], bool]:
    return lambda index: index.get("_class_name") in names


def _is_video(tensors: Tensors) -> bool:
    return _contains(tensors, ".time_stack.") and begins(tensors, UNET)


def _is_sv3d(tensors: Tensors) -> bool:
    return _is_video(tensors) and _size(tensors, UNET + "label_emb.0.0.weight", 1) in (256, 1280)


def _is_sd_2(tensors: Tensors) -> bool:
    text = begins(tensors, "cond_stage_model.model.transformer.")
    return text and not begins(tensors, VISUAL)


def _is_image_variations(tensors: Tensors) -> bool:
    return begins(tensors, VISUAL) and not begins(tensors, PROJECTION)


def _is_zeronvs(tensors: Tensors) -> bool:
    width, joined = (_size(tensors, PROJECTION + "weight", axis) for axis in (0, 1))
    return width is not None and joined == width + 19


def _is_image_dream(index: Index) -> bool:
    return index.get("_class_name") == "MVDreamPipeline" and bool(component(index, "image_encoder"))


def _is_text_to_image(index: Index) -> bool:
    return bool(component(index, "tokenizer") and component(index, "text_encoder"))


_ZERO123 = "for a view from any camera use a Zero123 checkpoint, such as zero123-xl"
_ITS_CODE = f"run it with its own code, or {_ZERO123}"

# The first that fits names the model, so what is made from another stands before it.
FAMILIES: tuple[Family, ...] = (
    # liuyuan-pal/SyncDreamer, ldm/models/diffusion/sync_dreamer.py: the layout of Zero123, with its
    # cc_projection, CLIP as clip_image_encoder and a volume of features.
    Family("SyncDreamer", _ITS_CODE, file=lambda t: begins(t, "spatial_volume.")),
    # SUDO-AI-3D/zero123plus, diffusers-support/pipeline.py; fine-tuned by Lightning in
    # TencentARC/InstantMesh, zero123plus/model.py, under RefOnlyNoisedUNet.
    Family(
        "Zero123++ (zero123plus), which makes six fixed views",
        _ITS_CODE,
        file=lambda t: begins(t, "unet.unet."),
        folder=_of_class("Zero123PlusPipeline"),
    ),
    # xxlong0/Wonder3D, mvdiffusion/pipelines/pipeline_mvdiffusion_image.py, and for its UNet's
    # blocks mvdiffusion/models/transformer_mv2d.py.
    Family(
        "Wonder3D, or a model made from it",
        _ITS_CODE,
        file=lambda t: _contains(t, ".attn_joint_mid.") or _contains(t, ".attn_joint_last."),
        folder=_of_class("MVDiffusionImagePipeline"),
    ),
    # pengHTYX/Era3D, mvdiffusion/pipelines/pipeline_mvdiffusion_unclip.py: a class name of
    # diffusers, with Wonder3D's kind of UNet.
    Family("Era3D", _ITS_CODE, folder=lambda i: component(i, "unet") == "UNetMV2DConditionModel"),
    # kxhit/EscherNet, 6DoF/pipeline_zero1to3.py: Zero123's class name, another image encoder.
    Family("EscherNet", _ITS_CODE, folder=lambda i: component(i, "image_encoder") == "CN_encoder"),
    # lyndonzheng/Free3D, modules/diffusionmodules/openaimodel.py: rays modulate each block.
    Family("Free3D", _ITS_CODE, file=lambda t: _contains(t, ".pose_layers.")),
    # kylesargent/ZeroNVS, zeronvs_config.yaml (embedding_dim), and kylesargent/zeronvs_diffusion,
    # zero123/ldm/models/diffusion/ddpm.py: Zero123's layout, for cameras of 19 numbers.
    Family("ZeroNVS", _ITS_CODE, file=_is_zeronvs),
    # Stability-AI/generative-models: sgm/modules/spacetime_attention.py for SV4D's blocks,
    # sgm/modules/video_attention.py for the others'; scripts/sampling/configs for adm_in_channels,
    # 256 and 1280 in sv3d_u.yaml and sv3d_p.yaml, 768 in svd.yaml. chenguolin/sv3d-diffusers,
    # diffusers_sv3d/pipelines/, and huggingface/diffusers for the folders.
    Family("Stable Video 4D", _ITS_CODE, file=lambda t: _contains(t, ".time_mix_blocks.")),
    Family(
        "Stable Video 3D (SV3D)",
        _ITS_CODE,
        file=_is_sv3d,
        folder=_of_class("StableVideo3DDiffusionPipeline"),
    ),
    Family(
        "Stable Video Diffusion, which has no camera",
        f"use diffusers' StableVideoDiffusionPipeline, or {_ZERO123}",
        file=_is_video,
        folder=_of_class("StableVideoDiffusionPipeline"),
    ),
    # ldm/modules/diffusionmodules/openaimodel.py below bytedance/ImageDream, extern/ImageDream/
    # imagedream, and below bytedance/MVDream, mvdream;
    # ashawkey/mvdream_diffusers, pipeline_mvdream.py, one class for both.
    Family(
        "ImageDream",
        _ITS_CODE,
        file=lambda t: begins(t, UNET + "image_embed."),
        folder=_is_image_dream,
    ),
    Family(
        "MVDream, which starts from text",
        _ITS_CODE,
        file=lambda t: begins(t, UNET + "camera_embed."),
        folder=_of_class("MVDreamPipeline"),
    ),
    # Stability-AI/generative-models, configs/inference/sd_xl_base.yaml and sd_xl_refiner.yaml.
    Family(
        "Stable Diffusion XL, which makes images from text",
        _ZERO123,
        file=lambda t: begins(t, "conditioner.embedders."),
        folder=lambda i: str(i.get("_class_name")).startswith("StableDiffusionXL"),
    ),
    # Stability-AI/stablediffusion, ldm/modules/encoders/modules.py, FrozenOpenCLIPEmbedder.
    Family("Stable Diffusion 2.x, which makes images from text", _ZERO123, file=_is_sd_2),
    # CompVis/stable-diffusion, ldm/modules/encoders/modules.py, FrozenCLIPEmbedder.
    Family(
        "Stable Diffusion 1.x, which makes images from text",
        _ZERO123,
        file=lambda t: begins(t, "cond_stage_model.transformer."),
    ),
    # justinpinkney/stable-diffusion, configs/stable-diffusion/sd-image-condition-finetune.yaml;
    # huggingface/diffusers, src/diffusers/pipelines/stable_diffusion/.
    Family(
        "Stable Diffusion image variations, which Zero123's training begins from",
        f"it knows no cameras yet: {_ZERO123}",
        file=_is_image_variations,
        folder=_of_class("StableDiffusionImageVariationPipeline"),
    ),
    Family(
        "a model that makes images from text, such as Stable Diffusion 1.x or 2.x",
        _ZERO123,
        folder=_is_text_to_image,
    ),
    # huggingface/diffusers, src/diffusers/models, and transformers' CLIPVisionModelWithProjection.
    Family(
        "one component of a diffusers folder",
        "give the folder that holds model_index.json",
        file=lambda t: begins(t, "down_blocks.", "encoder.down_blocks.", "vision_model."),
    ),
)
