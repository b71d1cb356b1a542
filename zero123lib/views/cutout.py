"""Cut the object out of its background, and say by which means.

The image's own transparency comes first, or a mask that is given; then a small network that comes
with the library (`segment.py`). rembg's larger ones are used when asked for, where it is installed
and its model is on disk: nothing here ever downloads one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib._optional import require

from . import u2net
from .errors import ImageError
from .framing import composite
from .loading import FIRST_FRAME, MASKED, ImageSource, load_image
from .segment import foreground

# auto: the first of the next two that applies
# alpha: the image's own transparency
# u2netp: the network that comes with the library
# rembg: a larger network, soft dependency
# none: everything is foreground
CutOutMethod = Literal["auto", "alpha", "u2netp", "rembg", "none"]

# What to tell users of a cut-out's `method`.
HOW = {
    "alpha": "cut out by its own transparency",
    "mask": "cut out by the mask given",
    "u2netp": f"cut out by {u2net.NAME}",
    "rembg": "cut out by rembg",
    "none": "taken as it is",
}

# Networks of rembg by preference; the first whose file is there is used.
REMBG_MODELS = ("isnet-general-use", "u2net", "u2netp", "silueta")

# Below this share of see-through pixels an alpha channel is an accident (rounded corners, say).
_LEAST_SEE_THROUGH = 0.01


@dataclass(frozen=True, eq=False)
class CutOut:
    """An object without its background.

    Attributes:
        image: RGBA, the size of the source, soft straight (not premultiplied) alpha.
        method: what made the alpha: "alpha", "mask", "u2netp", "rembg" or "none".
    """

    image: Image.Image
    method: Literal["alpha", "mask", "u2netp", "rembg", "none"]

    @property
    def foreground_fraction(self) -> float:
        """Mean of alpha over the image, in [0, 1]."""
        return float(np.asarray(self.image.getchannel("A")).mean() / 255.0)


def networks_of(method: str | None) -> list[str]:
    """Name the bundled network, with its licence, that a `CutOut` of this method passed through."""
    return [u2net.NAME] if method == "u2netp" else []


def cut_out(image: ImageSource, method: CutOutMethod = "auto") -> CutOut:
    """Return the object of an image as RGBA with soft alpha.

    Args:
        image: anything that `load_image` takes.
        method: how; see `CutOutMethod`. With a method other than "alpha", the transparency that
            the image may have is first put on white.

    Raises:
        ImageError: the image cannot be read; "alpha" and it has none; or nothing in it stands
            out from the background.
        MissingExtraError: "rembg" and it is not installed.
        ValueError: unknown method, or "rembg" and none of its models is on disk.
    """
    return cut_out_loaded(load_image(image), method)


def cut_out_loaded(image: Image.Image, method: CutOutMethod = "auto") -> CutOut:
    """Cut out what `load_image` returned, or a smaller copy, however small: see `cut_out`.

    Raises:
        ImageError, MissingExtraError, ValueError: as for `cut_out`.
    """
    if method not in get_args(CutOutMethod):
        names = ", ".join(repr(name) for name in get_args(CutOutMethod))
        raise ArgumentError("method", f"one of {names}", repr(method))
    if method == "alpha" and image.mode != "RGBA":
        raise ImageError("image", "an image with transparency", "an opaque one")
    if method in ("auto", "alpha") and image.info.get(MASKED):
        return CutOut(image, "mask")
    if method == "alpha" or (method == "auto" and has_meaningful_alpha(image)):
        return CutOut(image, "alpha")
    opaque = image if image.mode == "RGB" else composite(image)
    if method == "none":
        return CutOut(opaque.convert("RGBA"), "none")
    if method == "rembg":
        return CutOut(_with_alpha(opaque, _rembg_alpha(opaque)), "rembg")
    return CutOut(_with_alpha(opaque, foreground(opaque)), "u2netp")


def masked(image: ImageSource, mask: ImageSource) -> Image.Image:
    """Give an image the alpha of a mask, for all that takes images.

    Args:
        image: anything that `load_image` takes; its own transparency is put on white.
        mask: the same size; its alpha where it has any, else its brightness, white being the
            object.

    Returns:
        RGBA, the size of the image.

    Raises:
        ImageError: one of them cannot be read, the sizes differ, or the mask is nowhere at least
            half white.
    """
    loaded = load_image(image)
    opaque = composite(loaded)
    try:
        given = load_image(mask)
    except ArgumentError as error:
        raise error.renamed("mask") from error
    if given.size != opaque.size:
        expected = f"the image's {opaque.width} x {opaque.height} pixels"
        raise ImageError("mask", expected, f"{given.width} x {given.height}")
    alpha = given.getchannel("A") if has_meaningful_alpha(given) else given.convert("L")
    if (most := int(np.asarray(alpha).max())) < 128:
        raise ImageError("mask", "white where the object is", f"at most {most} of 255")
    opaque.putalpha(alpha)
    opaque.info.update({FIRST_FRAME: loaded.info.get(FIRST_FRAME), MASKED: True})
    return opaque


def has_meaningful_alpha(image: Image.Image) -> bool:
    """Tell whether 1 % or more of an RGBA image is more transparent than not, but not all alike."""
    if image.mode != "RGBA":
        return False
    alpha = np.asarray(image.getchannel("A"))
    return bool((alpha < 128).mean() >= _LEAST_SEE_THROUGH and alpha.min() < alpha.max())


def rembg_model() -> Path | None:
    """Return the file of the rembg network that would be used; None when rembg or every file lacks.

    Looks where rembg itself does: `U2NET_HOME`, else `.u2net` in `XDG_DATA_HOME` or the home.
    """
    if find_spec("rembg") is None:
        return None
    default = os.path.join(os.environ.get("XDG_DATA_HOME", "~"), ".u2net")
    folder = Path(os.environ.get("U2NET_HOME", default)).expanduser()
    files = (folder / f"{name}.onnx" for name in REMBG_MODELS)
    return next((file for file in files if file.is_file()), None)


def _rembg_alpha(opaque: Image.Image) -> Image.Image:
    """Return a soft mask, mode L, by rembg."""
    file = rembg_model()
    if file is None and find_spec("rembg") is not None:  # before minutes of importing
        where = f"a rembg model on disk ({', '.join(REMBG_MODELS)}) in U2NET_HOME or ~/.u2net"
        raise ArgumentError("method", where, "none; `rembg d u2net` downloads one")
    rembg = require("rembg", "cutout")
    assert file is not None, "else there is no rembg"
    return rembg.remove(opaque, session=_rembg_session(file), only_mask=True).convert("L")


@lru_cache(maxsize=1)
def _rembg_session(file: Path) -> Any:
    """Return a rembg session on a file at hand.

    rembg's own session compares a checksum and downloads anew when it differs; this one does not.
    """
    sessions = require("rembg.sessions", "cutout").sessions_class
    onnxruntime = require("onnxruntime", "cutout")
    base = next(kind for kind in sessions if kind.name() == file.stem)

    class LocalSession(base):
        @classmethod
        def download_models(cls, *args: Any, **kwargs: Any) -> str:
            return str(file)

    return LocalSession(file.stem, onnxruntime.SessionOptions())


def _with_alpha(opaque: Image.Image, alpha: Image.Image) -> Image.Image:
    if np.asarray(alpha).max() < 128:
        raise ImageError(
            "image",
            "an object that stands out from its background",
            "none: give a mask, or an image with transparency",
        )
    cut = opaque.convert("RGBA")
    cut.putalpha(alpha)
    return cut
