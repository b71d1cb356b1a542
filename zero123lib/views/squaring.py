"""Images of any pinhole as square ones see them whose axis is in the middle, which all else takes.

An image is moved and scaled, and sees the same along every ray.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError

from .folder import PosedImage
from .transforms import Pinhole

# The object keeps this share of the image free around it.
_MARGIN = 0.05
# In pixels: what counts as the middle of an image.
_CENTRED = 1e-3


def squared(images: Sequence[PosedImage], size: int | None = None) -> tuple[Tensor, list[float]]:
    """Show images as square pinholes see them whose axis is in the middle of the image.

    Images that are so already, all of one size, pass unchanged where no size is asked for.

    Args:
        images: at least one.
        size: pixels of the squares' sides; None takes the longest side of the images.

    Returns:
        sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``; and the field of view of each, degrees.
    """
    sides = {one.image.size for one in images}
    if len(sides) == 1 and all(_is_square(one.pinhole) for one in images) and size is None:
        angles = [_angle_deg(0.5 * one.pinhole.width / one.pinhole.fl_x) for one in images]
        return torch.stack([_rgba(one.image) for one in images]), angles
    size = size or max(max(one) for one in sides)
    slopes = [_slope(one.pinhole, (0, 0, *one.image.size)) for one in images]
    made = [_seen(one, size, slope) for one, slope in zip(images, slopes, strict=True)]
    return torch.stack([_rgba(one) for one in made]), [_angle_deg(one) for one in slopes]


def squared_about_object(images: Sequence[PosedImage], size: int) -> tuple[Tensor, float]:
    """Show the objects of images as square pinholes of one field of view do.

    It is as narrow as shows all that is opaque in any image. What an image cuts off at its border
    goes on beyond it as it is there.

    Args:
        images: with alpha, at least one with something in it.
        size: pixels of the squares' sides.

    Returns:
        sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``; and the field of view, degrees.

    Raises:
        ArgumentError: there is nothing in any image.
    """
    boxes = [one.image.getchannel("A").point(_is_solid).getbbox() for one in images]
    slopes = [
        _slope(one.pinhole, box) for one, box in zip(images, boxes, strict=True) if box is not None
    ]
    if not slopes:
        raise ArgumentError("views", "an object in the images' alpha", "none in any of them")
    slope = max(slopes) * (1.0 + 2.0 * _MARGIN)
    made = [_rgba(_seen(one, size, slope)) for one in images]
    return torch.stack(made), _angle_deg(slope)


def _rgba(image: Image.Image) -> Tensor:
    """Return an RGBA image as ``[H, W, 4]`` in [0, 1]."""
    return torch.from_numpy(np.asarray(image, np.float32) / 255)


def _is_solid(alpha: int) -> int:
    return 255 if alpha >= 128 else 0


def _is_square(camera: Pinhole) -> bool:
    """Tell whether a camera is a square pinhole with its axis in the middle."""
    side = camera.width
    off = (camera.cx - side / 2, camera.cy - side / 2, camera.fl_x - camera.fl_y)
    return camera.height == side and max(map(abs, off)) <= _CENTRED


def _angle_deg(slope: float) -> float:
    return math.degrees(2.0 * math.atan(slope))


def _slope(camera: Pinhole, box: tuple[float, float, float, float]) -> float:
    """Return how far from its axis, at unit depth, a camera shows a box of its pixels."""
    left, top, right, bottom = box
    return max(
        (camera.cx - left) / camera.fl_x,
        (right - camera.cx) / camera.fl_x,
        (camera.cy - top) / camera.fl_y,
        (bottom - camera.cy) / camera.fl_y,
        1e-3,
    )


def _seen(posed: PosedImage, size: int, slope: float) -> Image.Image:
    """Return what a square pinhole of a slope sees of an image; its border goes on beyond it."""
    camera, image = posed.pinhole, posed.image
    focal = 0.5 * size / slope
    columns = _span(camera.cx, camera.fl_x / focal, image.width, size)
    rows = _span(camera.cy, camera.fl_y / focal, image.height, size)
    box = (columns[2], rows[2], columns[3], rows[3])
    # Pillow weighs colours by alpha itself, and averages where it makes an image smaller.
    part = image.resize(
        (columns[1] - columns[0], rows[1] - rows[0]), Image.Resampling.BICUBIC, box=box
    )
    around = [(first, size - last) for first, last, _, _ in (rows, columns)]
    return Image.fromarray(np.pad(np.asarray(part), [*around, (0, 0)], mode="edge"))


def _span(centre: float, scale: float, length: int, size: int) -> tuple[int, int, float, float]:
    """Return along one axis the pixels [first, last) of a square that an image covers.

    With them comes where in the image they begin and end.

    Args:
        centre: where in the image the square's middle is.
        scale: pixels of the image in one of the square's.
        length: pixels of the image.
        size: pixels of the square.
    """
    first = min(max(math.ceil(0.5 * size - centre / scale), 0), size - 1)
    last = max(min(math.floor(0.5 * size + (length - centre) / scale), size), first + 1)
    begin, end = (centre + (edge - 0.5 * size) * scale for edge in (first, last))
    begin = min(max(begin, 0.0), max(length - scale, 0.0))
    return first, last, begin, max(min(end, float(length)), begin + 1e-3)
