"""Checkpoints of other models, which look like Zero123's or are mistaken for them: refused by name.

Files are told apart by the names and shapes of their tensors, before their weights are read,
folders by their ``model_index.json``: its ``_class_name``, and the class of each component. The
comment on each family cites the files of its public repository that its marks are from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zero123lib.diffusion.checkpoints.errors import UnsupportedCheckpointError
from zero123lib.diffusion.checkpoints.names import CLIP, PROJECTION, UNET, VAE
from zero123lib.diffusion.checkpoints.parts import PARTS, PROJECTIONS

Tensors = Mapping[str, Tensor]
Index = Mapping[str, Any]

_ZERO123 = "for a view from any camera use a Zero123 checkpoint, such as zero123-xl"
_ITS_CODE = f"run it with its own code, or {_ZERO123}"


@dataclass(frozen=True)
class Family:
    """Another model.

    Attributes:
        name: as its authors call it.
        marks: of its files: what a name of some tensor begins with; or holds, where the mark begins
            with a dot.
        pipelines: the ``_class_name`` of its folders.
        advice: what to use in its place, or it with.
        file: whether tensors are those of its files, where no mark tells.
        folder: whether an index is that of its folders, where its class name does not tell.
    """

    name: str
    marks: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    advice: str = _ITS_CODE
    file: Callable[[Tensors], bool] = lambda tensors: False
    folder: Callable[[Index], bool] = lambda index: False


def _has(tensors: Tensors, *marks: str) -> bool:
    """Tell whether the name of some tensor has one of the marks; see :class:`Family`."""
    inside = [mark for mark in marks if mark.startswith(".")]
    return any(name.startswith(marks) or any(m in name for m in inside) for name in tensors)


def _size(tensors: Tensors, name: str, axis: int) -> int:
    tensor = tensors.get(name)
    return -1 if tensor is None or tensor.ndim <= axis else tensor.shape[axis]


def _component(index: Index, name: str) -> str | None:
    """Return the class of a component; None where the folder has none (diffusers writes [null,
    null])."""
    entry = index.get(name)
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[1], str):
        return entry[1]
    return None


def _is_video(tensors: Tensors) -> bool:
    return _has(tensors, ".time_stack.") and _has(tensors, UNET)


def _is_sv3d(tensors: Tensors) -> bool:
    return _is_video(tensors) and _size(tensors, UNET + "label_emb.0.0.weight", 1) in (256, 1280)


def _is_sd_2(tensors: Tensors) -> bool:
    return _has(tensors, "cond_stage_model.model.transformer.") and not _has(tensors, CLIP)


def _is_image_variations(tensors: Tensors) -> bool:
    return _has(tensors, CLIP) and not _has(tensors, PROJECTION)


def _is_zeronvs(tensors: Tensors) -> bool:
    width, joined = (_size(tensors, PROJECTION + "weight", axis) for axis in (0, 1))
    return 0 <= width == joined - 19


def _is_image_dream(index: Index) -> bool:
    image_encoder = _component(index, "image_encoder")
    return index.get("_class_name") == "MVDreamPipeline" and bool(image_encoder)


def _is_text_to_image(index: Index) -> bool:
    return bool(_component(index, "tokenizer") and _component(index, "text_encoder"))


def _is_sdxl(index: Index) -> bool:
    return str(index.get("_class_name")).startswith("StableDiffusionXL")


# The first that fits names the model, so what is made from another stands before it.
FAMILIES: tuple[Family, ...] = (
    # liuyuan-pal/SyncDreamer, ldm/models/diffusion/sync_dreamer.py: the layout of Zero123, with its
    # cc_projection, CLIP as clip_image_encoder and a volume of features.
    Family("SyncDreamer", ("spatial_volume.",)),
    # SUDO-AI-3D/zero123plus, diffusers-support/pipeline.py; fine-tuned by Lightning in
    # TencentARC/InstantMesh, zero123plus/model.py, under RefOnlyNoisedUNet.
    Family(
        "Zero123++ (zero123plus), which makes six fixed views",
        ("unet.unet.",),
        ("Zero123PlusPipeline",),
    ),
    # xxlong0/Wonder3D, mvdiffusion/pipelines/pipeline_mvdiffusion_image.py, and for its UNet's
    # blocks mvdiffusion/models/transformer_mv2d.py.
    Family(
        "Wonder3D, or a model made from it",
        (".attn_joint_mid.", ".attn_joint_last."),
        ("MVDiffusionImagePipeline",),
    ),
    # pengHTYX/Era3D, mvdiffusion/pipelines/pipeline_mvdiffusion_unclip.py: a class name of
    # diffusers, with Wonder3D's kind of UNet.
    Family("Era3D", folder=lambda index: _component(index, "unet") == "UNetMV2DConditionModel"),
    # kxhit/EscherNet, 6DoF/pipeline_zero1to3.py: Zero123's class name, another image encoder.
    Family("EscherNet", folder=lambda index: _component(index, "image_encoder") == "CN_encoder"),
    # lyndonzheng/Free3D, modules/diffusionmodules/openaimodel.py: rays modulate each block.
    Family("Free3D", (".pose_layers.",)),
    # kylesargent/ZeroNVS, zeronvs_config.yaml (embedding_dim), and kylesargent/zeronvs_diffusion,
    # zero123/ldm/models/diffusion/ddpm.py: Zero123's layout, for cameras of 19 numbers.
    Family("ZeroNVS", file=_is_zeronvs),
    # Stability-AI/generative-models: sgm/modules/spacetime_attention.py for SV4D's blocks,
    # sgm/modules/video_attention.py for the others'; scripts/sampling/configs for adm_in_channels,
    # 256 and 1280 in sv3d_u.yaml and sv3d_p.yaml, 768 in svd.yaml. chenguolin/sv3d-diffusers,
    # diffusers_sv3d/pipelines/, and huggingface/diffusers for the folders.
    Family("Stable Video 4D", (".time_mix_blocks.",)),
    Family("Stable Video 3D (SV3D)", (), ("StableVideo3DDiffusionPipeline",), file=_is_sv3d),
    Family(
        "Stable Video Diffusion, which has no camera",
        pipelines=("StableVideoDiffusionPipeline",),
        advice=f"use diffusers' StableVideoDiffusionPipeline, or {_ZERO123}",
        file=_is_video,
    ),
    # ldm/modules/diffusionmodules/openaimodel.py below bytedance/ImageDream, extern/ImageDream/
    # imagedream, and below bytedance/MVDream, mvdream;
    # ashawkey/mvdream_diffusers, pipeline_mvdream.py, one class for both.
    Family("ImageDream", (UNET + "image_embed.",), folder=_is_image_dream),
    Family("MVDream, which starts from text", (UNET + "camera_embed.",), ("MVDreamPipeline",)),
    # Stability-AI/generative-models, configs/inference/sd_xl_base.yaml and sd_xl_refiner.yaml.
    Family(
        "Stable Diffusion XL, which makes images from text",
        ("conditioner.embedders.",),
        advice=_ZERO123,
        folder=_is_sdxl,
    ),
    # Stability-AI/stablediffusion, ldm/modules/encoders/modules.py, FrozenOpenCLIPEmbedder.
    Family("Stable Diffusion 2.x, which makes images from text", advice=_ZERO123, file=_is_sd_2),
    # CompVis/stable-diffusion, ldm/modules/encoders/modules.py, FrozenCLIPEmbedder.
    Family(
        "Stable Diffusion 1.x, which makes images from text",
        ("cond_stage_model.transformer.",),
        advice=_ZERO123,
    ),
    # justinpinkney/stable-diffusion, configs/stable-diffusion/sd-image-condition-finetune.yaml;
    # huggingface/diffusers, src/diffusers/pipelines/stable_diffusion/.
    Family(
        "Stable Diffusion image variations, which Zero123's training begins from",
        pipelines=("StableDiffusionImageVariationPipeline",),
        advice=f"it knows no cameras yet: {_ZERO123}",
        file=_is_image_variations,
    ),
    Family(
        "a model that makes images from text, such as Stable Diffusion 1.x or 2.x",
        advice=_ZERO123,
        folder=_is_text_to_image,
    ),
    # huggingface/diffusers, src/diffusers/models, and transformers' CLIPVisionModelWithProjection.
    Family(
        "one component of a diffusers folder",
        ("down_blocks.", "encoder.down_blocks.", "vision_model."),
        advice="give the folder that holds model_index.json",
    ),
)


def refuse_foreign_tensors(tensors: Tensors, source: Path) -> None:
    """Raise unless the tensors are those of an original Zero123 file, whatever their sizes.

    Args:
        tensors: by the names of their file.
        source: the file, for the message.

    Raises:
        UnsupportedCheckpointError: they are another model's, named if it is known, or lack parts.
    """
    for family in FAMILIES:
        if _has(tensors, *family.marks) or family.file(tensors):
            raise _foreign(family, source)
    # What every original file of the family has (cvlab-columbia/zero123, zero123/ldm/models/
    # diffusion/ddpm.py, and zero123/ldm/modules/encoders/modules.py for CLIP).
    expected = (UNET, VAE, CLIP, PROJECTION)
    missing = [prefix + "*" for prefix in expected if not _has(tensors, prefix)]
    if missing:
        names = sorted({".".join(name.split(".")[:2]) for name in tensors})
        raise UnsupportedCheckpointError(
            "source",
            f"a Zero123 file with {', '.join(prefix + '*' for prefix in expected)}",
            f"{str(source)!r}, which lacks {', '.join(missing)} and holds "
            f"{', '.join(map(repr, names[:4])) or 'nothing'}",
        )


def refuse_foreign_folder(model_index: Index, source: Path) -> None:
    """Raise unless the index is that of a Zero123 folder, of whichever port.

    Args:
        model_index: what ``model_index.json`` holds.
        source: the folder, for the message.

    Raises:
        UnsupportedCheckpointError: it is another model's, named if it is known, or lacks parts.
    """
    pipeline = model_index.get("_class_name")
    for family in FAMILIES:
        if pipeline in family.pipelines or family.folder(model_index):
            raise _foreign(family, source)
    # All but the projection, for which every port has its own name.
    missing = [name for name in PARTS[:-1] if not _component(model_index, name)]
    if not any(_component(model_index, name) for name in PROJECTIONS):
        missing.append(" or ".join(PROJECTIONS))
    if missing:
        raise UnsupportedCheckpointError(
            "source",
            f"a Zero123 folder, with {', '.join(PARTS[:-1])} and {' or '.join(PROJECTIONS)}",
            f"{str(source)!r} of the pipeline {pipeline!r}, which lacks {', '.join(missing)}",
        )


def _foreign(family: Family, source: Path) -> UnsupportedCheckpointError:
    return UnsupportedCheckpointError(
        "source",
        "a Zero123 checkpoint",
        f"{str(source)!r}, which is {family.name}; {family.advice}",
    )
