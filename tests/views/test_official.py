"""Parity with the official demo's preprocessing, to the pixel.

The reference below is written from a description of `ldm/util.py: load_and_preprocess` and
`gradio_new.py: preprocess_image`, apart from the library's code; both were compared with the
official functions themselves, run on the same images, and there was no difference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.views.cutout import cut_out
from zero123lib.views.images import Prepared, prepare

LANCZOS = Image.Resampling.LANCZOS


def with_preprocessing(image: Image.Image, cut: Image.Image) -> np.ndarray:
    """float32 [256, 256, 3] in [-1, 1] of an image, and of its cut-out, whose alpha alone counts.

    Both are at most 1536 px. Alpha above 127 is foreground, the rest white; the foreground's box
    goes to the middle of a white canvas, its long side shrunk to 200.
    """
    foreground = np.asarray(cut.getchannel("A")) > 127
    colours = np.asarray(image)[..., :3] * foreground[..., None] + 255 * ~foreground[..., None]
    rows, columns = np.nonzero(foreground)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    part = Image.fromarray(colours.astype(np.uint8)[box])
    part.thumbnail((200, 200), LANCZOS)
    canvas = np.full((256, 256, 3), 255, np.uint8)
    top, left = (256 - part.height) // 2, (256 - part.width) // 2
    canvas[top : top + part.height, left : left + part.width] = np.asarray(part)
    return (canvas / 255.0).astype(np.float32) * 2 - 1


def without_preprocessing(image: Image.Image) -> np.ndarray:
    """float64 [256, 256, 3] in [-1, 1] of an image of at most 1536 px: resized, over white."""
    values = np.asarray(image.convert("RGBA").resize((256, 256), LANCZOS), np.float64) / 255
    alpha = values[..., 3:]
    return (alpha * values[..., :3] + (1 - alpha)) * 2 - 1


def bounded(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.thumbnail((1536, 1536), LANCZOS)
    return image


def assert_official(image: Image.Image, prepared: Prepared) -> None:
    bound = bounded(image)
    opaque = bound.convert("RGB")
    cut = bound if prepared.method == "alpha" else cut_out(opaque, "u2netp").image
    expected = with_preprocessing(bound, cut)
    assert np.array_equal(np.asarray(prepared.image), np.rint((expected + 1) * 127.5))
    torch.testing.assert_close(prepared.tensor.permute(1, 2, 0).numpy(), expected, rtol=0, atol=0)


def assert_unprocessed(image: Image.Image, prepared: Prepared) -> None:
    expected = without_preprocessing(bounded(image))
    # float32 rounding, far below what rounding to 8 bits would take: half a level is 0.004
    np.testing.assert_allclose(
        prepared.tensor.permute(1, 2, 0).numpy(), expected, rtol=0, atol=2**-22
    )
    assert prepared.method == prepared.preprocess == "none"


def blob(
    width: int, height: int, box: tuple[float, float, float, float], soft_px: float = 4.0
) -> Image.Image:
    """RGBA: a soft-edged ellipse in a box (left, top, right, bottom), on colours everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    radii = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    off = np.hypot((x - box[0]) / radii[0] - 1, (y - box[1]) / radii[1] - 1)
    alpha = np.clip((1 - off) * min(radii) / soft_px + 0.5, 0, 1)
    colours = np.stack([3 * x, 5 * y, x + 2 * y], axis=-1) % 180
    colours = colours + np.random.default_rng(0).integers(0, 76, colours.shape)
    return Image.fromarray(np.dstack([colours, 255 * alpha]).astype(np.uint8))


def alternating(alphas: tuple[int, int]) -> Image.Image:
    """A blob whose alpha takes turns, column by column."""
    values = np.array(blob(300, 260, (40, 30, 260, 240)))
    values[..., 3] = np.where(np.arange(300) % 2, *alphas) * (values[..., 3] > 0)
    return Image.fromarray(values)


IMAGES = {
    "three pixels": blob(300, 200, (148, 88, 152, 92), 1),
    "smaller than 200": blob(255, 199, (21, 25, 221, 177)),
    "beyond all edges": blob(400, 300, (-30, -30, 430, 330)),
    "in the corner": blob(333, 271, (-150, -120, 150, 120)),
    "wide": blob(4000, 300, (100, 30, 3700, 270)),
    "tall": blob(97, 1201, (20, 20, 80, 1180)),
    "large and odd": blob(2111, 1777, (200, 123, 1800, 1677)),
    "alpha about one half": alternating((127, 128)),
    "square": blob(256, 256, (20, 40, 220, 220)),
    "square, to shrink": blob(1537, 1537, (100, 200, 1300, 1300)),
    "square, to enlarge": blob(100, 100, (10, 20, 90, 80)),
}


@pytest.mark.parametrize("name", IMAGES)
def test_official_is_the_demo_with_its_preprocessing(name: str) -> None:
    prepared = prepare(IMAGES[name], 256, "official")
    assert prepared.method == "alpha" and prepared.preprocess == "official"
    assert_official(IMAGES[name], prepared)


@pytest.mark.parametrize("name", [name for name in IMAGES if name.startswith("square")])
def test_none_is_the_demo_without_its_preprocessing(name: str) -> None:
    assert_unprocessed(IMAGES[name], prepare(IMAGES[name], 256, "none"))


def test_opaque_images_follow_the_demo_too() -> None:
    large = blob(1600, 1600, (200, 300, 1400, 1300))
    opaque = Image.new("RGBA", large.size, (200, 210, 220, 255))
    opaque.alpha_composite(large)
    assert_unprocessed(opaque.convert("RGB"), prepare(opaque.convert("RGB"), 256, "none"))
    small = opaque.convert("RGB").resize((400, 400))
    assert_official(small, prepare(small, 256, "official", method="u2netp"))


def test_every_shared_image_is_the_demos(shared_data: Path) -> None:
    paths = sorted((shared_data / "images").glob("*.png"))
    assert len(paths) == 12
    for path in paths:
        with Image.open(path) as image:
            method = "alpha" if image.mode == "RGBA" else "u2netp"
            assert_official(image, prepare(path, 256, "official", method=method))
            assert_unprocessed(image, prepare(path, 256, "none"))
