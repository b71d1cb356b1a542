"""Upscaling of images by a small network, in tiles, whole with their transparency.

Real-ESRGAN's animevideov3 (Wang et al. 2021, "Real-ESRGAN: Training real-world blind
super-resolution with pure synthetic data"): convolutions at the size of the input, whose last one
makes the 4 x 4 pixels of each, added to the input's own. The weights, in half precision, lie in
``models/realesr-animevideov3`` beside their licence and their source.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zero123lib._choices import Upscale
from zero123lib._errors import ArgumentError
from zero123lib._networks import frozen

WEIGHTS = Path(__file__).parent / "models" / "realesr-animevideov3" / "realesr.safetensors"

# What to tell of an image that passed through it.
NAME = "Real-ESRGAN animevideov3 (BSD-3-Clause)"

_SCALE = 4
_WIDTH, _DEPTH = 64, 16
# Pixels a side of a tile, which bounds memory, and around it: what the convolutions can see.
_TILE = 256
_AROUND = _DEPTH + 3


class RealESRGAN(nn.Module):
    """The network, four times each way; :func:`realesrgan` gives it with its published weights."""

    def __init__(self) -> None:
        super().__init__()
        widths = [3, *[_WIDTH] * (_DEPTH + 1), 3 * _SCALE**2]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, out, 3, padding=1) for inside, out in pairwise(widths)
        )
        self.slopes = nn.ModuleList(nn.PReLU(_WIDTH) for _ in self.convolutions[1:])

    def forward(self, images: Tensor) -> Tensor:
        """Enlarge images ``[B, 3, H, W]`` in [0, 1] to ``[B, 3, 4 H, 4 W]``, not clamped."""
        x = images
        for convolution, slope in zip(self.convolutions, self.slopes, strict=False):
            x = slope(convolution(x))
        x = F.pixel_shuffle(self.convolutions[-1](x), _SCALE)
        return x + F.interpolate(images, scale_factor=_SCALE, mode="nearest")


def upscaled(images: Tensor, factor: Upscale = 4) -> Tensor:
    """Enlarge images, on their own device.

    Beside the result, memory is bounded by a tile's, whatever the size; a tile sees as far beyond
    its edges as the convolutions do, so that no seam is left.

    Args:
        images: ``[..., C, H, W]`` in [0, 1], sRGB; C is 3, or 4 with straight alpha: the network
            then sees the image on white, and the alpha as a grey image. Colours under an alpha near
            0 are not kept.
        factor: 1 gives them back; 2 is 4 made smaller, bicubic, as in the original.

    Returns:
        The same type and axes, H and W times the factor, in [0, 1].

    Raises:
        ArgumentError: another factor, shape or type.
    """
    check_upscale(factor)
    if images.ndim < 3 or images.shape[-3] not in (3, 4) or 0 in images.shape:
        raise ArgumentError("images", "[..., 3 or 4, H, W]", str(list(images.shape)))
    if not images.is_floating_point() or not bool(((images >= -0.01) & (images <= 1.01)).all()):
        raise ArgumentError("images", "floating numbers in [0, 1]", "others")
    if factor == 1:
        return images
    flat = images.reshape(-1, *images.shape[-3:]).float()
    alpha = flat[:, 3:] if images.shape[-3] == 4 else torch.ones_like(flat[:, :1])
    on_white = 1.0 - (1.0 - flat[:, :3]) * alpha
    made = torch.stack([_tiled(one, factor) for one in on_white])
    if images.shape[-3] == 4:
        alpha = torch.stack([_alpha(one, factor) for one in alpha])
        straight = (1.0 - (1.0 - made) / alpha.clamp_min(1e-3)).clamp(0.0, 1.0)
        made = torch.cat([straight, alpha], 1)
    return made.to(images.dtype).reshape(*images.shape[:-3], *made.shape[1:])


def check_upscale(factor: Upscale) -> None:
    """Raise ArgumentError for a factor that there is not."""
    if type(factor) is not int or factor not in get_args(Upscale):
        raise ArgumentError("upscale", "1, 2 or 4", repr(factor))


def _alpha(alpha: Tensor, factor: int) -> Tensor:
    """Enlarge alpha ``[1, H, W]``, within what is around each pixel: flat parts stay so."""
    made = _tiled(alpha.expand(3, -1, -1), factor).mean(0, keepdim=True)
    low, high = (
        F.interpolate(sign * F.max_pool2d(sign * alpha[None], 3, 1, 1), scale_factor=factor)[0]
        for sign in (-1.0, 1.0)
    )
    return made.clamp(low, high)


@torch.no_grad()
def _tiled(image: Tensor, factor: int) -> Tensor:
    """Enlarge ``[3, H, W]``, a tile at a time."""
    network = realesrgan(image.device)
    height, width = image.shape[1:]
    made = image.new_empty(3, factor * height, factor * width)
    for top, left in product(range(0, height, _TILE), range(0, width, _TILE)):
        rows, columns = _reach(top, height), _reach(left, width)
        tile = network(image[None, :, slice(*rows), slice(*columns)])[0]
        if factor < _SCALE:
            tile = F.interpolate(tile[None], scale_factor=factor / _SCALE, mode="bicubic")[0]
        tile = tile[:, factor * (top - rows[0]) :, factor * (left - columns[0]) :]
        tile = tile[:, : factor * _TILE, : factor * _TILE]
        there = made[:, factor * top :, factor * left :]
        there[:, : tile.shape[1], : tile.shape[2]] = tile
    return made.clamp_(0, 1)


def _reach(start: int, length: int) -> tuple[int, int]:
    """Return what a tile's convolutions may see of an image along one axis."""
    return max(0, start - _AROUND), min(length, start + _TILE + _AROUND)


def realesrgan(device: str | torch.device = "cpu") -> RealESRGAN:
    """Load the network with its published weights, frozen, float32; once for each device."""
    return _loaded(str(torch.device(device)))


@cache
def _loaded(device: str) -> RealESRGAN:
    return frozen(RealESRGAN(), WEIGHTS, device)
