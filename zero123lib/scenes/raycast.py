"""Ray casting of scenes in plain torch, on any device: colour, alpha and depth.

Rays are not normalised: with a last component of -1 in camera axes, the distance along a ray is
the depth along the optical axis. Each part is cast only at the pixels of the rectangle that
encloses it, in all views at once, and only the nearest hit of a pixel is shaded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from zero123lib.scenes import primitives
from zero123lib.scenes.scene import Scene
from zero123lib.scenes.shading import lit
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px
from zero123lib.views.poses import Pose

Background = Literal["transparent", "white"]

_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
_NEAR = 1e-3


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
    """Render a scene from cameras on the official sphere (lit as in :mod:`.shading`).

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
    focal = focal_px(size * supersample, fov_deg)
    winner, depth = _cast(scene, cameras, size * supersample, focal)
    rows, colors = _shade(scene, cameras, winner, depth, focal)
    count = len(poses)
    # One slot per pixel and sample, so that the mean over samples is one over the last axis.
    samples = winner.new_zeros((3, count * (size * supersample) ** 2), dtype=torch.float32)
    samples[:, rows] = colors.T
    grid = (count, size, supersample, size, supersample)
    hit = (winner >= 0).reshape(grid)
    hits = hit.sum((2, 4)).float()
    total = samples.reshape(3, *grid).sum((3, 5)).permute(1, 2, 3, 0)
    rgb = total / hits.clamp_min(1)[..., None]
    depth = torch.where(hit, depth.reshape(grid), 0).sum((2, 4))
    depth = torch.where(hits > 0, depth / hits.clamp_min(1), torch.inf)
    alpha = (hits / supersample**2)[..., None]
    if background == "white":
        rgb, alpha = rgb * alpha + (1 - alpha), torch.ones_like(alpha)
    return Rendered(torch.cat([rgb, alpha], -1), depth, tuple(poses))


def _cast(scene: Scene, cameras: Tensor, size: int, focal: float) -> tuple[Tensor, Tensor]:
    """The number of the nearest part (-1: none) and its depth (+inf), each ``[N, S, S]``."""
    count = len(cameras)
    winner = torch.full((count, size, size), -1, dtype=torch.int16, device=cameras.device)
    depth = torch.full((count, size, size), torch.inf, device=cameras.device)
    ticks = (torch.arange(size, device=cameras.device) + 0.5 - size / 2) / focal
    inverses = [part.inverse for part in scene.parts]
    boxes = _rectangles(scene, cameras, size, focal)
    frames = cameras.cpu().double().numpy()
    for number, (part, inverse) in enumerate(zip(scene.parts, inverses, strict=True)):
        (rows, columns), (height, width) = boxes[number]
        if not (height and width):
            continue
        axes = cameras.new_tensor(inverse @ frames[:, :3, :3])  # [N, 3, 3]
        origins = cameras.new_tensor((frames[:, :3, 3] - part.offset) @ inverse.T)
        x = torch.stack([ticks[left : left + width] for left in columns])[:, None, None]
        y = torch.stack([ticks[top : top + height] for top in rows])[:, None, :, None]
        right, down, ahead = axes[..., 0], -axes[..., 1], -axes[..., 2]
        # The coordinate is the slowest axis in memory: [N, 3, h, w], seen as [N, h, w, 3].
        steps = right[..., None, None] * x + (down[..., None, None] * y + ahead[..., None, None])
        found = primitives.intersect(
            part.solid, part.shape, origins[:, None, None], steps.movedim(1, -1)
        )
        for view, (top, left) in enumerate(zip(rows, columns, strict=True)):
            window = (view, slice(top, top + height), slice(left, left + width))
            here = found[view]
            winner[window].masked_fill_(here < depth[window], number)
            torch.minimum(depth[window], here, out=depth[window])
    return winner, depth


def _rectangles(
    scene: Scene, cameras: Tensor, size: int, focal: float
) -> list[tuple[tuple[list[int], list[int]], tuple[int, int]]]:
    """For each part ((top rows, left columns), (height, width)) of its pixels in all N views.

    The canonical cube encloses every solid, and its picture lies within the projected corners.
    Sides are those of the largest view, so that all views make one array.
    """
    frames = cameras.cpu().double().numpy()
    linear = np.array([part.linear for part in scene.parts])
    corners = (
        _CORNERS @ linear.transpose(0, 2, 1)
        + np.array([part.offset for part in scene.parts])[:, None]
    )  # [P, 8, 3]
    seen = np.einsum("pknj,nji->pkni", corners[:, :, None] - frames[:, :3, 3], frames[:, :3, :3])
    away = -seen[..., 2]  # [P, 8, N]
    behind = (away < _NEAR).any(1)
    away = np.maximum(away, _NEAR)
    # A sample's centre at index i lies at i + 0.5.
    column = seen[..., 0] / away * focal + size / 2 - 0.5
    row = -seen[..., 1] / away * focal + size / 2 - 0.5
    spans = []
    for place in (row, column):
        low = np.where(behind, 0, np.clip(np.ceil(place.min(1) - 1e-3), 0, size)).astype(int)
        high = np.where(behind, size, np.clip(np.floor(place.max(1) + 1e-3) + 1, 0, size))
        length = np.maximum(high.astype(int) - low, 0).max(1)
        spans.append((np.minimum(low, size - length[:, None]), length))
    (tops, heights), (lefts, widths) = spans
    return [
        ((tops[p].tolist(), lefts[p].tolist()), (int(heights[p]), int(widths[p])))
        for p in range(len(scene.parts))
    ]


def _shade(
    scene: Scene, cameras: Tensor, winner: Tensor, depth: Tensor, focal: float
) -> tuple[Tensor, Tensor]:
    """The samples that hit, indices ``[K]`` into ``[N * S * S]``, and their colours ``[K, 3]``."""
    size = winner.shape[-1]
    flat = winner.reshape(-1)
    rows = (flat >= 0).nonzero()[:, 0]
    order = torch.argsort(flat[rows], stable=True)
    rows = rows[order]
    counts = torch.bincount(flat[rows].long(), minlength=len(scene.parts)).tolist()
    view, pixel = rows // size**2, rows % size**2
    x = (pixel % size + 0.5 - size / 2) / focal
    y = (size / 2 - 0.5 - pixel // size) / focal
    axes, centres = cameras[:, :3, :3][view], cameras[:, :3, 3][view]
    rays = axes[..., 0] * x[:, None] + axes[..., 1] * y[:, None] - axes[..., 2]
    points = centres + depth.reshape(-1)[rows, None] * rays
    albedo, normals = torch.empty_like(points), torch.empty_like(points)
    start = 0
    for part, count in zip(scene.parts, counts, strict=True):
        if not count:
            continue
        mine = slice(start, start + count)
        canonical = part.to_canonical(points[mine])
        normal = primitives.normals(part.solid, part.shape, canonical)
        normals[mine] = normal @ points.new_tensor(part.inverse)
        albedo[mine] = part.color_at(canonical)
        start += count
    normals /= normals.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    to_camera = -rays / rays.norm(dim=-1, keepdim=True)
    return rows, lit(albedo, points, normals, to_camera, points.new_tensor(scene.light))
