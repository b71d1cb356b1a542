"""LPIPS, a perceptual distance between images (Zhang et al. 2018), version 0.1 on AlexNet.

As a metric and as a training loss: a torch module whose weights, in half precision, lie in
``models/lpips-alex`` beside their licences and their source. Lower is more alike; 0 is the same.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zero123lib._networks import frozen

WEIGHTS = Path(__file__).parent / "models" / "lpips-alex" / "lpips.safetensors"
# Smaller images have nothing left after the second pooling.
LEAST_SIDE_PX = 31

# Mean and standard deviation of ImageNet, for images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Channels in and out, kernel, stride and padding of AlexNet's convolutions.
_CONVOLUTIONS = (
    (3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1),
    (256, 256, 3, 1, 1),
)  # fmt: skip
_POOLED_BEFORE = (1, 2)  # the convolutions that a 3 x 3 maximum with stride 2 precedes


class LPIPS(nn.Module):
    """The perceptual distance; :func:`lpips_alex` gives it with its published weights.

    Weighted squared differences of AlexNet's five layers of features, each normalised to unit
    length over its channels, averaged over the image and summed (Zhang et al. 2018, equation 1).
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside, out, kernel, stride, padding)
            for inside, out, kernel, stride, padding in _CONVOLUTIONS
        )
        self.heads = nn.ParameterList(
            nn.Parameter(torch.zeros(out)) for _, out, *_ in _CONVOLUTIONS
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """Compute the five layers, ``[B, C, h, w]`` of unit length over C.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1], H and W at least 31.

        Raises:
            ValueError: another shape, or smaller images.
        """
        if images.ndim != 4 or images.shape[1] != 3 or min(images.shape[2:]) < LEAST_SIDE_PX:
            raise ValueError(
                f"images: expected [B, 3, H, W] of at least {LEAST_SIDE_PX} px a side, got "
                f"{list(images.shape)}"
            )
        shift, scale = (images.new_tensor(value)[:, None, None] for value in (_SHIFT, _SCALE))
        x, layers = (2 * images - 1 - shift) / scale, []
        for index, convolution in enumerate(self.convolutions):
            if index in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(convolution(x))
            wide = torch.promote_types(x.dtype, torch.float32)
            square = x.square().sum(1, keepdim=True, dtype=wide)
            # Features that are all 0, as on a plain ground, would have an infinite gradient.
            layers.append(x * square.clamp_min(1e-20).rsqrt().to(x.dtype))
        return layers

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute the distance of each image to its target, ``[B]``.

        Args:
            prediction: ``[B, 3, H, W]`` in [0, 1], H and W at least 31.
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
        pairs = zip(self.features(prediction), wanted, self.heads, strict=True)
        layers = [
            F.conv2d((made - true).square(), head[None, :, None, None])
            for made, true, head in pairs
        ]
        return torch.stack([one.mean((1, 2, 3), dtype=prediction.dtype) for one in layers]).sum(0)


@cache
def lpips_alex(device: str | torch.device = "cpu") -> LPIPS:
    """Load the metric with its published weights, frozen, float32; once for each device."""
    return frozen(LPIPS(), WEIGHTS, device)
