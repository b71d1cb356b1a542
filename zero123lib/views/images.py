"""From any image to the condition of the model, and from its tensors back to images.

At the edges images are Pillow's, 8-bit sRGB; at the diffusion boundary float tensors
[..., 3, H, W] in [-1, 1]. Alpha is straight (not premultiplied) in RGBA images; whatever
mixes pixels (resizing, compositing) weighs colours by alpha, so edges get no dark or bright rim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._choices import Preprocess
from zero123lib._errors import ArgumentError

from .cutout import (
    HOW,
    CutOut,
    CutOutMethod,
    cut_out,
    cut_out_loaded,
    has_meaningful_alpha,
    masked,
    rembg_model,
)
from .errors import ImageError
from .framing import (
    FOREGROUND_RATIO,
    check_ratio,
    composite,
    object_px,
    official_frame,
    recenter,
)
from .loading import FIRST_FRAME, MAX_PIXELS, MIN_SIDE_PX, ImageSource, load_image
from .sheet import contact_sheet

__all__ = [
    "FOREGROUND_RATIO",
    "MAX_PIXELS",
    "MIN_SIDE_PX",
    "MOST_DARKNESS",
    "CutOut",
    "CutOutMethod",
    "ImageError",
    "ImageSource",
    "Prepared",
    "Preprocess",
    "alpha_from_white",
    "composite",
    "contact_sheet",
    "cut_out",
    "framed_detail",
    "has_meaningful_alpha",
    "load_image",
    "masked",
    "object_pixels",
    "prepare",
    "recenter",
    "rembg_model",
    "to_pil",
    "to_pils",
    "to_tensor",
]

# auto: cut out with soft alpha, recentre at the foreground ratio, on white
# official: the framing of the official demo: hard mask, at most 200 of 256 px, never enlarged
# none: the image is already square and framed; what is see-through is put on white. At 256 px,
#     what the official demo makes of a square image without its preprocessing
# The official demo's own cut-out is given RGB alone, without the image's transparency.
# Here transparency comes first in all of them, and the numbers are the official ones from there.
# The official demo first bounds the image, `raw_im.thumbnail([1536, 1536])`.
WORKING_SIDE_PX = 1536
# The most of `Prepared.detail`, which a texture has texels for.
_DETAIL_PX = 1024
# A condition that is nowhere so many 8-bit levels from white shows nothing.
_LEAST_LEVELS = 8
# What is this much darker than white is object, whatever the object.
MOST_DARKNESS = 0.3


@dataclass(frozen=True, eq=False)
class Prepared:
    """Holds what the model is conditioned on, and how it came about.

    Attributes:
        image: RGB, size x size, on white: `tensor` in 8 bits.
        rgba: RGBA, size x size: the same framing with alpha, for previews.
        tensor: float32 [3, size, size] in [-1, 1], the condition itself.
        method: what made the alpha (see `CutOut.method`); "none" when nothing was cut out.
        preprocess: how it was framed; "none" also for a tensor given as it is.
        foreground_fraction: mean of the framed alpha, in [0, 1].
        first_frame: whether the file has more frames, of which this is the first.
        detail: RGBA, square: the same framing at the pixels that the source has, for textures; None
            of tensors and of "official".
    """

    image: Image.Image
    rgba: Image.Image
    tensor: Tensor
    method: str
    preprocess: Preprocess
    foreground_fraction: float
    first_frame: bool = False
    detail: Image.Image | None = None

    @property
    def how(self) -> str:
        """Return what to tell of it in words, such as "cut out by its own transparency"."""
        return HOW[self.method] + (", the first of its frames" if self.first_frame else "")


def prepare(
    image: ImageSource | Tensor,
    size: int = 256,
    preprocess: Preprocess = "auto",
    foreground_ratio: float = FOREGROUND_RATIO,
    method: CutOutMethod = "auto",
) -> Prepared:
    """Make the condition of the model from an image.

    Args:
        image: anything that `load_image` takes; but a floating tensor with its channels first is
            a condition already: [3, size, size] in [-1, 1], which passes unchanged.
        size: pixels of the square result.
        preprocess: see `Preprocess`.
        foreground_ratio: longest side of the object over `size`; used by "auto" alone.
        method: how "auto" and "official" cut the object out.

    Raises:
        ImageError: the image cannot be read, nothing stands out in it or shows on white, or
            "none" was asked and it is not square.
        ArgumentError: another argument is out of range.
    """
    if preprocess not in get_args(Preprocess):
        names = " or ".join(repr(name) for name in get_args(Preprocess))
        raise ArgumentError("preprocess", names, repr(preprocess))
    if size < MIN_SIDE_PX:
        raise ArgumentError("size", f"at least {MIN_SIDE_PX} pixels", repr(size))
    check_ratio(foreground_ratio)
    if isinstance(image, Tensor) and _is_condition(image):
        return _prepared_tensor(image, size)
    loaded = load_image(image)
    prepared = _framed(loaded, size, preprocess, foreground_ratio, method)
    if prepared.tensor.min() > 1.0 - _LEAST_LEVELS / 127.5:
        raise ImageError("image", "an object that shows on white", "one that is white all over")
    return replace(prepared, first_frame=bool(loaded.info.get(FIRST_FRAME)))


def _framed(
    image: Image.Image, size: int, preprocess: Preprocess, ratio: float, method: CutOutMethod
) -> Prepared:
    if preprocess == "none":
        _check_square(image)
    original = image.copy() if max(image.size) > WORKING_SIDE_PX else image
    image.thumbnail((WORKING_SIDE_PX, WORKING_SIDE_PX), Image.Resampling.LANCZOS)
    if preprocess == "none":
        rgba = _resized(image.convert("RGBA"), size)
        detail = _resized(original.convert("RGBA"), _detail_px(original.width, size))
        return replace(_prepared(_on_white(rgba), rgba, "none", preprocess), detail=detail)
    cut = cut_out_loaded(image, method)
    if preprocess == "official":
        framed, mask = (_resized(part, size) for part in official_frame(cut.image))
        rgba = framed.copy()
        rgba.putalpha(mask)
        return _prepared(to_tensor(framed), rgba, cut.method, preprocess)
    rgba = recenter(cut.image, size, ratio)
    detail = framed_detail(object_pixels(original, cut), size, ratio)
    return replace(_prepared(_on_white(rgba), rgba, cut.method, preprocess), detail=detail)


def object_pixels(original: Image.Image, cut: CutOut) -> Image.Image:
    """Return the object of a cut-out with the pixels of the original, of which it may be smaller.

    Args:
        original: RGB or RGBA.
        cut: of the original, or of a smaller copy.

    Returns:
        RGBA, no longer than `WORKING_SIDE_PX`; around the object less than there was, maybe.
    """
    if original.size == cut.image.size:
        return cut.image
    across, down = (original.size[axis] / cut.image.size[axis] for axis in (0, 1))
    alpha = cut.image.getchannel("A")
    box = left, top, right, bottom = alpha.getbbox() or (0, 0, *alpha.size)
    part = original.crop(
        (round(across * left), round(down * top), round(across * right), round(down * bottom))
    )
    part.thumbnail((WORKING_SIDE_PX, WORKING_SIDE_PX), Image.Resampling.LANCZOS)
    if cut.method not in ("alpha", "mask"):
        part = composite(part)
        part.putalpha(alpha.resize(part.size, Image.Resampling.BICUBIC, box))
    return part


def framed_detail(
    pixels: Image.Image, size: int, foreground_ratio: float = FOREGROUND_RATIO
) -> Image.Image:
    """Return `Prepared.detail` for "auto".

    Args:
        pixels: what `object_pixels` returns.
        size, foreground_ratio: as for `prepare`.
    """
    whole = _detail_px(object_px(pixels) / foreground_ratio, size)
    return recenter(pixels, whole, foreground_ratio)


def _detail_px(there: float, size: int) -> int:
    """Return pixels of an image's detail: about as there are, in multiples of the model's,
    bounded."""
    return size * max(1, min(round(there / size), _DETAIL_PX // size))


def to_tensor(image: Image.Image) -> Tensor:
    """Return float32 [3, H, W] in [-1, 1] of an RGB image; composite one with alpha first."""
    if image.mode != "RGB":
        raise ImageError("image", "an RGB image", f"mode {image.mode}")
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
    return values / 127.5 - 1.0


def to_pil(image: Tensor) -> Image.Image:
    """Return the RGB image of a tensor [3, H, W] in [-1, 1]; values beyond are clamped."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError("image", "a tensor [3, H, W]", str(list(image.shape)))
    values = image.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(values).all()):
        raise ImageError("image", "finite values in [-1, 1]", "NaN or infinity")
    levels = ((values + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def to_pils(images: Tensor) -> list[Image.Image]:
    """Return RGB images of a tensor [..., 3, H, W] in [-1, 1], leading axes flattened in order."""
    if images.ndim < 3:
        raise ImageError("images", "a tensor [..., 3, H, W]", str(list(images.shape)))
    return [to_pil(image) for image in images.reshape(-1, *images.shape[-3:])]


def _prepared(tensor: Tensor, rgba: Image.Image, method: str, preprocess: Preprocess) -> Prepared:
    fraction = float(np.asarray(rgba.getchannel("A"), np.float64).mean() / 255.0)
    return Prepared(to_pil(tensor), rgba, tensor, method, preprocess, fraction)


def _on_white(rgba: Image.Image) -> Tensor:
    """float32 [3, H, W] in [-1, 1] of an RGBA image on white, not rounded to 8 bits.

    Operation by operation as in the official demo (`gradio_new.py: preprocess_image`).
    """
    values = np.asarray(rgba, np.float32) / 255.0
    alpha = values[..., 3:]
    mixed = alpha * values[..., :3] + (1.0 - alpha)
    return torch.from_numpy(mixed * 2.0 - 1.0).permute(2, 0, 1).contiguous()


def alpha_from_white(images: Tensor, opaque_darkness: float = MOST_DARKNESS) -> Tensor:
    """Give images on white an alpha: ``rgb alpha + 1 - alpha`` is the image again.

    Alpha rises with the darkness of the darkest channel, to 1 at `opaque_darkness`. It is no less
    than what leaves colours of at least 0.

    Args:
        images: ``[..., 3, H, W]`` in [0, 1].
        opaque_darkness: how much darker than white all that is object is.

    Returns:
        ``[..., H, W, 4]``, straight alpha.
    """
    rgb = images.movedim(-3, -1).float()
    alpha = ((1 - rgb.amin(-1, keepdim=True)) / opaque_darkness).clamp(0, 1)
    straight = 1 - (1 - rgb) / alpha.clamp_min(1e-6)
    return torch.cat([torch.where(alpha > 0, straight, 1.0).clamp(0, 1), alpha], -1)


def _is_condition(tensor: Tensor) -> bool:
    """Tell whether a tensor is meant as a condition, and not as an image with its channels last."""
    is_image = tensor.ndim == 2 or (tensor.ndim == 3 and tensor.shape[2] in (1, 3, 4))
    return tensor.is_floating_point() and not is_image


def _prepared_tensor(tensor: Tensor, size: int) -> Prepared:
    if tuple(tensor.shape) != (3, size, size):
        raise ImageError("image", f"a tensor [3, {size}, {size}]", str(list(tensor.shape)))
    condition = tensor.detach().float()
    if not bool((condition.abs() <= 1.0 + 1e-4).all()):
        low, high = float(condition.min()), float(condition.max())
        got = f"values from {low:g} to {high:g}"
        raise ImageError("image", "tensor values in [-1, 1]", got)
    image = to_pil(condition)
    return Prepared(image, image.convert("RGBA"), condition, "none", "none", 1.0)


def _check_square(image: Image.Image) -> None:
    if image.width != image.height:
        expected = "a square image with preprocess='none'"
        raise ImageError("image", expected, f"{image.width} x {image.height}")


def _resized(square: Image.Image, size: int) -> Image.Image:
    if square.width == size:
        return square
    return square.resize((size, size), Image.Resampling.LANCZOS)
