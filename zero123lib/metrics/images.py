"""How far images are from images, pixel by pixel, and silhouettes from silhouettes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# A pixel belongs to a silhouette where a channel is darker than white by more than this. The bar
# lies above most of the faint noise that a sampler leaves on white, and is as high, in steps of
# 4/255, as true images allow: on the evaluation's 800, where some cakes are nearly white,
# silhouettes by it and by alpha > 0 have a mean IoU of 0.99. No filter follows: one that takes away
# specks takes away thin legs too.
SILHOUETTE_THRESHOLD = 16 / 255


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the peak signal-to-noise ratio per image, dB: ``10 log10(1 / mse)``; inf where equal.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.
        mask: ``[..., H, W]``; only these pixels count. An image with none gives NaN.

    Raises:
        ValueError: where the shapes differ.
    """
    check_pair(prediction, target, mask)
    squared = (prediction.double() - target.double()).square().mean(-3)
    return -10 * torch.log10(masked_mean(squared, mask))


def psnr_single(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio per image, dB, as SyncDreamer's script computes it.

    Squared errors are added pixel after pixel in float32, channel by channel, as numpy's mean over
    the first axis does, and the logarithm is float32's. That loses digits, up to 1e-3 dB at 256 px:
    :func:`psnr` is the true value.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    check_pair(prediction, target, None)
    errors = (target.float() - prediction.float()).square().flatten(-2).transpose(-1, -2)
    images = errors.reshape(-1, *errors.shape[-2:]).contiguous().numpy()
    mse = np.stack([np.mean(np.mean(one, 0)) for one in images])
    with np.errstate(divide="ignore"):  # equal images are infinitely alike
        decibels = 10 * np.log10(1 / mse)
    return torch.from_numpy(decibels).double().reshape(prediction.shape[:-3])


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Average values ``[..., H, W]`` over the pixels of a mask of the same shape, None being all.

    NaN where the mask is empty.
    """
    if mask is None:
        return values.mean((-2, -1))
    weight = mask.to(values)
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1))


def silhouette(image: Tensor, threshold: float = SILHOUETTE_THRESHOLD) -> Tensor:
    """Return where an image on white shows its object: a channel below ``1 - threshold``, boolean.

    Args:
        image: ``[..., 3, H, W]`` in [0, 1].
        threshold: see :data:`SILHOUETTE_THRESHOLD`.

    Returns:
        ``[..., H, W]``.

    Raises:
        ValueError: for a tensor of another shape.
    """
    if image.ndim < 3 or image.shape[-3] != 3:
        raise ValueError(f"image: expected [..., 3, H, W], got {list(image.shape)}")
    return image.amin(-3) < 1 - threshold


def silhouette_iou(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the intersection over union of two silhouettes, in [0, 1]; 1 where both are empty.

    Args:
        prediction: ``[..., H, W]`` boolean.
        target: the same shape.
        mask: the same shape; only these pixels count.

    Raises:
        ValueError: where the shapes differ or a tensor is not boolean.
    """
    for name, value in (("prediction", prediction), ("target", target)):
        if value.dtype != torch.bool:
            raise ValueError(f"{name}: expected a boolean mask, got {value.dtype}")
    if prediction.shape != target.shape:
        raise other_shape("prediction", prediction, list(target.shape))
    if mask is not None and mask.shape != target.shape:
        raise other_shape("mask", mask, list(target.shape))
    counted = torch.ones_like(target) if mask is None else mask
    both = (prediction & target & counted).sum((-2, -1)).double()
    either = ((prediction | target) & counted).sum((-2, -1)).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def check_pair(prediction: Tensor, target: Tensor, mask: Tensor | None) -> None:
    """Raise ValueError where images or their mask have not the shapes that belong together."""
    if prediction.shape != target.shape:
        raise other_shape("prediction", prediction, list(target.shape))
    if target.ndim < 3 or target.shape[-3] != 3:
        raise ValueError(f"target: expected [..., 3, H, W], got {list(target.shape)}")
    expected = [*target.shape[:-3], *target.shape[-2:]]
    if mask is not None and list(mask.shape) != expected:
        raise ValueError(f"mask: expected {expected}, got {list(mask.shape)}")


def other_shape(name: str, value: Tensor, expected: list[int]) -> ValueError:
    """Make the error of a tensor that has not the shape of its target."""
    return ValueError(f"{name}: expected the target's shape {expected}, got {list(value.shape)}")
