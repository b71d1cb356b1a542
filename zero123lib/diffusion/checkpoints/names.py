"""How the original checkpoints (CompVis' latent diffusion, OpenAI's CLIP) name the same weights.

One direction is written down, from the name in diffusers or transformers to an :class:`Origin` in
the original file, so reading and writing cannot disagree. Tests compare it with the converter that
diffusers has for its own single-file loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.model.visual."
PROJECTION = "cc_projection."
EMA = "model_ema."

# whole: as it is;  transposed: of a matrix;  linear: [O, I] of a 1 x 1 convolution [O, I, 1, 1];
# q, k, v: that third of the rows
Take = Literal["whole", "transposed", "linear", "q", "k", "v"]


@dataclass(frozen=True)
class Origin:
    """A weight's name in the original file, and what of that tensor it is."""

    name: str
    take: Take = "whole"

    def read(self, original: Tensor) -> Tensor:
        """Return the weight, a view of the original tensor.

        A tensor of a shape that cannot be taken so gives one of a shape that fits no weight.
        """
        if self.take == "transposed" and original.ndim == 2:
            return original.T
        if self.take == "linear":
            return as_linear(original)
        if self.take in ("q", "k", "v") and original.ndim:
            # Rounded up: of rows that are no multiple of three, v gets too few.
            rows = -(-len(original) // 3)
            start = rows * "qkv".index(self.take)
            return original[start : start + rows]
        return original


def as_linear(tensor: Tensor) -> Tensor:
    """Return the matrix ``[O, I]`` that a 1 x 1 convolution ``[O, I, 1, 1]`` is; others as they
    are."""
    return tensor[:, :, 0, 0] if tensor.shape[2:] == (1, 1) else tensor


def ema_name(unet_name: str) -> str:
    """Return where the running average of a UNet weight lies (official ``ldm/modules/ema.py``:
    LitEma registers buffers, whose names have no dots)."""
    return EMA + unet_name.removeprefix("model.").replace(".", "")


def _replaced(text: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        text = text.replace(old, new)
    return text


_UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_UNET_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def unet_origin(name: str, layers_per_block: int, attended: set[int]) -> Origin:
    """Return where a UNet weight lies.

    Args:
        name: in ``UNet2DConditionModel``.
        layers_per_block: residual blocks per resolution on the way down; one more on the way up.
        attended: indices of the up blocks with attention, after which the upsampler is the third
            module of its group and not the second.
    """
    stem, _, leaf = name.rpartition(".")
    if stem in _UNET_ENDS:
        return Origin(f"{UNET}{_UNET_ENDS[stem]}.{leaf}")
    per_block = layers_per_block + 1
    side, _, rest = name.partition("_block")
    if side == "mid":
        kind, index, tail = rest.removeprefix(".").split(".", 2)
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * int(index)}"
    else:
        block, kind, index, tail = rest.removeprefix("s.").split(".", 3)
        blocks, first = ("input", 1) if side == "down" else ("output", 0)
        start = first + int(block) * per_block
        if kind == "downsamplers":
            place, tail = f"input_blocks.{start + layers_per_block}.0", tail.replace("conv", "op")
        elif kind == "upsamplers":
            last = 2 if int(block) in attended else 1
            place = f"output_blocks.{start + layers_per_block}.{last}"
        else:
            place = f"{blocks}_blocks.{start + int(index)}.{int(kind == 'attentions')}"
    if kind == "resnets":
        tail = _replaced(tail, _UNET_RESNET)
    return Origin(f"{UNET}{place}.{tail}")


_VAE_PLACES = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0.group_norm": "mid.attn_1.norm",
    "mid_block.attentions.0.to_q": "mid.attn_1.q",
    "mid_block.attentions.0.to_k": "mid.attn_1.k",
    "mid_block.attentions.0.to_v": "mid.attn_1.v",
    "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "resnets": "block",
}


def vae_origin(name: str, blocks: int) -> Origin:
    """Return where a weight of ``AutoencoderKL`` lies; its up blocks count from the coarsest,
    the original ones from the finest."""
    linear = name.endswith("weight") and re.search(r"attentions\.0\.to_", name) is not None
    place = re.sub(r"down_blocks\.(\d+)", r"down.\1", name)
    place = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{blocks - 1 - int(m[1])}", place)
    return Origin(VAE + _replaced(place, _VAE_PLACES), "linear" if linear else "whole")


_CLIP_PLACES = {
    "vision_model.embeddings.position_embedding.weight": "positional_embedding",
    "vision_model.embeddings.patch_embedding": "conv1",
    "vision_model.embeddings.": "",
    "vision_model.pre_layrnorm": "ln_pre",
    "vision_model.post_layernorm": "ln_post",
    "vision_model.encoder.layers": "transformer.resblocks",
    "self_attn": "attn",
    "layer_norm": "ln_",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def clip_origin(name: str) -> Origin:
    """Return where a weight of ``CLIPVisionModelWithProjection`` lies."""
    if name == "visual_projection.weight":
        return Origin(f"{CLIP}proj", "transposed")
    place = _replaced(name, _CLIP_PLACES)
    third = re.fullmatch(r"(.*\.attn)\.([qkv])_proj\.(weight|bias)", place)
    if third:
        return Origin(f"{CLIP}{third[1]}.in_proj_{third[3]}", third[2])  # pyright: ignore[reportArgumentType]
    return Origin(CLIP + place)


def projection_origin(name: str) -> Origin:
    """Return where a weight of ``CameraProjection`` lies."""
    return Origin(PROJECTION + name.removeprefix("proj."))


def renamed(tensors: Mapping[str, Tensor], origins: Mapping[str, Origin]) -> dict[str, Tensor]:
    """Return views of a file's tensors under other names.

    Args:
        tensors: of the file, by its names.
        origins: by the new names. Those that the file lacks are absent from the result too.
    """
    there = {name: origin for name, origin in origins.items() if origin.name in tensors}
    return {name: origin.read(tensors[origin.name]) for name, origin in there.items()}


def joined(parts: Mapping[Take, Tensor]) -> Tensor:
    """Return the original tensor, from all that was taken from it; inverse of :meth:`Origin.read`.

    Args:
        parts: by what was taken: one, or q, k and v.
    """
    if "q" in parts:
        return torch.cat([parts["q"], parts["k"], parts["v"]])
    ((take, tensor),) = parts.items()
    if take == "transposed":
        return tensor.T.contiguous()
    return tensor[:, :, None, None] if take == "linear" else tensor
