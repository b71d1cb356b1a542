"""Sizes of the bundled architecture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zero123lib._config import Count, NonNegative, Positive, Several, Whole, settings
from zero123lib._errors import ArgumentError

Width = Annotated[int, Field(ge=8)]


@settings
class Architecture:
    """Sizes of a model like the bundled one: patch transform, UNet and CLIP tower.

    Attributes:
        image_size: pixels.
        patch_size: of the patch transform: its side in pixels per latent pixel.
        gain: of the patch transform. A smooth image's lowest coefficient grows with the patch:
            0.5 gives patches of 16 the latents that 1 gives patches of 8.
        scaling_factor: of its latents.
        overlap: whether its patches reach into each other.
        deblocking_channels: of the learned filter that follows it on the way back; 0 for none.
        block_out_channels: of the UNet, one per resolution.
        attended: which resolutions have attention.
        layers_per_block: residual blocks per resolution on the way down.
        transformer_layers_per_block: of each attention.
        attention_heads: one number per resolution.
        clip_image_size, clip_patch_size, clip_width, clip_layers, clip_heads: of CLIP's tower,
            whose hidden layer is fourfold.
        context_width: of CLIP's embedding and of the context token.
        pose_std: standard deviation of the projection's pose columns.
        prediction_type: of the scheduler; "epsilon" has no zero terminal signal-to-noise ratio.
    """

    image_size: Width = 128
    patch_size: Count = 16
    gain: Positive = 0.5
    scaling_factor: Positive = 0.25
    overlap: bool = False
    deblocking_channels: Whole = 64
    block_out_channels: Several[Width] = (96, 128)
    attended: Several[bool] = (True, True)
    layers_per_block: Count = 1
    transformer_layers_per_block: Count = 2
    attention_heads: Several[Count] = (3, 4)
    norm_num_groups: Count = 8
    clip_image_size: Width = 64
    clip_patch_size: Count = 16
    clip_width: Width = 128
    clip_layers: Count = 2
    clip_heads: Count = 2
    context_width: Width = 128
    pose_std: NonNegative = 1.5
    prediction_type: Literal["sample", "v_prediction", "epsilon"] = "sample"

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        for name in ("attended", "attention_heads"):
            if len(getattr(self, name)) != levels:
                raise ArgumentError(
                    name,
                    f"{levels} entries, one per block_out_channels",
                    str(len(getattr(self, name))),
                )
        for width, heads in zip(self.block_out_channels, self.attention_heads, strict=True):
            if width % heads or width % self.norm_num_groups:
                raise ArgumentError(
                    "block_out_channels",
                    f"multiples of attention_heads ({heads}) and of norm_num_groups "
                    f"({self.norm_num_groups})",
                    str(width),
                )
        if self.image_size % (self.patch_size * 2 ** (levels - 1)):
            raise ArgumentError(
                "image_size",
                f"a multiple of patch_size * 2 ** {levels - 1} = "
                f"{self.patch_size * 2 ** (levels - 1)}",
                str(self.image_size),
            )
