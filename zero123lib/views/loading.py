"""Images from outside: files, bytes, streams, arrays, tensors and Pillow images, read safely.

Whatever comes in, what goes out is an 8-bit sRGB Pillow image, upright, mode RGB, or RGBA when
the source has transparency. Files are those of `FORMATS`, and HEIC where pillow-heif is installed;
of a file with several frames the first is read, and `info[FIRST_FRAME]` says so.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from PIL import Image

from zero123lib._optional import MissingExtraError, require

from .eight_bits import (
    MIN_SIDE_PX,
    check_size,
    fix_transparent_key,
    from_array,
    from_tensor,
    to_8_bit_srgb,
)
from .errors import ImageError

if TYPE_CHECKING:  # files are read before torch is loaded
    from torch import Tensor

__all__ = [
    "FILE_KINDS",
    "FIRST_FRAME",
    "FORMATS",
    "LEAST_ALPHA",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "SUFFIXES",
    "ImageError",
    "ImageSource",
    "load_image",
    "read_bytes",
]

ImageSource: TypeAlias = Union[
    str, os.PathLike[str], bytes, bytearray, IO[bytes], Image.Image, np.ndarray, "Tensor"
]

# Pillow tries these and no others: some of its readers start programs or follow paths.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
FILE_KINDS = "PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC"
SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif",
)  # fmt: skip
MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20
# An image that is nowhere as opaque as this, of 255, leaves next to nothing on white.
LEAST_ALPHA = 64
# The key of an image's `info` that is True where only the first of several frames was read.
FIRST_FRAME = "first_frame"
# In `info` of an image whose alpha somebody gave: it says what the object is, whatever it is like.
MASKED = "masked"

# Pillow's remarks on damaged metadata and on sizes that are refused here would stand beside our one
# line. Appended: whoever has asked for them still sees them.
for _kind in (UserWarning, Image.DecompressionBombWarning):
    warnings.filterwarnings("ignore", category=_kind, module=r"PIL\.", append=True)
# Nor what it logs of damaged files, unless somebody listens to its log.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_EXPECTED = f"an image file ({FILE_KINDS})"
# Bytes 4 to 12 of a HEIC file, or of one whose kind only a list further on tells.
_HEIF_BRANDS = tuple(
    b"ftyp" + brand
    for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|data:", re.IGNORECASE)


def load_image(
    image: ImageSource, max_pixels: int = MAX_PIXELS, name: str | None = None
) -> Image.Image:
    """Read one image as 8-bit sRGB, mode RGB or RGBA.

    EXIF orientation is applied, 16-bit values are scaled, embedded colour profiles converted.

    Args:
        image: a path; the bytes of a file, or a binary stream of them; a Pillow image; or an array
            [H, W], [H, W, 3] or [H, W, 4], uint8, uint16, bool, or floating in [0, 1]. A tensor
            may also have its channels first.
        max_pixels: the largest width * height that is decoded.
        name: what errors call it; the path, or the number of bytes, unless told.

    Raises:
        ImageError: missing, a folder, an address (nothing is ever fetched), not an image, damaged,
            smaller than 8 px, larger than `max_pixels`, values without a scale, or an alpha
            channel that is nowhere at least `LEAST_ALPHA`.
    """
    if isinstance(image, np.ndarray):
        upright = from_array(image, max_pixels)
    elif _is_tensor(image):
        upright = from_tensor(image, max_pixels)
    elif isinstance(image, Image.Image):
        with _image_errors(name or "a Pillow image", max_pixels):
            upright = _marked(_decoded(image, max_pixels), bool(image.info.get(FIRST_FRAME)))
            upright.info.update({MASKED: True} if image.info.get(MASKED) else {})
    elif isinstance(image, (str, os.PathLike)):
        shown = name or _shown(image)
        upright = _read(_existing_file(image, shown), shown, max_pixels)
    elif isinstance(image, (bytes, bytearray)) or hasattr(image, "read"):
        content = image if isinstance(image, (bytes, bytearray)) else read_bytes(image)
        upright = _read(io.BytesIO(content), name or f"{len(content)} bytes", max_pixels)
    else:
        expected = "a path, bytes, a binary stream, a Pillow image, an array or a tensor"
        raise ImageError("image", expected, type(image).__name__)
    _check_alpha(upright)
    return upright


def _is_tensor(image: Any) -> TypeGuard[Tensor]:
    # Without torch there is none yet.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def read_bytes(stream: Any) -> bytes:
    """Read a binary stream to its end; one of more than `MAX_BYTES` is refused with ImageError."""
    content = stream.read(MAX_BYTES + 1)
    if not isinstance(content, bytes):
        raise ImageError("image", "a binary stream", f"one of {type(content).__name__}")
    if len(content) > MAX_BYTES:
        raise ImageError("image", f"at most {MAX_BYTES} bytes", "more")
    return content


def _existing_file(path: str | os.PathLike[str], shown: str) -> Path:
    place, is_folder = Path(path), False
    try:
        if place.is_file():
            return place
        is_folder = place.is_dir()
        problem = "which is no regular file" if place.exists() else "and there is no such file"
    except (OSError, ValueError) as error:  # a name too long, a closed folder, a NUL
        problem = getattr(error, "strerror", None) or str(error)
    if is_folder:
        raise ImageError("image", "one image file", f"the folder {shown}: name a file in it")
    if _ADDRESS.match(os.fspath(path)):
        got = f"the address {shown}, which is not fetched: download it first"
        raise ImageError("image", "an image file", got)
    raise ImageError("image", "an image file", f"{shown}, {problem}")


def _shown(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    return repr(text if len(text) <= 200 else f"{text[:200]}...")


def _read(file: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    """Decode a file of the allowed formats; `name` says in errors what came."""
    with _image_errors(name, max_pixels):
        try:
            with Image.open(file, formats=FORMATS) as image:
                fix_transparent_key(image)
                # The other images of an MPO are a camera's previews and depths of the first.
                several = getattr(image, "is_animated", False) and image.format != "MPO"
                return _marked(_decoded(image, max_pixels), several)
        except Image.UnidentifiedImageError:
            head = _head(file)
            if head.startswith(b"version https://git-lfs"):
                got = f"{name}, a Git LFS pointer: run git lfs pull"
                raise ImageError("image", _EXPECTED, got) from None
            if not head[4:].startswith(_HEIF_BRANDS):
                raise
        return _read_heif(file, name, max_pixels)


def _head(file: Path | io.BytesIO) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return stream.read(32)
    return file.getvalue()[:32]


def _read_heif(file: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    """Decode the primary image of a HEIC file; pillow-heif turns it upright itself."""
    try:
        heif = require("pillow_heif", "heic")
    except MissingExtraError as error:
        raise ImageError("image", _EXPECTED, f"{name}, a HEIC file, but {error}") from error
    opened = heif.open_heif(file)
    width, height = opened.size
    check_size(width, height, max_pixels)
    return _marked(_decoded(opened.to_pillow(), max_pixels), len(opened) > 1)


def _decoded(image: Image.Image, max_pixels: int) -> Image.Image:
    check_size(*image.size, max_pixels)
    return to_8_bit_srgb(image)


def _marked(image: Image.Image, several: bool) -> Image.Image:
    if several:
        image.info[FIRST_FRAME] = True
    return image


@contextmanager
def _image_errors(name: str, max_pixels: int) -> Iterator[None]:
    """Turn whatever goes wrong while decoding into an `ImageError` of one line."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError("image", _EXPECTED, f"{name}, which is none of them") from error
    except Image.DecompressionBombError as error:
        raise ImageError("image", f"at most {max_pixels} pixels", name) from error
    except Exception as error:
        # Decoders meet damaged files with errors of any type; all mean the same to the caller.
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, OSError) and error.errno:  # of the system, as of a closed file
            raise ImageError("image", _EXPECTED, f"{name}: {error.strerror}") from error
        raise ImageError("image", _EXPECTED, f"{name}, damaged: {reason[:200]}") from error


def _check_alpha(image: Image.Image) -> None:
    if image.mode != "RGBA":
        return
    highest = int(np.asarray(image.getchannel("A")).max())
    if highest == 0:
        got = "an empty image: every pixel is transparent"
        raise ImageError("image", "something visible", got)
    if highest < LEAST_ALPHA:
        hint = " (multiply a mask of 0 and 1 by 255)" if highest == 1 else ""
        expected = f"something visible, of alpha {LEAST_ALPHA} to 255"
        raise ImageError("image", expected, f"alpha of at most {highest}{hint}")
