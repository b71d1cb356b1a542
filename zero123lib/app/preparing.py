"""From the uploaded file to what the model is given, and what to show of the way there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from threading import BoundedSemaphore

import numpy as np
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib.app import settings
from zero123lib.app.sessions import Session
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.cutout import cut_out_loaded
from zero123lib.views.images import (
    WORKING_SIDE_PX,
    CutOut,
    Prepared,
    composite,
    framed_detail,
    object_pixels,
    prepare,
)
from zero123lib.views.loading import FIRST_FRAME

# As `prepare` bounds images, and what the page shows of them.
_SHOWN_SIDE_PX = 640
# Paint that fixes a cut-out, and the colour of what is cut away.
KEEP, DROP = "#16a34a", "#dc2626"
_CUT_AWAY = (255, 226, 226)

_CUTTING = BoundedSemaphore(settings.CUTTING)
_BY_REMBG = BoundedSemaphore(settings.CUTTING_BY_REMBG)


@dataclass(frozen=True)
class Framing:
    """Says how an image becomes the condition.

    Attributes:
        ratio: longest side of the object over the image's, in (0, 1]; used when recentred.
        recentre: put the object in the middle at that size, else keep the image's own framing.
        method: how it is cut out, see `zero123lib.views.cutout.CutOutMethod`.
    """

    ratio: float
    recentre: bool
    method: str


@dataclass(frozen=True, eq=False)
class Cut:
    """An image and its object, at most 1536 px, and the object with the upload's own pixels.

    The upload itself is not kept: one visitor's may have 40 million pixels.
    """

    image: Image.Image
    cut: CutOut
    pixels: Image.Image


def cut(session: Session, read: Callable[[], Image.Image], key: Hashable, method: str) -> Cut:
    """Return the object cut out of what `read` brings, unless the session remembers it."""

    def make() -> Cut:
        # Read within, too: of those that wait, no upload is in memory.
        with _BY_REMBG if method == "rembg" else _CUTTING:
            whole = read()
            small = whole.copy() if max(whole.size) > WORKING_SIDE_PX else whole
            small.thumbnail((WORKING_SIDE_PX, WORKING_SIDE_PX), Image.Resampling.LANCZOS)
            found = cut_out_loaded(small, method)  # type: ignore[arg-type]
            return Cut(small, found, object_pixels(whole, found))

    return session.remember("cut", (key, method), make)


def nothing(image: Image.Image) -> Cut:
    """Return an image of which all is cut away."""
    image.thumbnail((WORKING_SIDE_PX, WORKING_SIDE_PX), Image.Resampling.LANCZOS)
    clear = composite(image)
    clear.putalpha(0)
    return Cut(image, CutOut(clear, "none"), clear)


def condition(pipe: Zero123Pipeline, found: Cut, framing: Framing) -> Prepared:
    """Return what the model is given: as `pipe.prepare` makes it, when recentred."""
    if framing.recentre:
        prepared = prepare(found.cut.image, pipe.image_size, "auto", framing.ratio, "alpha")
        detail = framed_detail(found.pixels, pipe.image_size, framing.ratio)
        prepared = replace(prepared, detail=detail)
    else:
        prepared = prepare(_square(found.cut.image), pipe.image_size, "none")
    first_frame = bool(found.image.info.get(FIRST_FRAME))
    return replace(prepared, method=found.cut.method, first_frame=first_frame)


def before_after(found: Cut) -> tuple[Image.Image, Image.Image]:
    """Return the image as it came and its object alone, square, on white, for the slider."""
    before, after = (composite(_square(i.convert("RGBA"))) for i in (found.image, found.cut.image))
    for image in (before, after):
        image.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX), Image.Resampling.LANCZOS)
    return before, after


def canvas(found: Cut) -> Image.Image:
    """Return the image to paint on: what is cut away is pale, with a touch of red."""
    image = composite(found.image)
    image.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX), Image.Resampling.LANCZOS)
    alpha = found.cut.image.getchannel("A").resize(image.size, Image.Resampling.LANCZOS)
    pale = Image.blend(image, Image.new("RGB", image.size, _CUT_AWAY), 0.7)
    return Image.composite(image, pale, alpha)


def fixed(found: Cut, strokes: Iterable[Image.Image]) -> Image.Image:
    """Return the image with its cut-out's alpha, but as painted where there is paint.

    Args:
        strokes: RGBA layers of any size over the image, painted in `KEEP` and `DROP`.

    Raises:
        ArgumentError: nothing of the image is left.
    """
    alpha = np.array(found.cut.image.getchannel("A"))
    for layer in strokes:
        sized = layer.convert("RGBA").resize(found.image.size, Image.Resampling.BILINEAR)
        red, green, _, paint = np.moveaxis(np.asarray(sized, np.float32), -1, 0)
        share, wanted = paint / 255, np.where(green > red, 255, 0)
        alpha = np.rint(alpha + share * (wanted - alpha)).astype(np.uint8)
    if alpha.max() < 128:
        raise ArgumentError("strokes", "some of the picture kept, in green", "none of it")
    image = composite(found.image)
    image.putalpha(Image.fromarray(alpha))
    return image


def note(prepared: Prepared, notice: str | None) -> str:
    """Return what to know about the cut-out, and the model's notice, in Markdown."""
    lines = [f"The object was {prepared.how}."]
    if notice:
        lines.append(f"**{notice}**")
    return " ".join(lines)


def _square(rgba: Image.Image) -> Image.Image:
    """Put an image in the middle of a transparent square."""
    side = max(rgba.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(rgba, ((side - rgba.width) // 2, (side - rgba.height) // 2))
    return canvas
