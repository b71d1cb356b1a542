"""What sets the bundled model apart: settings for apps, and the statistics of its world."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from zero123lib.diffusion.domain import fit_domain
from zero123lib.scenes import random_camera, random_scene, render
from zero123lib.views.images import prepare

# By the card's curves: one step scores best and blurs, two are crisper, more stray.
RECOMMENDED_STEPS = 2
RECOMMENDED_GUIDANCE = 1.0
# Best on held-out objects from 0.6 to 0.7; 0.6 leaves room for what a turn brings to the front.
RECOMMENDED_RATIO = 0.6

_IMAGES = 512


def bundled_settings() -> dict[str, Any]:
    """Return settings of a pipeline trained on procedural scenes."""
    return {
        "num_inference_steps": RECOMMENDED_STEPS,
        "guidance_scale": RECOMMENDED_GUIDANCE,
        "foreground_ratio": RECOMMENDED_RATIO,
    }


@lru_cache(maxsize=1)
def bundled_world(size: int) -> dict[str, Any]:
    """Return what such a pipeline says of its training images.

    Args:
        size: of its images, pixels.
    """
    return {
        "domain": "drawn and scanned objects",
        "domain_statistics": fit_domain(framed_images(_IMAGES, size)).to_config(),
    }


def framed_images(count: int, size: int) -> Tensor:
    """Return images ``[count, 3, S, S]`` framed as users' images are, by ``prepare``.

    They are of all kinds: their statistics tell drawn images from photographs, and of some kinds,
    such as chairs of slats, most are too finely drawn to tell.
    """
    random = torch.Generator().manual_seed(0)
    images = []
    for seed in range(count):
        rgba = render(random_scene(seed), [random_camera(random)], size).rgba[0]
        images.append(prepare(rgba.numpy(), size, foreground_ratio=RECOMMENDED_RATIO).tensor)
    return torch.stack(images)
