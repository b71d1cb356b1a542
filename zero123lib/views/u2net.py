"""U2-Net-p, a small network that sees which object of an image stands out.

Qin et al., "U2-Net: Going deeper with nested U-structure for salient object detection", Pattern
Recognition 2020, sections 3.1 and 3.2. The weights are the authors', their batch normalisation
folded into the convolutions; in half precision they lie in ``models/u2netp`` beside their licence
and their source.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zero123lib._networks import frozen

WEIGHTS = Path(__file__).parents[1] / "models" / "u2netp" / "u2netp.safetensors"
SIDE_PX = 320
# What to tell of an image that passed through it.
NAME = "U2-Net-p (Apache-2.0)"

# Mean and standard deviation of ImageNet.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MIDDLE, _WIDE = 16, 64


class ReSidualU(nn.Module):
    """A residual U-block (figure 2): a small U-Net added to its own first features.

    Args:
        channels: of the input.
        depth: levels of the encoder, each half as large as the one before.
        dilated: in place of pooling, dilations of 1, 2, 4 and 8 (RSU-4F).
    """

    def __init__(self, channels: int, depth: int, dilated: bool = False) -> None:
        super().__init__()
        down = (1, 2, 4, 8) if dilated else (*[1] * (depth - 1), 2)
        up = down[-2::-1] if dilated else [1] * (depth - 1)
        self.pooled = not dilated
        self.enter = _conv(channels, _WIDE)
        self.down = nn.ModuleList(
            _conv(_MIDDLE if level else _WIDE, _MIDDLE, dilation)
            for level, dilation in enumerate(down)
        )
        self.up = nn.ModuleList(
            _conv(2 * _MIDDLE, _MIDDLE if level + 1 < len(up) else _WIDE, dilation)
            for level, dilation in enumerate(up)
        )

    def forward(self, x: Tensor) -> Tensor:
        entered = x = F.relu(self.enter(x))
        seen: list[Tensor] = []
        for level, conv in enumerate(self.down):
            if self.pooled and 0 < level < len(self.down) - 1:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.relu(conv(x))
            seen.append(x)
        x = seen.pop()
        for conv in self.up:
            skip = seen.pop()
            x = F.relu(conv(torch.cat([_like(x, skip), skip], 1)))
        return x + entered


class U2NetP(nn.Module):
    """The network; :func:`u2netp` gives it with its published weights."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(7, False), (6, False), (5, False), (4, False), (4, True), (4, True)]
        self.encoder = nn.ModuleList(
            ReSidualU(_WIDE if level else 3, *shape) for level, shape in enumerate(shapes)
        )
        self.decoder = nn.ModuleList(ReSidualU(2 * _WIDE, *shape) for shape in shapes[-2::-1])
        self.sides = nn.ModuleList(nn.Conv2d(_WIDE, 1, 3, padding=1) for _ in shapes)
        self.fuse = nn.Conv2d(len(shapes), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute how salient each pixel is, ``[B, 1, H, W]`` in [0, 1].

        Args:
            images: ``[B, 3, H, W]`` in [0, 1], sRGB; trained at 320 x 320.
        """
        mean, std = (images.new_tensor(value)[:, None, None] for value in (_MEAN, _STD))
        x, seen = (images - mean) / std, []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if level else x)
            seen.append(x)
        made = [seen.pop()]
        for block in self.decoder:
            skip = seen.pop()
            made.append(block(torch.cat([_like(made[-1], skip), skip], 1)))
        sides = [side(one) for side, one in zip(self.sides, reversed(made), strict=True)]
        return self.fuse(torch.cat([_like(side, images) for side in sides], 1)).sigmoid()


def _conv(channels: int, out: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)


def _like(x: Tensor, other: Tensor) -> Tensor:
    """Resize to another's height and width."""
    if x.shape[2:] == other.shape[2:]:
        return x
    return F.interpolate(x, other.shape[2:], mode="bilinear")


@cache
def u2netp() -> U2NetP:
    """Load the network with its published weights, frozen, float32, once.

    On the CPU, where images are decoded: two looks at 320 px take less than half a second there.
    """
    return frozen(U2NetP(), WEIGHTS)
