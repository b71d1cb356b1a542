"""What the pipeline gives back, and in which form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from zero123lib.views.images import Prepared, to_pils

# pil: list of RGB images;  np: float32 [N, H, W, 3] in [0, 1];  pt: float32 [N, 3, H, W] in
# [0, 1], as diffusers has it;  latent: float32 [N, C, h, w], scaled, not decoded
OutputType = Literal["pil", "np", "pt", "latent"]


@dataclass
class Zero123PipelineOutput(BaseOutput):
    """Hold views and what they were made from.

    Attributes:
        images: one per pose, see :data:`OutputType`.
        prepared: the condition as the model saw it.
        notice: what to tell the user about this image, when it is far from the model's world.
    """

    images: list[Image.Image] | np.ndarray | Tensor
    prepared: Prepared
    notice: str | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """Hold an encoded image: CLIP's ``embedding`` ``[1, D]`` and the VAE's ``concat`` latent
    ``[1, C, h, w]``, which is *not* multiplied by ``scaling_factor``."""

    embedding: Tensor
    concat: Tensor


def in_form(images: Tensor, output_type: OutputType) -> list[Image.Image] | np.ndarray | Tensor:
    """Return decoded images ``[N, 3, H, W]`` in [-1, 1] as "pil", "np" or "pt"."""
    if output_type == "pil":
        return to_pils(images)
    unit = (images + 1) / 2
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()
