"""What the pipeline gives back, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor

from zero123lib.views.images import Prepared, composite, to_pils, to_tensor
from zero123lib.views.poses import RelativePose

# pil: list of RGB images;  np: float32 [N, H, W, 3] in [0, 1];  pt: float32 [N, 3, H, W] in
# [0, 1], as diffusers has it;  latent: float32 [N, C, h, w], scaled, not decoded
OutputType = Literal["pil", "np", "pt", "latent"]


@dataclass
class Zero123PipelineOutput(BaseOutput):
    """Hold views and what they were made from.

    Attributes:
        images: one per pose, see :data:`OutputType`.
        prepared: the condition as the model saw it, of several the first.
        notice: what to tell the user about an image that is far from the model's world, of several
            the first such one.
    """

    images: list[Image.Image] | np.ndarray | Tensor
    prepared: Prepared
    notice: str | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """Hold an encoded image: CLIP's ``embedding`` ``[1, D]`` and the VAE's ``concat`` latent
    ``[1, C, h, w]``, which is *not* multiplied by ``scaling_factor``; and as ``photo`` the image
    itself on white, where it has more pixels than the model sees."""

    embedding: Tensor
    concat: Tensor
    photo: Image.Image | None = None


def photo_of(prepared: Prepared) -> Image.Image | None:
    """Return an image in its own pixels, framed, on white; None where the model sees them all."""
    detail = prepared.detail
    if detail is None or detail.width <= prepared.image.width:
        return None
    return composite(detail)


def with_photo(images: Tensor, poses: Sequence[RelativePose], photo: Image.Image | None) -> Tensor:
    """Return views with the photo in place of those at its own camera, and nowhere else.

    There it is what is asked for; at any other camera its pixels would have to move by a depth that
    nobody knows.

    Args:
        images: ``[N, 3, S, S]`` in [-1, 1].
        poses: N cameras.
        photo: RGB, square, any size.
    """
    there = [is_own_camera(pose) for pose in poses]
    if photo is None or not any(there):
        return images
    sized = photo.resize((images.shape[-1], images.shape[-2]), Image.Resampling.LANCZOS)
    images = images.clone()
    images[torch.tensor(there, device=images.device)] = to_tensor(sized).to(images.device)
    return images


def is_own_camera(pose: RelativePose) -> bool:
    """Tell whether a camera is the image's own."""
    return pose.elevation_deg == 0 == pose.azimuth_deg % 360 and pose.radius == 0


def in_form(images: Tensor, output_type: OutputType) -> list[Image.Image] | np.ndarray | Tensor:
    """Return decoded images ``[N, 3, H, W]`` in [-1, 1] as "pil", "np" or "pt"."""
    if output_type == "pil":
        return to_pils(images)
    unit = (images + 1) / 2
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()
