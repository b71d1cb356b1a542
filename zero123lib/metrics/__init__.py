"""Image, shape and camera metrics, pure functions of tensors and arrays.

Images are ``[..., 3, H, W]`` in [0, 1]; masks ``[..., H, W]`` and solids ``[..., X, Y, Z]``
boolean; points ``[N, 3]``. Results have the leading shape, double precision. Higher is better where
a name does not say error or distance. LPIPS is :mod:`zero123lib.lpips`.
"""

from zero123lib.metrics.frechet import Moments, frechet_distance
from zero123lib.metrics.images import (
    SILHOUETTE_THRESHOLD,
    masked_mean,
    psnr,
    psnr_single,
    silhouette,
    silhouette_iou,
)
from zero123lib.metrics.poses import azimuth_error_deg, rotation_error_deg
from zero123lib.metrics.shapes import (
    chamfer_distance,
    f_score,
    normal_consistency,
    surface_points,
    volume_iou,
)
from zero123lib.metrics.similarity import (
    ssim,
    ssim_map,
    ssim_single,
    ssim_uniform,
    ssim_zero_padded,
)

__all__ = [
    "SILHOUETTE_THRESHOLD",
    "Moments",
    "azimuth_error_deg",
    "chamfer_distance",
    "f_score",
    "frechet_distance",
    "masked_mean",
    "normal_consistency",
    "psnr",
    "psnr_single",
    "rotation_error_deg",
    "silhouette",
    "silhouette_iou",
    "ssim",
    "ssim_map",
    "ssim_single",
    "ssim_uniform",
    "ssim_zero_padded",
    "surface_points",
    "volume_iou",
]
