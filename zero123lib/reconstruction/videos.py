"""The field from all around: frames, as a GIF anywhere, as MP4 where the extra `video` is there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._files import whole_file, write_bytes
from zero123lib._optional import require
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.volume import View, render_camera
from zero123lib.fields.voxels import VoxelField
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.reconstruction.schema_outputs import Outputs
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.folder import gif
from zero123lib.views.poses import Pose

FRAMES_PER_SECOND = 18

# What is left out of images, per world unit: over the cube's diagonal it hides 1 %.
_LEAST_DENSITY = 0.005
# Samples of less weight show nothing: of 96 along a ray, together less than half a level of 255.
_NEGLIGIBLE = 2e-5


@dataclass(frozen=True, eq=False)
class Frame:
    """What a camera of the turntable sees, ``[H, W, 3]`` in [0, 1] each.

    Attributes:
        color: on white.
        depth: grey, white where it is nearest.
        normals: of the world, from [-1, 1], on white.
    """

    color: Tensor
    depth: Tensor
    normals: Tensor


def turn(field: VoxelField, camera: OrbitCamera, wanted: Outputs) -> Iterator[Frame]:
    """Render the frames of a turn around a field.

    Args:
        camera: how far away the cameras are, and their field of view.
        wanted: how many frames, of what size, from what elevation.
    """
    occupancy = occupied(field)
    for one in around(camera, wanted):
        seen = look(field, one, wanted.even_size, occupancy=occupancy)
        assert seen.normals is not None
        reach = field.half_extent * math.sqrt(3)
        nearness = (one.pose.radius + reach - seen.depth) / (2 * reach)
        white = (1 - seen.opacity)[..., None]
        yield Frame(
            seen.rgb,
            grey((nearness * seen.opacity).clamp(0, 1)),
            (seen.normals + seen.opacity[..., None]) / 2 + white,
        )


def around(camera: OrbitCamera, wanted: Outputs) -> Iterator[OrbitCamera]:
    """Yield the cameras of a turn, as far away and with such a field of view as one is."""
    for index in range(wanted.frames):
        pose = Pose(wanted.elevation_deg, 360 * index / wanted.frames, camera.pose.radius)
        yield OrbitCamera(pose, camera.fov_deg)


def look(
    field: VoxelField,
    camera: OrbitCamera,
    size: int,
    *,
    normals: bool = True,
    occupancy: OccupancyGrid | None = None,
) -> View:
    """Render a field on white, without gradient.

    Args:
        occupancy: of the field, for several images of it; None looks for it.
    """
    with torch.no_grad():
        return render_camera(
            field,
            camera_to_world(camera.pose).to(field.raw_density.device),
            size,
            camera.fov_deg,
            occupancy=occupancy or occupied(field),
            normals=normals,
            negligible=_NEGLIGIBLE,
        )


def occupied(field: VoxelField) -> OccupancyGrid:
    """Find where there is anything of a field to see."""
    return OccupancyGrid.of(
        field.density,
        field.half_extent,
        field.resolution - 1,
        _LEAST_DENSITY,
        device=field.raw_density.device,
    )


def write_gif(path: Path, frames: Sequence[Tensor]) -> None:
    """Write an endless GIF, whole or not at all.

    Args:
        frames: ``[H, W, 3]`` in [0, 1].
    """
    images = [Image.fromarray(_bytes(one)) for one in frames]
    write_bytes(path, gif(images, round(1000 / FRAMES_PER_SECOND)))


def write_mp4(path: Path, frames: Sequence[Tensor]) -> None:
    """Write an MP4 (H.264) that browsers play, whole or not at all.

    Args:
        frames: ``[H, W, 3]`` in [0, 1], H and W even.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
        OSError: it could not be written.
    """
    ffmpeg: Any = require("imageio_ffmpeg", "video")
    height, width = frames[0].shape[:2]
    with whole_file(path) as scratch:
        writer = ffmpeg.write_frames(
            str(scratch), (width, height), fps=FRAMES_PER_SECOND, quality=8, macro_block_size=2
        )
        try:
            writer.send(None)
            for frame in frames:
                writer.send(_bytes(frame).tobytes())
        finally:
            writer.close()


def grey(values: Tensor) -> Tensor:
    """Return ``[H, W, 3]`` of ``[H, W]``."""
    return values[..., None].expand(*values.shape, 3)


def _bytes(frame: Tensor) -> np.ndarray:
    levels = to_uint8(frame)
    return np.ascontiguousarray(levels.cpu().numpy())
