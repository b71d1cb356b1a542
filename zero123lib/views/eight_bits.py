"""Arrays, tensors and Pillow images of any mode, as 8-bit sRGB.

What leaves its scale open is refused and not guessed: floats beyond [0, 1], integers that are
neither uint8 nor uint16, and 16-bit values that are all so small that 8 bits would be black.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, ImageOps

from .errors import ImageError

if TYPE_CHECKING:  # files are read before torch is loaded
    from torch import Tensor

MIN_SIDE_PX = 8


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse an image that is smaller than 8 px or larger than `max_pixels`."""
    if min(width, height) < MIN_SIDE_PX:
        expected = f"at least {MIN_SIDE_PX} x {MIN_SIDE_PX} pixels"
        raise ImageError("image", expected, f"{width} x {height}")
    if width * height > max_pixels:
        raise ImageError("image", f"at most {max_pixels} pixels", f"{width} x {height}")


def from_tensor(tensor: Tensor, max_pixels: int) -> Image.Image:
    """Return RGB or RGBA of a tensor, channels first or last, as :func:`from_array` reads it."""
    values = tensor.detach().cpu()
    if values.is_floating_point():
        values = values.float()  # numpy does not know bfloat16
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] >= MIN_SIDE_PX:
        values = values.permute(1, 2, 0)
    return from_array(values.numpy(), max_pixels)


def from_array(array: np.ndarray, max_pixels: int) -> Image.Image:
    """Return RGB or RGBA of an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].

    Args:
        array: uint8; uint16, where 65535 is white; bool, where True is white; or floats in [0, 1].

    Raises:
        ImageError: another shape, type or range.
    """
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        expected = "an array [H, W], [H, W, 3] or [H, W, 4]"
        raise ImageError("image", expected, f"shape {list(array.shape)}")
    check_size(array.shape[1], array.shape[0], max_pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    image = Image.fromarray(np.ascontiguousarray(_eight_bits(array)))
    return image.convert("RGB") if image.mode == "L" else image


def to_uint8(values: Tensor) -> Tensor:
    """Round values in [0, 1] to 8 bits; what is beyond is clamped."""
    return (values.detach().clamp(0.0, 1.0) * 255.0).round().byte()


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Return uint8 of values of any type that has a scale."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if values.dtype == np.uint16:
        return _from_16_bits(values)
    if not np.issubdtype(values.dtype, np.floating):
        raise ImageError("image", "uint8, uint16, bool or floats in [0, 1]", str(values.dtype))
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):
        expected = "floats in [0, 1] (divide values of 8 bits by 255)"
        raise ImageError("image", expected, f"values from {low:g} to {high:g}")
    return np.rint(np.asarray(values, np.float64) * 255.0).astype(np.uint8)


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    """Return uint8 of 16-bit values, scaled: 65535 becomes 255."""
    colours = values[..., :3] if values.ndim == 3 else values
    low, high = int(colours.min()), int(colours.max())
    # Up to 255 all would be black: 8-bit values in a type that is too wide for them.
    if low < 0 or high > 65535 or 0 < high <= 255:
        expected = "16-bit values, 65535 for white (values of 8 bits as uint8 or mode L)"
        raise ImageError("image", expected, f"values from {low} to {high}")
    return np.rint(values / 257.0).astype(np.uint8)


def fix_transparent_key(image: Image.Image) -> None:
    """Bring a PNG's transparent colour to the 8 bits that Pillow gives the pixels themselves.

    Pillow leaves it at the file's own depth, so that no pixel has it. To be called before the
    pixels are read, while the file's depth is known.
    """
    key, tile = image.info.get("transparency"), getattr(image, "tile", None)
    if image.format != "PNG" or not tile:
        return
    if isinstance(key, int) and tile[0].args in ("L;2", "L;4"):
        image.info["transparency"] = key * {"L;2": 85, "L;4": 17}[tile[0].args]
    elif isinstance(key, tuple) and tile[0].args == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def to_8_bit_srgb(image: Image.Image) -> Image.Image:
    """Return upright RGB or RGBA of a Pillow image of any mode, without its metadata."""
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
    """L or LA of grey images of more than 8 bits (I and I;16 as 16 bits, F in [0, 1])."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_eight_bits(values) if image.mode == "F" else _from_16_bits(values))
    transparent = image.info.get("transparency")
    if transparent is not None:
        # The key names a 16-bit value, which no longer exists once the image has 8 bits.
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
