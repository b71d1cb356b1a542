"""Ray casting of scenes in plain torch, on any device: colour, alpha and depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zero123lib.scenes import primitives
from zero123lib.scenes.scene import Part, Scene
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.poses import Pose

Background = Literal["transparent", "white"]

_AMBIENT, _DIFFUSE, _SKY = 0.5, 0.38, 0.12


@dataclass(frozen=True)
class Rendered:
    """Ground-truth views.

    Attributes:
        rgba: ``[N, H, W, 4]`` in [0, 1], straight (not premultiplied) alpha, sRGB.
        depth: ``[N, H, W]`` scene units along the optical axis, +inf where nothing was hit;
            with supersampling the mean over the samples of a pixel that hit.
        poses: the N cameras.
    """

    rgba: Tensor
    depth: Tensor
    poses: tuple[Pose, ...]


def random_camera(random: torch.Generator) -> Pose:
    """A camera as in training: any azimuth, radius U(1.5, 2.2), elevation -15 to 75 degrees.

    Elevations are uniform in their sine, so cameras are uniform over that band of the sphere.
    """
    u, v, w = torch.rand(3, generator=random).tolist()
    low, high = math.sin(math.radians(-15)), math.sin(math.radians(75))
    elevation_deg = math.degrees(math.asin(low + (high - low) * u))
    return Pose(elevation_deg, 360 * v - 180, 1.5 + 0.7 * w)


def render(
    scene: Scene,
    poses: Sequence[Pose],
    size: int = 128,
    *,
    background: Background = "transparent",
    supersample: int = 2,
    fov_deg: float = FOV_DEG,
    device: torch.device | str = "cpu",
) -> Rendered:
    """Render a scene from cameras on the official sphere (Lambert light fixed in the world).

    Args:
        poses: cameras outside the object; official radii are 1.5 to 2.2.
        size: pixels along each side of the square picture.
        background: ``"transparent"`` keeps alpha; ``"white"`` composites and sets alpha to 1.
        supersample: samples per pixel along each axis.

    Raises:
        ValueError: where ``poses`` is empty or ``size`` or ``supersample`` is below 1.
    """
    if not poses:
        raise ValueError("poses: expected at least one Pose, got none")
    if size < 1 or supersample < 1:
        raise ValueError(f"size, supersample: expected at least 1, got {size}, {supersample}")
    cameras = camera_to_world(list(poses)).to(device)
    _, directions = rays(cameras, size * supersample, fov_deg)
    directions = directions.reshape(len(poses), -1, 3)
    color, distance = _cast(scene, cameras[:, :3, 3], directions)
    cosine = -(directions @ cameras[:, :3, 2:3])[..., 0]
    grid = (len(poses), size, supersample, size, supersample)
    hit = distance.isfinite().reshape(grid).float()
    count = hit.sum((2, 4))
    total = (color.reshape(*grid, 3) * hit[..., None]).sum((2, 4))
    rgb = total / count.clamp_min(1)[..., None]
    depth = torch.where(hit > 0, distance.reshape(grid) * cosine.reshape(grid), 0).sum((2, 4))
    depth = torch.where(count > 0, depth / count.clamp_min(1), torch.inf)
    alpha = (count / supersample**2)[..., None]
    if background == "white":
        rgb, alpha = rgb * alpha + (1 - alpha), torch.ones_like(alpha)
    return Rendered(torch.cat([rgb, alpha], -1), depth, tuple(poses))


def _cast(scene: Scene, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest hits of each camera's rays: lit colour ``[N, M, 3]`` and distance ``[N, M]``.

    Args:
        origins: camera centres ``[N, 3]``.
        directions: unit ray directions ``[N, M, 3]``, world.
    """
    candidates = _near_parts(scene, origins, directions)
    rays_per_camera = directions.shape[1]
    directions = directions.reshape(-1, 3)
    nearest = torch.full_like(directions[:, 0], torch.inf)
    color = torch.zeros_like(directions)
    for part, near in zip(scene.parts, candidates, strict=True):
        rows = near.nonzero()[:, 0]
        start = part.to_canonical(origins)[rows // rays_per_camera]
        step = directions[rows] @ part.inverse_transposed(directions)
        t = primitives.intersect(part.solid, part.shape, start, step)
        closer = t < nearest[rows]
        rows, t = rows[closer], t[closer]
        nearest[rows] = t
        color[rows] = _lit(scene, part, start[closer] + t[:, None] * step[closer])
    shape = (len(origins), rays_per_camera)
    return color.reshape(*shape, 3), nearest.reshape(shape)


def _near_parts(scene: Scene, origins: Tensor, directions: Tensor) -> Tensor:
    """Which rays pass the ball around each part, ``[P, N * M]``: spares most of the work.

    A ray from o along unit d passes within r of c where (c - o).d > sqrt(|c - o|^2 - r^2), so
    one matrix product and one comparison decide it for all rays.
    """
    centres, radii = [], []
    for part in scene.parts:
        low, high = primitives.half_extents(part.solid, part.shape, part.matrix)
        centres.append((low + high) / 2 + part.offset)
        radii.append(np.linalg.norm(high - low) / 2)
    offsets = origins.new_tensor(np.array(centres))[:, None] - origins  # [P, N, 3]
    squared = (offsets * offsets).sum(-1) - origins.new_tensor(np.array(radii))[:, None] ** 2
    along = torch.einsum("pnc,nmc->pnm", offsets, directions)
    return (along > squared.clamp_min(0).sqrt()[..., None]).flatten(1)


def _lit(scene: Scene, part: Part, points: Tensor) -> Tensor:
    normal = primitives.normals(part.solid, part.shape, points)
    normal = normal @ part.inverse_transposed(points).T
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    diffuse = (normal @ points.new_tensor(scene.light)).clamp_min(0)
    shade = _AMBIENT + _DIFFUSE * diffuse + _SKY * (normal[:, 2] + 1) / 2
    return part.color_at(points) * shade[:, None]
