"""Where the object stands in the image: recentred on a square canvas, on a plain background."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError

from .errors import ImageError
from .specks import object_and_specks

# Longest side of the object over the canvas: what the official demo makes of large images.
FOREGROUND_RATIO = 200 / 256


def composite(
    image: Image.Image, background: tuple[int, int, int] = (255, 255, 255)
) -> Image.Image:
    """Put the image on a plain background, RGB: alpha * colour + (1 - alpha) * background.

    Args:
        image: RGBA with straight alpha, or any opaque mode.
        background: 8-bit RGB.
    """
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")


def recenter(
    rgba: Image.Image, size: int = 256, foreground_ratio: float = FOREGROUND_RATIO
) -> Image.Image:
    """Put the object in the middle of a transparent square canvas, aspect kept.

    The box around alpha of at least half its maximum is centred and scaled, up or down, until
    its longest side is `foreground_ratio * size`. Fainter pixels around it come along; stray
    specks outside of it do not count, and are left out.

    Args:
        rgba: RGBA with straight alpha.
        size: pixels of the canvas.
        foreground_ratio: in (0, 1].

    Returns:
        RGBA [size, size].

    Raises:
        ImageError: no alpha channel, or it is empty.
        ValueError: the ratio is out of range.
    """
    check_ratio(foreground_ratio)
    if rgba.mode != "RGBA":
        raise ImageError("rgba", "an RGBA image", f"mode {rgba.mode}")
    alpha = np.asarray(rgba.getchannel("A"))
    if alpha.max() == 0:
        raise ImageError("rgba", "something visible", "an empty image")
    solid, specks = object_and_specks(alpha)
    left, top, right, bottom = bounding_box(solid)
    specks[top:bottom, left:right] = False  # within the object's box they may be its own
    if specks.any():
        rgba = rgba.copy()
        rgba.putalpha(Image.fromarray(np.where(specks, 0, alpha).astype(np.uint8)))
    scale = foreground_ratio * size / max(right - left, bottom - top)
    columns = _span((left + right) / 2, rgba.width, scale, size)
    rows = _span((top + bottom) / 2, rgba.height, scale, size)
    padding = math.ceil(1 / scale) + 1
    padded = Image.new("RGBA", (rgba.width + 2 * padding, rgba.height + 2 * padding))
    padded.paste(rgba, (padding, padding))
    part = padded.resize(
        (columns[1] - columns[0], rows[1] - rows[0]),
        Image.Resampling.BICUBIC,  # Pillow premultiplies RGBA itself
        box=(columns[2] + padding, rows[2] + padding, columns[3] + padding, rows[3] + padding),
    )
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(part, (columns[0], rows[0]))
    return canvas


def object_px(rgba: Image.Image) -> int:
    """Return the longest side of the object in an RGBA image, as `recenter` sees it."""
    left, top, right, bottom = bounding_box(object_and_specks(np.asarray(rgba.getchannel("A")))[0])
    return max(right - left, bottom - top)


def official_frame(rgba: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Frame as the official demo does (`ldm/util.py: load_and_preprocess`), specks and all.

    Hard alpha above 127, white elsewhere, cropped to the mask, at most 200 px (it only shrinks,
    and so mixes white into the edges), in the middle of a white canvas.

    Args:
        rgba: RGBA with straight alpha.

    Returns:
        RGB [256, 256] on white, and its mask as mode L.

    Raises:
        ImageError: alpha is nowhere above 127.
    """
    mask = np.asarray(rgba.getchannel("A")) > 127
    if not mask.any():
        raise ImageError("rgba", "something opaque", "alpha of at most 127 everywhere")
    pixels = np.array(rgba.convert("RGB"))
    pixels[~mask] = 255
    return (
        _on_official_canvas(Image.fromarray(pixels).crop(bounding_box(mask)), 255),
        _on_official_canvas(
            Image.fromarray(mask.astype(np.uint8) * 255).crop(bounding_box(mask)), 0
        ),
    )


def _on_official_canvas(crop: Image.Image, fill: int) -> Image.Image:
    crop.thumbnail((200, 200), Image.Resampling.LANCZOS)
    canvas = Image.new(crop.mode, (256, 256), (fill,) * len(crop.getbands()))
    canvas.paste(crop, ((256 - crop.width) // 2, (256 - crop.height) // 2))
    return canvas


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the true pixels of a mask [H, W]; right and bottom exclusive."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _span(middle: float, length: int, scale: float, size: int) -> tuple[int, int, float, float]:
    """Return along one axis the canvas pixels [start, stop) that the source covers, and where they
    begin and end in the source, when source position `middle` comes to the canvas' middle."""
    start = max(0, math.floor(size / 2 - middle * scale))
    stop = min(size, math.ceil(size / 2 + (length - middle) * scale))
    begin, end = ((edge - size / 2) / scale + middle for edge in (start, stop))
    return start, stop, begin, end


def dark_boxes(images: Tensor, darkness: float) -> Tensor:
    """Find what is darker than white: ``[N, 3]``, the middle's column and row and the longer side.

    Args:
        images: ``[N, 3, H, H]`` in [-1, 1].
        darkness: the least, of [0, 1].

    Returns:
        Shares of the image's side; of an image that is white all over the whole of it.
    """
    size = images.shape[-1]
    dark = ((1 - images) / 2).amax(1) > darkness
    ticks = torch.arange(size, device=images.device)
    ends = []
    for shown in (dark.any(1), dark.any(2)):
        low = torch.where(shown, ticks, size).amin(1)
        high = torch.where(shown, ticks + 1, 0).amax(1)
        nothing = low >= high
        ends.append((low.masked_fill(nothing, 0), high.masked_fill(nothing, size)))
    (left, right), (top, bottom) = ends
    longer = torch.maximum(right - left, bottom - top)
    return torch.stack([(left + right) / 2, (top + bottom) / 2, longer], 1).float() / size


def check_ratio(foreground_ratio: float) -> None:
    """Raise ArgumentError where it is not in (0, 1]."""
    if not 0.0 < foreground_ratio <= 1.0:
        raise ArgumentError("foreground_ratio", "a number in (0, 1]", repr(foreground_ratio))
