"""What colours the faces of a file, before and after its textures are decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from zero123lib.meshes.mesh import AlphaMode, Material

MAX_TEXTURE_PIXELS = 64_000_000

# Of a mesh without material and colours, linear: white would not stand out from the background.
PLAIN = (0.6, 0.6, 0.6, 1.0)

# What lies beside an image: the image again, its outermost texels, or the image mirrored.
Wrap = Literal["repeat", "clamp", "mirror"]

# Decoders that need no other program; Pillow has one that runs PostScript.
_FORMATS = (
    "PNG", "JPEG", "WEBP", "AVIF", "BMP", "GIF", "TIFF", "TGA", "DDS", "JPEG2000", "PPM", "PCX",
    "SGI",
)  # fmt: skip
_KTX = (b"\xabKTX 11\xbb", b"\xabKTX 20\xbb")
# Coordinates of clamped images that lie further out than this are taken for this.
_MARGIN = 1.0


@dataclass(frozen=True, eq=False)
class Look:
    """A material whose texture is still a file.

    Attributes:
        color, alpha, alpha_cutoff: as of `Material`.
        image: opens the texture's image, or raises ValueError; None where there is no texture.
        wrap: what lies beside the image, across and up.
    """

    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    image: Callable[[], Image.Image] | None = None
    alpha: AlphaMode = "opaque"
    alpha_cutoff: float = 0.5
    wrap: tuple[Wrap, Wrap] = ("repeat", "repeat")


# Of faces without a material, without colours at their vertices and with such.
PLAIN_LOOK, WHITE_LOOK = Look(PLAIN), Look()


def open_image(content: bytes | memoryview, name: str) -> Image.Image:
    """Open an image file's content, without decoding it yet.

    Raises:
        ValueError: it is not one, it is too large, or it is damaged; the message has `name`.
    """
    if bytes(content[:8]) in _KTX:
        raise ValueError(f"expected an image, got {name}, which is KTX and not read here")
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError as error:
        # Pillow's own words would show the address of the buffer.
        raise ValueError(f"expected an image, got {name}, damaged or of another kind") from error
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"expected an image, got {name}, damaged: {reason[:200]}") from error
    if image.width * image.height > MAX_TEXTURE_PIXELS:
        raise ValueError(
            f"expected textures of at most {MAX_TEXTURE_PIXELS} pixels, got {image.width} x "
            f"{image.height}"
        )
    return image


def read_texture(look: Look, max_texels: int) -> np.ndarray | None:
    """Decode a look's image: sRGB with straight alpha, uint8 ``[h, w, 4]``, row 0 on top.

    Args:
        max_texels: a larger image is made smaller.

    Raises:
        ValueError: it is missing, too large or damaged.
    """
    if look.image is None:
        return None
    image = look.image()
    try:
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        # Resizing weighs colours by alpha, which means nothing where the material is opaque.
        image = image.convert("RGB" if look.alpha == "opaque" else "RGBA")
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        raise ValueError(
            f"expected a texture that can be read, got one damaged: {error}"
        ) from error
    width, height = image.size
    if width * height > max_texels:
        factor = (max_texels / (width * height)) ** 0.5
        size = max(int(width * factor), 1), max(int(height * factor), 1)
        image = image.resize(size, Image.Resampling.BOX)
    return np.array(image.convert("RGBA"))


def unfolded(
    texture: np.ndarray, uv: np.ndarray, wrap: tuple[Wrap, Wrap]
) -> tuple[np.ndarray, np.ndarray]:
    """Return a texture that looks the same when it repeats, and the coordinates in it.

    Args:
        texture: ``[h, w, 4]``.
        uv: ``[..., 2]``, origin at the lower left.
        wrap: what lies beside the image, across and up.
    """
    uv = uv.copy()
    for axis, way in enumerate(wrap):
        along = uv[..., axis]
        if way == "repeat" or not len(along) or (along.min() >= 0.0 and along.max() <= 1.0):
            continue
        # Rows run down and v runs up: across v the image is turned over for the while.
        texture = texture if axis == 0 else texture[::-1].swapaxes(0, 1)
        width = texture.shape[1]
        if way == "mirror":
            texture = np.concatenate([texture, texture[:, ::-1]], axis=1)
            along = along / 2.0
        else:
            along = along.clip(-_MARGIN, 1.0 + _MARGIN)
            # One texel more, for the lookup between texels.
            low = int(np.ceil(max(-along.min(), 0.0) * width)) + 1
            high = int(np.ceil(max(along.max() - 1.0, 0.0) * width)) + 1
            texture = np.pad(texture, ((0, 0), (low, high), (0, 0)), mode="edge")
            along = (along * width + low) / (width + low + high)
        uv[..., axis] = along
        texture = texture if axis == 0 else texture.swapaxes(0, 1)[::-1]
    return np.ascontiguousarray(texture), uv


def as_material(look: Look, texture: np.ndarray | None) -> Material:
    """Return the material of a look whose texture is ``[h, w, 4]``."""
    decoded = None if texture is None else torch.from_numpy(texture)
    return Material(look.color, decoded, look.alpha, look.alpha_cutoff)


def without_image(look: Look) -> Look:
    """Return a look without its texture."""
    return replace(look, image=None)


def as_shares(values: np.ndarray) -> np.ndarray:
    """Return as float64 in [0, 1] colours in any numbers that files have them in.

    Whole numbers of one or two bytes fill their type, wider ones run to 255. So do floats of which
    one is above 2; others run to 1.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
        shares = values / np.iinfo(values.dtype).max
    else:
        shares = values.astype(np.float64)
        if not np.isfinite(shares).all():
            raise ValueError("expected finite colours, got NaN or infinity")
        if values.dtype.kind in "iu" or shares.max(initial=0.0) > 2.0:
            shares = shares / 255.0
    return shares.clip(0.0, 1.0)
