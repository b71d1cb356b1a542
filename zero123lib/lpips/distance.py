"""LPIPS as a torch module, on either of two trunks: a metric and a training loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Mean and standard deviation of ImageNet, for images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
Net = Literal["alex", "vgg"]


@dataclass(frozen=True)
class Trunk:
    """A network of convolutions, each followed by a ReLU.

    Attributes:
        convolutions: channels in and out, kernel, stride and padding of each.
        pool: kernel and stride of the maxima.
        pooled_before: the convolutions that a maximum precedes.
        layers: the convolutions whose features count.
        least_side_px: smaller images have nothing left after the last maximum.
    """

    convolutions: tuple[tuple[int, int, int, int, int], ...]
    pool: tuple[int, int]
    pooled_before: tuple[int, ...]
    layers: tuple[int, ...]
    least_side_px: int


_VGG_CHANNELS = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
TRUNKS: dict[Net, Trunk] = {
    "alex": Trunk(
        convolutions=(
            (3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1),
            (256, 256, 3, 1, 1),
        ),
        pool=(3, 2),
        pooled_before=(1, 2),
        layers=(0, 1, 2, 3, 4),
        least_side_px=31,
    ),
    "vgg": Trunk(
        convolutions=tuple(
            (inside, out, 3, 1, 1)
            for inside, out in pairwise(_VGG_CHANNELS)
        ),
        pool=(2, 2),
        pooled_before=(2, 4, 7, 10),
        layers=(1, 3, 6, 9, 12),
        least_side_px=16,
    ),
}  # fmt: skip


class LPIPS(nn.Module):
    """The perceptual distance; `lpips_alex` of `weights` gives it with its published weights.

    Weighted squared differences of a trunk's five layers of features, each normalised to unit
    length over its channels, averaged over the image and summed (Zhang et al. 2018, equation 1).

    Args:
        net: the trunk: "alex", AlexNet, or "vgg", VGG16.
    """

    def __init__(self, net: Net = "alex") -> None:
        super().__init__()
        self.trunk = TRUNKS[net]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, out, kernel, stride, padding)
            for inside, out, kernel, stride, padding in self.trunk.convolutions
        )
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(self.trunk.convolutions[layer][1]))
            for layer in self.trunk.layers
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the five layers, ``[B, C, h, w]`` of unit length over C.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1], H and W at least the trunk's ``least_side_px``.

        Raises:
            ValueError: another shape, or smaller images.
        """
        least = self.trunk.least_side_px
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < least:
            raise ValueError(
                f"images: expected [B, 3, H, W] of at least {least} px a side, got "
                f"{list(images.shape)}"
            )
        shift, scale = (images.new_tensor(value)[:, None, None] for value in (_SHIFT, _SCALE))
        x, layers = (2 * images - 1 - shift) / scale, []
        for index, convolution in enumerate(self.convolutions):
            if index in self.trunk.pooled_before:
                x = F.max_pool2d(x, *self.trunk.pool)
            x = F.relu(convolution(x))
            if index not in self.trunk.layers:
                continue
            wide = torch.promote_types(x.dtype, torch.float32)
            square = x.square().sum(1, keepdim=True, dtype=wide)
            # Features that are all 0, as on a plain ground, would have an infinite gradient.
            layers.append(x * square.clamp_min(1e-20).rsqrt().to(x.dtype))
        return layers

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute the distance of each image to its target, ``[B]``.

        Args:
            prediction: ``[B, 3, H, W]`` in [0, 1], as :meth:`features` takes it.
            target: the same shape; no gradient flows to it.

        Raises:
            ValueError: the shapes differ, or are not as described.
        """
        if prediction.shape != target.shape:
            raise ValueError(
                f"prediction: expected the target's shape {list(target.shape)}, got "
                f"{list(prediction.shape)}"
            )
        with torch.no_grad():
            wanted = self.features(target)
        return self.between(self.features(prediction), wanted, prediction.dtype)

    def between(
        self, made: Sequence[Tensor], true: Sequence[Tensor], dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Compute the distance ``[B]`` between images whose features are known.

        Args:
            made, true: as :meth:`features` gives them.
            dtype: in which layers are averaged.
        """
        layers = [
            F.conv2d((a - b).square(), head[None, :, None, None])
            for a, b, head in zip(made, true, self.heads, strict=True)
        ]
        return torch.stack([one.mean((1, 2, 3), dtype=dtype) for one in layers]).sum(0)
