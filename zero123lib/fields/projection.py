"""Where an image shows points of the world, and what it shows there."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from zero123lib.views.cameras import focal_px


def project(points: Tensor, camera_to_world: Tensor, fov_deg: float) -> tuple[Tensor, Tensor]:
    """Find where a square image shows points.

    Args:
        points: ``[P, 3]``.
        camera_to_world: OpenGL ``[4, 4]``.

    Returns:
        Positions ``[P, 2]``, x right and y down, in [-1, 1] within the image; and depths along the
        camera's axis ``[P]``, at most 0 behind it.
    """
    camera = camera_to_world.to(points)
    local = (points - camera[:3, 3]) @ camera[:3, :3]
    depth = -local[:, 2]
    focal = focal_px(2, fov_deg)
    flipped = local[:, :2] * local.new_tensor([focal, -focal])
    return flipped / depth.clamp_min(1e-6)[:, None], depth


def interpolate(image: Tensor, positions: Tensor) -> Tensor:
    """Interpolate an image ``[H, H]`` at positions ``[P, 2]``; beyond it its border goes on."""
    return functional.grid_sample(
        image.to(positions)[None, None], positions[None, None], padding_mode="border",
        align_corners=False,
    )[0, 0, 0]  # fmt: skip
