"""Image metrics, pure functions of tensors.

Pictures are ``[..., 3, H, W]`` in [0, 1]; masks ``[..., H, W]`` boolean; results have the
leading shape. Higher is better where a name does not say error.
"""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio per picture, dB: ``10 log10(1 / mse)``; inf where equal.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.
        mask: ``[..., H, W]``; only these pixels count. A picture with none gives NaN.

    Raises:
        ValueError: where the shapes differ.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction: expected the target's shape {list(target.shape)}, "
            f"got {list(prediction.shape)}"
        )
    squared = (prediction.double() - target.double()).square().mean(-3)
    weight = torch.ones_like(squared) if mask is None else mask.to(squared)
    mse = (squared * weight).sum((-2, -1)) / weight.sum((-2, -1))
    return -10 * torch.log10(mse)
