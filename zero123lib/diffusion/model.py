"""What is Zero-1-to-3's own in the network: posed CLIP, and one-token cross-attention.

UNet, VAE and CLIP are diffusers' and transformers'. Axes: B images or (image, pose) pairs;
images are ``[B, 3, H, W]`` in [-1, 1]; the context is ``[B, 1, D]``, *one* token.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import Encoding

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class CameraProjection(ModelMixin, ConfigMixin):
    """Join CLIP(x) and the pose: Linear(D + 4 -> D), ``cc_projection``.

    It starts as the identity on the image embedding (official ``ddpm.py``), so that a model
    fine-tuned from image variations starts out unchanged.

    Args:
        embedding_dim: D, width of the image embedding and of the context token.
        additional_embeddings: entries of the pose vector.
        encoding: of the poses that it was trained with, which its weights cannot tell; None where
            nobody has said it yet.
    """

    @register_to_config
    def __init__(
        self,
        embedding_dim: int = 768,
        additional_embeddings: int = 4,
        encoding: Encoding | None = None,
    ) -> None:
        super().__init__()
        self.proj = nn.Linear(embedding_dim + additional_embeddings, embedding_dim)
        with torch.no_grad():
            self.proj.weight.copy_(torch.eye(*self.proj.weight.shape))
            self.proj.bias.zero_()

    def settle_encoding(self, encoding: Encoding) -> None:
        """Keep the encoding that a pipeline takes the layer to be trained with.

        Raises:
            ArgumentError: it is trained with another one.
        """
        known = self.config["encoding"]
        if known not in (None, encoding):
            expected = f"{known!r}, as the camera projection was trained with"
            raise ArgumentError("encoding", expected, repr(encoding))
        self.register_to_config(encoding=encoding)

    def forward(self, embedding: Tensor, pose: Tensor) -> Tensor:
        """Join ``embedding`` ``[B, D]`` and ``pose`` ``[B, 4]`` into a context ``[B, 1, D]``."""
        return self.proj(torch.cat([embedding, pose.to(embedding)], -1))[:, None]


def clip_embedding(clip: CLIPVisionModelWithProjection, images: Tensor) -> Tensor:
    """Return CLIP's projected embedding ``[B, D]``, not normalised, of images ``[B, 3, H, W]`` in
    [-1, 1].

    They are resized as the official ``FrozenCLIPImageEmbedder.preprocess`` does (bicubic, corners
    aligned, no antialias), which differs from CLIPImageProcessor by up to half a normalised unit.
    """
    size = cast(int, clip.config.image_size)
    resized = F.interpolate(images, (size, size), mode="bicubic", align_corners=True)
    mean = resized.new_tensor(CLIP_MEAN)[:, None, None]
    std = resized.new_tensor(CLIP_STD)[:, None, None]
    return clip(((resized + 1) / 2 - mean) / std).image_embeds


class OneTokenAttnProcessor:
    """Attend to a single token, without queries and keys.

    The softmax over one key is 1, so the attention is ``to_out(to_v(context))`` for every pixel
    and every timestep: exact, not an approximation. What it yields is ``[B, 1, C]`` and
    broadcasts over the pixels in the residual sum.
    """

    def __call__(
        self,
        attn: Any,  # diffusers' Attention, whose annotations make every layer optional
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if encoder_hidden_states is None or encoder_hidden_states.shape[1] != 1:
            shape = None if encoder_hidden_states is None else list(encoder_hidden_states.shape)
            raise ValueError(
                f"encoder_hidden_states: expected one context token [B, 1, D], got {shape}; "
                "call disable_one_token(unet) to attend to several"
            )
        dropout_free_out = attn.to_out[0](attn.to_v(encoder_hidden_states))
        return dropout_free_out / attn.rescale_output_factor


def _norm_for_queries(attn: Any, norm: Any, hidden_states: Tensor) -> Tensor:
    """Normalise what queries are made of, where the attention at hand makes any."""
    if isinstance(attn.processor, OneTokenAttnProcessor):
        return hidden_states
    return type(norm).forward(norm, hidden_states)


def _cross_blocks(unet: UNet2DConditionModel) -> list[Any]:
    """Return its BasicTransformerBlocks; their annotations make cross-attention optional."""
    return [module for module in unet.modules() if isinstance(module, BasicTransformerBlock)]


def enable_one_token(unet: UNet2DConditionModel) -> None:
    """Skip norm2, to_q, to_k and the softmax of every cross-attention, exactly.

    Parameters stay where they are, so saving and loading do not notice. Whatever sets another
    processor, as attention slicing does, brings back the stock path;
    :func:`disable_one_token` does so to the last bit, for tests to compare with.
    """
    for block in _cross_blocks(unet):
        block.attn2.set_processor(OneTokenAttnProcessor())
        block.norm2.forward = partial(_norm_for_queries, block.attn2, block.norm2)


def disable_one_token(unet: UNet2DConditionModel) -> None:
    """Undo :func:`enable_one_token`: diffusers' own cross-attention, for any number of tokens."""
    for block in _cross_blocks(unet):
        block.attn2.set_processor(AttnProcessor2_0())
        block.norm2.__dict__.pop("forward", None)
