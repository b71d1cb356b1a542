"""Images as small PNGs: figures, renderings and animations with a palette of their own."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from zero123lib._optional import require
from zero123lib.views.eight_bits import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image
    from torch import Tensor

    AnyImage = Image.Image | Tensor

# Of palettes: what a page of a notebook needs, and no more.
_COLORS = 256


def as_image(image: AnyImage) -> Image.Image:
    """Return an image as a Pillow image."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"image: expected [H, W, 3 or 4], got {list(image.shape)}")
    levels = to_uint8(image.float()).cpu()
    return Image.fromarray(levels.numpy())


def to_png(shown: Figure | AnyImage) -> bytes:
    """Return a figure or an image as a PNG of few colours; an image on white."""
    from PIL import Image

    from zero123lib.views.framing import composite

    if isinstance(shown, require("matplotlib.figure", "notebooks").Figure):
        buffer = io.BytesIO()
        cast("Figure", shown).savefig(buffer, format="png", facecolor="white")
        image = Image.open(buffer)
    else:
        image = as_image(cast("AnyImage", shown))
    return save_png([composite(image)])


def beside(images: Sequence[AnyImage], gap_px: int = 4) -> Image.Image:
    """Put images side by side on white, as for the frames of an animation."""
    from zero123lib.views.sheet import contact_sheet

    return contact_sheet([as_image(image) for image in images], len(images), None, gap_px)


def save_png(frames: Sequence[Image.Image], frame_ms: int = 0) -> bytes:
    """Return a PNG, animated if there are several frames, with one dithered palette for all."""
    import numpy as np
    from PIL import Image

    strip = Image.new("RGB", (frames[0].width, sum(frame.height for frame in frames)))
    top = 0
    for frame in frames:
        strip.paste(frame, (0, top))
        top += frame.height
    palette = strip.quantize(_COLORS - 1)
    colors = (palette.getpalette() or [])[: 3 * (_COLORS - 1)]
    colors += [0] * (3 * (_COLORS - 1) - len(colors))
    palette.putpalette([*colors, 255, 255, 255])

    def dithered(frame: Image.Image) -> Image.Image:
        made = frame.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        # White stays white, and flat: errors of pixels beside it are not handed on to it.
        white = (np.asarray(frame) == 255).all(-1)
        made.paste(_COLORS - 1, mask=Image.fromarray(white))
        return made

    first, *rest = map(dithered, frames)
    buffer = io.BytesIO()
    several = {"save_all": True, "append_images": rest, "duration": frame_ms, "loop": 0}
    first.save(buffer, format="png", optimize=True, **(several if rest else {}))
    return buffer.getvalue()
