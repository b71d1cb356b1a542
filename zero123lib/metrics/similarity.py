"""Structural similarity as each of three libraries computes it: the same images, other numbers.

=========================  ==================  ================================================
function                   as                  window, border, range of the values
=========================  ==================  ================================================
:func:`ssim`               torchmetrics        Gaussian 11, mirrored, the images' own
:func:`ssim_zero_padded`   pytorch-ssim        Gaussian 11, black beyond the border, 1
:func:`ssim_uniform`       scikit-image        flat 7 or 11 with sample covariances, border
                                               left out, 1
=========================  ==================  ================================================
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.metrics.images import check_pair, masked_mean

_WINDOW_SIGMA = 1.5
_WINDOW_RADIUS = 5


def ssim(prediction: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity per image, in [-1, 1] (Wang et al. 2004, equation 17).

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
    """Structural similarity around each pixel, ``[..., H, W]``, the mean of the three channels'.

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
    check_pair(prediction, target, None)
    height, width = prediction.shape[-2:]
    if min(height, width) <= _WINDOW_RADIUS:  # less cannot be mirrored
        raise ValueError(
            f"prediction: expected at least {_WINDOW_RADIUS + 1} x {_WINDOW_RADIUS + 1} pixels, "
            f"got {width} x {height}"
        )
    spans = [image.amax((-3, -2, -1)) - image.amin((-3, -2, -1)) for image in (prediction, target)]
    span = torch.stack(spans).amax(0).double()
    return _gaussian_map(
        prediction, target, torch.where(span > 0, span, 1)[..., None, None, None], "reflect"
    )


def ssim_zero_padded(prediction: Tensor, target: Tensor) -> Tensor:
    """Structural similarity per image as pytorch-ssim computes it, which iFusion takes.

    A Gaussian window of 11 x 11 with sigma 1.5, black beyond the border, values of range 1.

    Args:
        prediction: ``[..., 3, H, W]`` in [0, 1].
        target: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    check_pair(prediction, target, None)
    return _gaussian_map(prediction, target, torch.ones((), dtype=torch.float64), "constant").mean(
        (-2, -1)
    )


def ssim_uniform(prediction: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """Structural similarity per image as scikit-image computes it by default, values of range 1.

    EscherNet takes it with a window of 7, Free3D with one of 11.

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
        prediction.double().reshape(-1, 3, height, width).numpy(force=True),
        target.double().reshape(-1, 3, height, width).numpy(force=True),
        strict=True,
    )
    found = [
        structural_similarity(made, true, win_size=window, data_range=1.0, channel_axis=0)
        for made, true in pairs
    ]
    return torch.tensor(found, dtype=torch.float64).reshape(prediction.shape[:-3])


def _gaussian_map(prediction: Tensor, target: Tensor, span: Tensor, border: str) -> Tensor:
    """Wang et al. 2004, equation 13, ``[..., H, W]``, for values of range ``span``."""
    x, y = prediction.double(), target.double()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    means = _windowed(torch.stack([x, y, x * x, y * y, x * y]), border)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = means
    variances = (mean_xx - mean_x**2).clamp_min(0) + (mean_yy - mean_y**2).clamp_min(0)
    covariance = mean_xy - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (variances + c2)).mean(-3)


def _windowed(images: Tensor, border: str) -> Tensor:
    """Gaussian means around each pixel of ``[..., H, W]``, padded as torch calls it.

    A sum of shifted images per axis, since a convolution in double precision takes several times
    as long.
    """
    offsets = torch.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-0.5 * (offsets / _WINDOW_SIGMA) ** 2)
    weights = (window / window.sum()).tolist()
    flat = images.reshape(-1, *images.shape[-2:])
    flat = functional.pad(flat, (_WINDOW_RADIUS,) * 4, mode=border)
    for axis, length in ((-2, images.shape[-2]), (-1, images.shape[-1])):
        total = flat.narrow(axis, 0, length) * weights[0]
        for start, weight in enumerate(weights[1:], 1):
            total.add_(flat.narrow(axis, start, length), alpha=weight)
        flat = total
    return flat.reshape(images.shape)
