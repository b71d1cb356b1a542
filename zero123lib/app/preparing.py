"""From the uploaded file to what the model is given, and what to show of the way there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image

from zero123lib.app.sessions import Session
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.cutout import cut_out_loaded
from zero123lib.views.images import CutOut, Prepared, composite, prepare
from zero123lib.views.loading import FIRST_FRAME

# As `prepare` bounds pictures, and what the page shows of them.
_WORKING_SIDE_PX, _SHOWN_SIDE_PX = 1536, 640


@dataclass(frozen=True)
class Framing:
    """How a picture becomes the condition.

    Attributes:
        ratio: longest side of the object over the picture's, in (0, 1]; used when recentred.
        recentre: put the object in the middle at that size, else keep the picture's own framing.
        method: how it is cut out, see `zero123lib.views.cutout.CutOutMethod`.
    """

    ratio: float
    recentre: bool
    method: str


@dataclass(frozen=True, eq=False)
class Cut:
    """A picture and its object, both at most 1536 px."""

    picture: Image.Image
    cut: CutOut


def cut(session: Session, read: Callable[[], Image.Image], key: str, method: str) -> Cut:
    """The object cut out of the picture that `read` brings, unless the session remembers it."""

    def make() -> Cut:
        small = read()
        small.thumbnail((_WORKING_SIDE_PX, _WORKING_SIDE_PX), Image.Resampling.LANCZOS)
        return Cut(small, cut_out_loaded(small, method))  # type: ignore[arg-type]

    return session.remember("cut", (key, method), make)


def condition(pipe: Zero123Pipeline, found: Cut, framing: Framing) -> Prepared:
    """What the model is given: as `pipe.prepare` makes it, when recentred."""
    if framing.recentre:
        prepared = prepare(found.cut.image, pipe.image_size, "auto", framing.ratio, "alpha")
    else:
        prepared = prepare(_square(found.cut.image), pipe.image_size, "none")
    first_frame = bool(found.picture.info.get(FIRST_FRAME))
    return replace(prepared, method=found.cut.method, first_frame=first_frame)


def before_after(found: Cut) -> tuple[Image.Image, Image.Image]:
    """The picture as it came and its object alone, square, on white, for the slider."""
    before, after = (
        composite(_square(i.convert("RGBA"))) for i in (found.picture, found.cut.image)
    )
    for image in (before, after):
        image.thumbnail((_SHOWN_SIDE_PX, _SHOWN_SIDE_PX), Image.Resampling.LANCZOS)
    return before, after


def note(prepared: Prepared, notice: str | None) -> str:
    """What to know about the cut-out, and the model's notice of it, in Markdown."""
    lines = [f"The object was {prepared.how}."]
    if prepared.method == "classical":
        lines.append("A picture with a transparent background is safer.")
    if notice:
        lines.append(f"**{notice}**")
    return " ".join(lines)


def _square(rgba: Image.Image) -> Image.Image:
    """In the middle of a transparent square."""
    side = max(rgba.size)
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(rgba, ((side - rgba.width) // 2, (side - rgba.height) // 2))
    return canvas
