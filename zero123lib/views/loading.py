"""Pictures from outside: files, bytes, arrays and Pillow images, read safely.

Whatever comes in, what goes out is an 8-bit sRGB Pillow image, upright, mode RGB, or RGBA when
the source has transparency. Files are PNG, JPEG or WebP; of an animation the first frame.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

ImageSource = str | Path | bytes | Image.Image | np.ndarray

FORMATS = ("PNG", "JPEG", "WEBP")
MIN_SIDE_PX = 8
MAX_PIXELS = 64_000_000

_EXPECTED_FILE = "expected a PNG, JPEG or WebP picture"


class ImageError(ValueError):
    """A picture that cannot be used; the message names what was expected and what came."""


def load_image(image: ImageSource, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One picture as 8-bit sRGB, mode RGB or RGBA.

    EXIF orientation is applied, 16-bit values are scaled, embedded colour profiles converted.

    Args:
        image: a path; the bytes of a file; a Pillow image; or an array [H, W], [H, W, 3] or
            [H, W, 4], uint8, uint16, or floating in [0, 1].
        max_pixels: the largest width * height that is decoded.

    Raises:
        ImageError: missing, not a picture, damaged, smaller than 8 px, larger than `max_pixels`,
            or fully transparent.
    """
    if isinstance(image, np.ndarray):
        upright = _check_size(_from_array(image), max_pixels)
    elif isinstance(image, Image.Image):
        with _image_errors("a Pillow image", max_pixels):
            upright = _to_8_bit_srgb(_check_size(image, max_pixels))
    elif isinstance(image, bytes):
        upright = _read(io.BytesIO(image), f"{len(image)} bytes", max_pixels)
    elif isinstance(image, (str, Path)):
        upright = _read(_existing_file(image), repr(str(image)), max_pixels)
    else:
        raise ImageError(
            "image: expected a path, bytes, a Pillow image or a numpy array, "
            f"got {type(image).__name__}"
        )
    if upright.mode == "RGBA" and upright.getchannel("A").getextrema() == (0, 0):
        raise ImageError(
            "image: expected something visible, got an empty picture: every pixel is transparent"
        )
    return upright


def _existing_file(path: str | Path) -> Path:
    try:
        found = Path(path).is_file()
    except (OSError, ValueError) as error:  # a name too long, a closed folder, a NUL
        raise ImageError(f"image: {_EXPECTED_FILE}, got {str(path)!r}: {error}") from error
    if not found:
        raise ImageError(f"image: {_EXPECTED_FILE}, got {str(path)!r}, and there is no such file")
    return Path(path)


def _read(file: Path | io.BytesIO, name: str, max_pixels: int) -> Image.Image:
    """Decode a file of the allowed formats; `name` says in errors what came."""
    with _image_errors(name, max_pixels), Image.open(file, formats=FORMATS) as image:
        return _to_8_bit_srgb(_check_size(image, max_pixels))


@contextmanager
def _image_errors(name: str, max_pixels: int) -> Iterator[None]:
    """Whatever goes wrong while decoding becomes an `ImageError` of one line."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"image: {_EXPECTED_FILE}, got {name}, which is none of them") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"image: expected at most {max_pixels} pixels, got {name}") from error
    except Exception as error:
        # Decoders meet damaged files with errors of any type; all mean the same to the caller.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"image: {_EXPECTED_FILE}, got {name}, damaged: {reason}") from error


def _check_size(image: Image.Image, max_pixels: int) -> Image.Image:
    width, height = image.size
    if min(width, height) < MIN_SIDE_PX:
        raise ImageError(
            f"image: expected at least {MIN_SIDE_PX} x {MIN_SIDE_PX} pixels, got {width} x {height}"
        )
    if width * height > max_pixels:
        raise ImageError(f"image: expected at most {max_pixels} pixels, got {width} x {height}")
    return image


def _from_array(array: np.ndarray) -> Image.Image:
    """Pillow RGB or RGBA of an array [H, W], [H, W, 3] or [H, W, 4]."""
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise ImageError(
            f"image: expected an array [H, W, 3] or [H, W, 4], got shape {list(array.shape)}"
        )
    if min(array.shape[:2]) < MIN_SIDE_PX:
        height, width = array.shape[:2]
        raise ImageError(
            f"image: expected at least {MIN_SIDE_PX} x {MIN_SIDE_PX} pixels, got {width} x {height}"
        )
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not (low >= 0.0 and high <= 1.0):
            raise ImageError(
                f"image: expected floats in [0, 1], got values from {low:g} to {high:g}"
            )
        array = np.rint(np.asarray(array, np.float64) * 255.0).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = _eight_bits(array)
    elif array.dtype != np.uint8:
        raise ImageError(f"image: expected uint8, uint16 or floats in [0, 1], got {array.dtype}")
    image = Image.fromarray(np.ascontiguousarray(array))
    return image.convert("RGB") if image.mode == "L" else image


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """uint8 of 16-bit values, scaled: 65535 becomes 255."""
    return np.rint(np.clip(values, 0, 65535) / 257.0).astype(np.uint8)


def _to_8_bit_srgb(image: Image.Image) -> Image.Image:
    """Upright RGB or RGBA of a decoded Pillow image of any mode, without its metadata."""
    profile = image.info.get("icc_profile")
    image = _from_high_precision(ImageOps.exif_transpose(image))
    if image.mode == "La":
        image = image.convert("LA")
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("1", "L", "LA"):
        image = image.convert("L")
    elif alpha is not None:
        image = image.convert("RGBA").convert("RGB")
    rgb = _srgb(image, profile) if profile else image.convert("RGB")
    if alpha is not None:
        rgb.putalpha(alpha)
    rgb.info = {}
    return rgb


def _from_high_precision(image: Image.Image) -> Image.Image:
    """Grey pictures of more than 8 bits (16-bit PNG; Pillow's I as 16 bits, F in [0, 1])."""
    if image.mode == "F":
        return _from_array(np.asarray(image))
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_eight_bits(values))
    transparent = image.info.get("transparency")
    if transparent is not None:
        # The key names a 16-bit value, which no longer exists once the picture has 8 bits.
        alpha = np.where(values == transparent, 0, 255).astype(np.uint8)
        grey = Image.merge("LA", (grey, Image.fromarray(alpha)))
    return grey


def _srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB by the embedded ICC profile; one that is broken or of another colour model has no say."""
    as_is = image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = str(getattr(source.profile, "xcolor_space", "")).strip()
        if space == "RGB" and image.mode != "CMYK":
            image = as_is
        is_srgb = "sRGB" in ImageCms.getProfileDescription(source)
        if is_srgb or image.mode != {"GRAY": "L", "CMYK": "CMYK", "RGB": "RGB"}.get(space):
            return as_is
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return as_is
    return converted or as_is
