"""Image and shape metrics, pure functions of tensors.

Images are ``[..., 3, H, W]`` in [0, 1]; masks ``[..., H, W]`` and solids ``[..., X, Y, Z]``
boolean; results have the leading shape, double precision. Higher is better where a name does not
say error.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# A pixel belongs to a silhouette where a channel is darker than white by more than this. The bar
# lies above most of the faint noise that a sampler leaves on white, and is as high, in steps of
# 4/255, as true images allow: on the evaluation's 800, where some cakes are nearly white,
# silhouettes by it and by alpha > 0 have a mean IoU of 0.99. No filter follows: one that takes away
# specks takes away thin legs too.
SILHOUETTE_THRESHOLD = 16 / 255

_WINDOW_SIGMA = 1.5
_WINDOW_RADIUS = 5


def psnr(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the peak signal-to-noise ratio per image, dB: ``10 log10(1 / mse)``; inf where equal.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.
        mask: ``[..., H, W]``; only these pixels count. An image with none gives NaN.

    Raises:
        ValueError: where the shapes differ.
    """
    _check_pair(prediction, target, mask)
    squared = (prediction.double() - target.double()).square().mean(-3)
    return -10 * torch.log10(masked_mean(squared, mask))


def ssim(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute the structural similarity per image, in [-1, 1] (Wang et al. 2004, equation 17).

    The mean of :func:`ssim_map`, as torchmetrics 1.9's ``structural_similarity_index_measure``
    has it with its defaults. Earlier releases leave out 5 px along the border.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1], H and W at least 6.
        target: the same shape.
        mask: ``[..., H, W]``; the mean is over these pixels of the map. An image with none gives
            NaN.

    Raises:
        ValueError: where the shapes differ or the images are smaller than half the window.
    """
    _check_pair(prediction, target, mask)
    return masked_mean(ssim_map(prediction, target), mask)


def ssim_map(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the structural similarity around each pixel, ``[..., H, W]``, the mean of the three
    channels'.

    Wang et al. 2004, equation 13 and section III.C: a Gaussian window of 11 x 11 with sigma 1.5,
    K1 = 0.01 and K2 = 0.03; images are mirrored at their borders. L, the range of the values, is
    that of the image that has the larger one, as torchmetrics takes it by default, and 1 where
    both are flat.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1], H and W at least 6.
        target: the same shape.

    Raises:
        ValueError: where the shapes differ or the images are smaller than half the window.
    """
    _check_pair(prediction, target, None)
    height, width = prediction.shape[-2:]
    if min(height, width) <= _WINDOW_RADIUS:  # less cannot be mirrored
        raise ValueError(
            f"prediction: expected at least {_WINDOW_RADIUS + 1} x {_WINDOW_RADIUS + 1} pixels, "
            f"got {width} x {height}"
        )
    x, y = prediction.double(), target.double()
    spans = torch.stack([p.amax((-3, -2, -1)) - p.amin((-3, -2, -1)) for p in (x, y)]).amax(0)
    span = torch.where(spans > 0, spans, 1)[..., None, None, None]
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _windowed(torch.stack([x, y, x * x, y * y, x * y]))
    variances = (mean_xx - mean_x**2).clamp_min(0) + (mean_yy - mean_y**2).clamp_min(0)
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean(-3)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of values ``[..., H, W]`` over the pixels of a mask of the same shape, None being all.

    NaN where the mask is empty.
    """
    if mask is None:
        return values.mean((-2, -1))
    weight = mask.to(values)
    return (values * weight).sum((-2, -1)) / weight.sum((-2, -1))


def silhouette(image: Tensor, threshold: float = SILHOUETTE_THRESHOLD) -> Tensor:
    """Find where an image on white shows its object: a channel below ``1 - threshold``, boolean.

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
        raise _other_shape("prediction", prediction, list(target.shape))
    if mask is not None and mask.shape != target.shape:
        raise _other_shape("mask", mask, list(target.shape))
    counted = torch.ones_like(target) if mask is None else mask
    both = (prediction & target & counted).sum((-2, -1)).double()
    either = ((prediction | target) & counted).sum((-2, -1)).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def volume_iou(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the intersection over union of solids on one grid, in [0, 1]; 1 if both are empty.

    Args:
        prediction: ``[..., X, Y, Z]`` boolean, True inside.
        target: the same shape.

    Raises:
        ValueError: where the shapes differ or a tensor is not boolean.
    """
    for name, value in (("prediction", prediction), ("target", target)):
        if value.dtype != torch.bool or value.ndim < 3:
            raise ValueError(
                f"{name}: expected a boolean grid [..., X, Y, Z], got {value.dtype} "
                f"{list(value.shape)}"
            )
    if prediction.shape != target.shape:
        raise _other_shape("prediction", prediction, list(target.shape))
    both = (prediction & target).sum((-3, -2, -1)).double()
    either = (prediction | target).sum((-3, -2, -1)).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def azimuth_error_deg(found_deg: Tensor, true_deg: Tensor) -> Tensor:
    """Compute the angle between two azimuths the short way round, degrees in [0, 180].

    Args:
        found_deg: ``[...]``, any number of turns.
        true_deg: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    if found_deg.shape != true_deg.shape:
        raise _other_shape("found_deg", found_deg, list(true_deg.shape))
    return (torch.remainder(found_deg.double() - true_deg.double() + 180, 360) - 180).abs()


def _windowed(images: Tensor) -> Tensor:
    """Compute Gaussian means around each pixel of ``[..., H, W]``, mirrored at the border.

    A sum of shifted images per axis, since a convolution in double precision takes several times
    as long.
    """
    offsets = torch.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (offsets / _WINDOW_SIGMA) ** 2)
    weights = (window / window.sum()).tolist()
    flat = images.reshape(-1, *images.shape[-2:])
    flat = functional.pad(flat, (_WINDOW_RADIUS,) * 4, mode="reflect")
    for axis, length in ((-2, images.shape[-2]), (-1, images.shape[-1])):
        total = flat.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(flat.narrow(axis, start, length), alpha=weight)
        flat = total
    return flat.reshape(images.shape)


def _check_pair(prediction: Tensor, target: Tensor, mask: Tensor | None) -> None:
    if prediction.shape != target.shape:
        raise _other_shape("prediction", prediction, list(target.shape))
    if target.ndim < 3 or target.shape[-3] != 3:
        raise ValueError(f"target: expected [..., 3, H, W], got {list(target.shape)}")
    expected = [*target.shape[:-3], *target.shape[-2:]]
    if mask is not None and list(mask.shape) != expected:
        raise ValueError(f"mask: expected {expected}, got {list(mask.shape)}")


def _other_shape(name: str, value: Tensor, expected: list[int]) -> ValueError:
    return ValueError(f"{name}: expected the target's shape {expected}, got {list(value.shape)}")
