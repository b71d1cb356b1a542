"""What is asked of both codes, the official one and ours: one image, one pose, one noise.

Images are ``[3, S, S]`` in [-1, 1], latents ``[4, S / 8, S / 8]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zero123lib.diffusion.samplers import unit_noise
from zero123lib.views.poses import RelativePose

POSE = RelativePose(elevation_deg=30.0, azimuth_deg=40.0, radius=0.2)
GUIDANCE_SCALE = 3.0
# Asked of the official sampler, which evaluates as often, 49 times, and 76 times.
NUM_STEPS = 12
ALL_NUM_STEPS = (12, 50, 75)

# Of the full-size image every so many pixels are kept: prime to the decoder's factors of two,
# so that all phases of its upsampling are among them.
PIXEL_STRIDE = 3

START_SEED, STEPS_SEED = 1, 2


def image(size: int) -> Tensor:
    """A ramp, a wave with a kink, and a board of 4 px fields, one a channel.

    Quarters of whole numbers and a few products alone, so that no rounding can differ.
    """
    column = torch.arange(size, dtype=torch.float32)[None, :].expand(size, size)
    row = column.T
    ramp = (column - row) / size
    wave = ((column * 3 + row) % size) / size * 2 - 1
    board = ((column // 4 + row // 4) % 2 * 2 - 1) * row / size
    return torch.stack([ramp, wave, board])


def start_noise(size: int) -> Tensor:
    """Unit noise ``[1, 4, size, size]``, at which sampling starts."""
    generator = torch.Generator().manual_seed(START_SEED)
    return unit_noise((4, size, size), 1, generator, torch.device("cpu"))
