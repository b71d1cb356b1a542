"""Ray casting of scenes in plain torch, on any device: colour, alpha and depth.

Rays are not normalised: with a last component of -1 in camera axes, the distance along a ray is
the depth along the optical axis. Each part is cast only at the pixels of the rectangle that
encloses it, in all views at once, and only the nearest hit of a pixel is shaded.
"""

from __future__ import annotations

import itertools
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
from zero123lib.views.poses import Pose, elevation_on_sphere_deg

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


# Of the cameras that models of this project are trained with, lowest and highest.
ELEVATIONS_DEG = (-15.0, 75.0)


def random_camera(random: torch.Generator) -> Pose:
    """Return a camera as in training: any azimuth, radius U(1.5, 2.2), elevation -15 to 75 degrees.

    Elevations are uniform in their sine, so cameras are uniform over that band of the sphere.
    """
    u, v, w = torch.rand(3, generator=random).tolist()
    return Pose(elevation_on_sphere_deg(u, ELEVATIONS_DEG), 360 * v - 180, 1.5 + 0.7 * w)


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
    """Render a scene from cameras on the official sphere.

    Its light is that of :mod:`zero123lib.scenes.shading`.

    Args:
        poses: cameras outside the object; official radii are 1.5 to 2.2.
        size: pixels along each side of the square image.
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
    samples, depths, colors = _shade(scene, cameras, winner, depth, focal)
    row, column = samples // (size * supersample), samples % (size * supersample)
    # Samples of all views lie below one another, so a pixel's row is its sample's, divided.
    pixels = row // supersample * size + column // supersample
    hits, total, *channels = (
        colors.new_zeros(len(poses) * size**2).index_add_(0, pixels, values)
        for values in (torch.ones_like(depths), depths, *colors)
    )
    shape = (len(poses), size, size)
    rgb = torch.stack(channels, -1).reshape(*shape, 3) / hits.reshape(*shape, 1).clamp_min(1)
    depth = torch.where(hits > 0, total / hits.clamp_min(1), torch.inf).reshape(shape)
    hits = hits.reshape(shape)
    alpha = (hits / supersample**2)[..., None]
    if background == "white":
        rgb, alpha = rgb * alpha + (1 - alpha), torch.ones_like(alpha)
    return Rendered(torch.cat([rgb, alpha], -1), depth, tuple(poses))


def _cast(scene: Scene, cameras: Tensor, size: int, focal: float) -> tuple[Tensor, Tensor]:
    """Return the number of the nearest part (-1: none) and its depth (+inf), each ``[N, S, S]``."""
    count = len(cameras)
    winner = torch.full((count, size, size), -1, dtype=torch.int16, device=cameras.device)
    depth = torch.full((count, size, size), torch.inf, device=cameras.device)
    ticks = (torch.arange(size, device=cameras.device) + 0.5 - size / 2) / focal
    frames = cameras.cpu().double().numpy()
    inverses = np.array([part.inverse for part in scene.parts])
    offsets = np.array([part.offset for part in scene.parts])
    # Canonical coordinates first, [P, 3, N, 3] and [P, N, 3]: they are the slowest in memory.
    axes = cameras.new_tensor(np.einsum("pij,njk->pink", inverses, frames[:, :3, :3]))
    centres = frames[:, :3, 3] - offsets[:, None]
    origins = cameras.new_tensor(np.einsum("pij,pnj->pni", inverses, centres))
    for number, (part, box) in enumerate(
        zip(scene.parts, _rectangles(scene, cameras, size, focal), strict=True)
    ):
        (rows, columns), (height, width) = box
        if not (height and width):
            continue
        x = torch.stack([ticks[left : left + width] for left in columns])[:, None]
        y = torch.stack([ticks[top : top + height] for top in rows])[..., None]
        right, up, back = axes[number, ..., None, None].unbind(2)  # each [3, N, 1, 1]
        steps = right * x + (-up * y - back)
        found = primitives.intersect(
            part.solid, part.shape, origins[number, :, None, None], steps.movedim(0, -1)
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
    """Return each part's ((top rows, left columns), (height, width)) of its pixels in all N views.

    The canonical cube encloses every solid, and its image lies within the projected corners.
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return colours of the samples that hit.

    Returns:
        their indices ``[K]`` into ``[N * S * S]``, part by part, their depths ``[K]`` and their
        colours ``[3, K]``.
    """
    size, flat = winner.shape[-1], winner.reshape(-1)
    samples = (flat >= 0).nonzero()[:, 0]
    numbers, order = torch.sort(flat.index_select(0, samples), stable=True)
    samples = samples.index_select(0, order)
    counts = torch.bincount(numbers.long(), minlength=len(scene.parts)).tolist()
    depths = depth.reshape(-1).index_select(0, samples)
    view = samples // size**2
    x = (samples % size + 0.5 - size / 2) / focal
    y = (size / 2 - 0.5 - samples // size % size) / focal
    frames = cameras[:, :3].permute(2, 1, 0).contiguous()  # [4, 3, N]
    right, up, back, centre = (frame.index_select(1, view) for frame in frames)
    rays = right.mul_(x).add_(up.mul_(y)).sub_(back)
    points = torch.addcmul(centre, rays, depths)
    albedo, normals = torch.empty_like(points), torch.empty_like(points)
    for part, mine, end in zip(scene.parts, counts, np.cumsum(counts), strict=True):
        if not mine:
            continue
        here = slice(int(end) - mine, int(end))
        inverse = points.new_tensor(part.inverse)
        offset = points.new_tensor(part.offset)[:, None]
        canonical = (inverse @ (points[:, here] - offset)).T
        normal = primitives.normals(part.solid, part.shape, canonical)
        torch.mm(inverse.T, normal.T, out=normals[:, here])
        albedo[:, here] = part.color_at(canonical).T
    colors = lit(albedo, points, normals, rays.neg_(), points.new_tensor(scene.light))
    return samples, depths, colors
