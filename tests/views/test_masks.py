"""A mask says what the object is, whatever kind of image it comes as."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.views.cutout import cut_out, masked
from zero123lib.views.images import prepare
from zero123lib.views.loading import ImageError

PHOTO = np.full((60, 90, 3), (200, 40, 30), np.uint8)
INSIDE = np.zeros((60, 90), bool)
INSIDE[20:40, 30:70] = True
BYTES = INSIDE.astype(np.uint8) * 255


def pil(values: np.ndarray, mode: str) -> Image.Image:
    return Image.fromarray(values).convert(mode)


def with_alpha(mode: str) -> Image.Image:
    """Black all over, opaque where the object is: its brightness would say nothing."""
    image = Image.new(mode, (90, 60))
    image.putalpha(Image.fromarray(BYTES))
    return image


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


KINDS: dict[str, Callable[[], object]] = {
    "1": lambda: pil(BYTES, "1"),
    "L": lambda: pil(BYTES, "L"),
    "P": lambda: pil(BYTES, "P"),
    "RGB": lambda: pil(BYTES, "RGB"),
    "CMYK": lambda: pil(BYTES, "CMYK"),
    "LA, opaque": lambda: pil(BYTES, "LA"),
    "RGBA, opaque": lambda: pil(BYTES, "RGBA"),
    "LA": lambda: with_alpha("LA"),
    "RGBA": lambda: with_alpha("RGBA"),
    "I;16": lambda: Image.fromarray(INSIDE.astype(np.uint16) * 65535),
    "I;16 as a file": lambda: png(Image.fromarray(INSIDE.astype(np.uint16) * 65535)),
    "F": lambda: Image.fromarray(INSIDE.astype(np.float32)),
    "1 as a file": lambda: png(pil(BYTES, "1")),
    "bool": lambda: INSIDE,
    "uint8": lambda: BYTES,
    "uint8 with a channel": lambda: BYTES[..., None],
    "uint16": lambda: INSIDE.astype(np.uint16) * 65535,
    "float16": lambda: INSIDE.astype(np.float16),
    "float64": lambda: INSIDE.astype(np.float64),
    "tensor": lambda: torch.from_numpy(INSIDE),
    "tensor with a channel": lambda: torch.from_numpy(INSIDE)[None].float(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_any_kind_is_the_alpha(kind: str) -> None:
    rgba = masked(PHOTO, KINDS[kind]())  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(rgba), np.dstack([PHOTO, BYTES]))
    assert cut_out(rgba).method == "mask" and prepare(rgba, 64).how == "cut out by the mask given"


def test_a_soft_mask_stays_soft_and_a_white_one_keeps_all() -> None:
    soft = np.linspace(0, 1, 90, dtype=np.float32)[None].repeat(60, 0)
    alpha = np.asarray(masked(PHOTO, soft))[..., 3]
    assert np.array_equal(alpha, np.rint(soft * 255))
    whole = masked(PHOTO, np.full((60, 90), 255, np.uint8))  # and no network is asked
    assert cut_out(whole).method == "mask" and np.asarray(whole)[..., 3].min() == 255
    assert prepare(whole, 64).method == "mask"


def test_a_mask_goes_before_the_images_own_transparency() -> None:
    clear = np.dstack([PHOTO, 255 - BYTES])
    rgba = np.asarray(masked(clear, BYTES))
    assert np.array_equal(rgba[..., 3], BYTES)
    assert rgba[30, 50, :3].min() == 255  # what was see-through there is on white


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("/no/such.png", "an image file"),
        (b"words", "an image file"),
        (BYTES[::2, ::2], "the image's 90 x 60 pixels, got 45 x 30"),
        (BYTES.T, "the image's 90 x 60 pixels, got 60 x 90"),
        (np.zeros((60, 90), np.uint8), "white where the object is, got at most 0 of 255"),
        (np.minimum(BYTES, 1), "white where the object is, got at most 1 of 255"),
        (INSIDE.astype(np.uint16) * 255, "16-bit values, 65535 for white"),
        (INSIDE * 255.0, r"floats in \[0, 1\]"),
        (np.where(INSIDE, np.nan, 0.0), r"floats in \[0, 1\]"),
        (INSIDE.astype(np.int64), "uint8, uint16, bool or floats"),
        (Image.new("RGBA", (90, 60)), "every pixel is transparent"),
    ],
    ids=str,
)
def test_a_mask_that_says_nothing_is_refused_by_name(mask: object, expected: str) -> None:
    with pytest.raises(ImageError, match=f"^mask: expected .*{expected}"):
        masked(PHOTO, mask)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(8, 3000), (3000, 8), (8, 8), (2001, 1999)])
def test_any_aspect_is_framed_whole(shape: tuple[int, int]) -> None:
    photo = np.full((*shape, 3), (200, 40, 30), np.uint8)
    prepared = prepare(masked(photo, np.ones(shape, bool)), 64)
    alpha = np.asarray(prepared.rgba.getchannel("A")) > 8  # a line is thinner than a pixel
    sides = sorted(int(alpha.any(axis=axis).sum()) for axis in (0, 1))
    assert sides[1] == pytest.approx(50, abs=2)  # 200/256 of 64
    assert sides[0] == pytest.approx(50 * min(shape) / max(shape), abs=2) and sides[0] > 0
    assert prepared.detail is not None and prepared.detail.width % 64 == 0
