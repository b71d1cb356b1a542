"""Turntables: a GIF anywhere, MP4 where the extra `video` is installed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._files import whole_file, write_bytes
from zero123lib._optional import require
from zero123lib.views.folder import gif

FRAMES_PER_SECOND = 18


def write_gif(path: Path, frames: Sequence[Tensor]) -> None:
    """An endless GIF, whole or not at all.

    Args:
        frames: ``[H, W, 3]`` in [0, 1].
    """
    images = [Image.fromarray(_bytes(one)) for one in frames]
    write_bytes(path, gif(images, round(1000 / FRAMES_PER_SECOND)))


def write_mp4(path: Path, frames: Sequence[Tensor]) -> None:
    """An MP4 (H.264) that browsers play, whole or not at all.

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
    """``[H, W, 3]`` of ``[H, W]``."""
    return values[..., None].expand(*values.shape, 3)


def _bytes(frame: Tensor) -> np.ndarray:
    levels = (frame.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.cpu().numpy())
