"""Structural similarity as each of three libraries computes it: the same images, other numbers.

=========================  ==================  ================================================
function                   as                  window, border, range of the values
=========================  ==================  ================================================
:func:`ssim`               torchmetrics        Gaussian 11, mirrored, the images' own
:func:`ssim_single`        the same            the same, in single precision
:func:`ssim_zero_padded`   pytorch-ssim        Gaussian 11, black beyond the border, 1
:func:`ssim_uniform`       scikit-image        flat 7 or 11 with sample covariances, border
                                               left out, 1
=========================  ==================  ================================================

Precision matters: where images are plain, variances are differences of nearly equal numbers, and
in single precision what is left of them, never below 0, lowers SSIM, by 1e-4 on white surroundings.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.metrics.images import check_pair, masked_mean

_WINDOW_SIGMA = 1.5
_WINDOW_RADIUS = 5


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
    check_pair(prediction, target, mask)
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
    _check_sizes(prediction, target)
    return _map(prediction.double(), target.double())


def ssim_single(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the structural similarity per image as torchmetrics does it of float32.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1], H and W at least 6.
        target: the same shape.

    Raises:
        ValueError: where the shapes differ or the images are smaller than half the window.
    """
    _check_sizes(prediction, target)
    return _map(prediction.float(), target.float()).double().mean((-2, -1))


def ssim_zero_padded(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the structural similarity per image as pytorch-ssim computes it, which iFusion takes.

    A Gaussian window of 11 x 11 with sigma 1.5, black beyond the border, values of range 1. It is
    computed in the images' own type.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    check_pair(prediction, target, None)
    span = torch.ones((), dtype=prediction.dtype)
    return _gaussian_map(prediction, target, span, "constant", least=None).double().mean((-2, -1))


def ssim_uniform(prediction: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Compute the structural similarity per image as scikit-image computes it by default, values of
    range 1.

    EscherNet takes it with a window of 7, Free3D with one of 11. It is computed in the images' own
    type.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1], H and W at least the window.
        target: the same shape.
        window: side of the flat window, odd, pixels.

    Raises:
        ValueError: where the shapes differ or the images are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    check_pair(prediction, target, None)
    height, width = prediction.shape[-2:]
    if min(height, width) < window:
        raise ValueError(
            f"prediction: expected at least {window} x {window} pixels, got {width} x {height}"
        )
    pairs = zip(
        prediction.reshape(-1, 3, height, width).numpy(force=True),
        target.reshape(-1, 3, height, width).numpy(force=True),
        strict=True,
    )
    found = [
        structural_similarity(made, true, win_size=window, data_range=1.0, channel_axis=0)
        for made, true in pairs
    ]
    return torch.tensor(found, dtype=torch.float64).reshape(prediction.shape[:-3])


def _check_sizes(prediction: Tensor, target: Tensor) -> None:
    check_pair(prediction, target, None)
    height, width = prediction.shape[-2:]
    if min(height, width) <= _WINDOW_RADIUS:  # less cannot be mirrored
        raise ValueError(
            f"prediction: expected at least {_WINDOW_RADIUS + 1} x {_WINDOW_RADIUS + 1} pixels, "
            f"got {width} x {height}"
        )


def _map(prediction: Tensor, target: Tensor) -> Tensor:
    spans = [image.amax((-3, -2, -1)) - image.amin((-3, -2, -1)) for image in (prediction, target)]
    span = torch.stack(spans).amax(0)
    span = torch.where(span > 0, span, 1)[..., None, None, None]
    return _gaussian_map(prediction, target, span, "reflect", least=0.0)


def _gaussian_map(x: Tensor, y: Tensor, span: Tensor, border: str, least: float | None) -> Tensor:
    """Wang et al. 2004, equation 13, ``[..., H, W]``, for values of range ``span``.

    Args:
        x, y: ``[..., 3, H, W]``.
        border: as torch's padding calls it.
        least: of variances; None takes them as rounding leaves them.
    """
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    means = _windowed(torch.stack([x, y, x * x, y * y, x * y]), border)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
    variances = [mean_xx - mean_x**2, mean_yy - mean_y**2]
    if least is not None:
        variances = [one.clamp_min(least) for one in variances]
    covariance = mean_xy - mean_x * mean_y
    above = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    below = (mean_x**2 + mean_y**2 + c1) * (sum(variances) + c2)
    return (above / below).mean(-3)


def _windowed(images: Tensor, border: str) -> Tensor:
    """Return Gaussian means around each pixel of ``[..., H, W]``, padded as torch calls it.

    In double precision it is a sum of shifted images per axis, since a convolution takes several
    times as long there; in single precision a convolution, whose rounding is that of the scripts.
    """
    offsets = torch.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1, dtype=images.dtype)
    window = torch.exp(-0.5 * (offsets / _WINDOW_SIGMA) ** 2)
    window = window / window.sum()
    flat = images.reshape(-1, *images.shape[-3:])
    flat = functional.pad(flat, (_WINDOW_RADIUS,) * 4, mode=border)
    if images.dtype != torch.float64:
        kernel = torch.outer(window, window).expand(flat.shape[1], 1, -1, -1).to(flat)
        return functional.conv2d(flat, kernel, groups=flat.shape[1]).reshape(images.shape)
    weights = window.tolist()
    for axis, length in ((-2, images.shape[-2]), (-1, images.shape[-1])):
        total = flat.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(flat.narrow(axis, start, length), alpha=weight)
        flat = total
    return flat.reshape(images.shape)
