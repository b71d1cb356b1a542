"""What frames an object: its parts, thin and separate ones too, and no stray specks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zero123lib.views.images import prepare, recenter
from zero123lib.views.specks import object_and_specks

Box = tuple[int, int, int, int]

DISC: Box = (70, 70, 186, 186)
FRAMED: Box = (14, 14, 114, 114)


def scene(*boxes: Box, alpha: int = 255) -> np.ndarray:
    """RGBA [256, 256]: a disc in `DISC`, and boxes (left, top, right, bottom) of some alpha."""
    y, x = np.mgrid[0:256, 0:256] + 0.5
    values = np.zeros((256, 256, 4), np.uint8)
    values[np.hypot(x - 128, y - 128) <= 58] = (200, 60, 40, 255)
    for left, top, right, bottom in boxes:
        values[top:bottom, left:right] = (30, 30, 200, alpha)
    return values


def framed_by(values: np.ndarray) -> Box:
    """The box that the object's framing centres: left, top, right, bottom."""
    solid, _ = object_and_specks(values[..., 3])
    box = Image.fromarray(solid).getbbox()
    assert box is not None
    return box


def opaque_box(image: Image.Image) -> Box:
    box = Image.fromarray(np.asarray(image.getchannel("A")) > 127).getbbox()
    assert box is not None
    return box


@pytest.mark.parametrize(
    "specks",
    [
        [(5, 5, 6, 6)],
        [(250, 3, 253, 6)],
        [(2, 250, 7, 255)],
        [(60, 60, 61, 61)],  # within the margin of the result
        [(10, 240, 18, 241)],  # a hair
        [(x, y, x + 2, y + 2) for x, y in np.random.default_rng(0).integers(0, 40, (9, 2))],
    ],
)
def test_specks_neither_frame_the_object_nor_show(specks):
    values, clean = scene(*specks), scene()
    assert framed_by(values) == DISC
    framed = recenter(Image.fromarray(values), 128)
    assert opaque_box(framed) == FRAMED
    assert np.array_equal(np.asarray(framed), np.asarray(recenter(Image.fromarray(clean), 128)))


@pytest.mark.parametrize(
    ("parts", "box"),
    [
        ([(127, 2, 128, 75)], (70, 2, 186, 186)),  # an antenna of one pixel
        ([(127, y, 128, y + 3) for y in range(2, 70, 6)], (70, 2, 186, 186)),  # in dashes
        ([(127, 2, 128, 50)], (70, 2, 186, 186)),  # that does not touch
        ([(90, 170, 92, 250), (160, 170, 162, 250)], (70, 70, 186, 250)),  # legs
        ([(5, 5, 60, 60)], (5, 5, 186, 186)),  # a second object of similar size
        ([(10, 10, 30, 30)], (10, 10, 186, 186)),  # and a small one
    ],
)
def test_thin_and_separate_parts_frame_it_with_the_rest(parts, box):
    assert framed_by(scene(*parts)) == box


def test_faint_pixels_connect_and_do_not_frame():
    string_and_ball = scene((200, 20, 207, 27))
    assert framed_by(string_and_ball) == DISC
    string_and_ball[27:120, 203] = (0, 0, 0, 60)
    string_and_ball[120, 180:204] = (0, 0, 0, 60)
    assert framed_by(string_and_ball) == (70, 20, 207, 186)


def test_many_small_parts_are_an_object_of_their_own():
    leaves = np.zeros((256, 256, 4), np.uint8)
    leaves[100:250, 126:130] = 255
    leaves[10:200:12, 20:240:12] = 255
    assert framed_by(leaves) == (20, 10, 237, 250)
    dots = np.zeros((64, 64, 4), np.uint8)
    dots[::8, ::8] = 255
    assert framed_by(dots) == (0, 0, 57, 57)


def test_what_lies_within_the_objects_box_is_its_own():
    values = scene((75, 75, 77, 77))  # beside the disc, in the corner of its box
    framed = recenter(Image.fromarray(values), 256, 116 / 256)
    assert np.array_equal(np.asarray(framed)[75:77, 75:77], values[75:77, 75:77])


def test_the_case_with_a_speck_is_framed_as_the_one_without(shared_data: Path):
    cases = shared_data / "cases" / "pictures"
    clean, speck = (prepare(cases / f"{name}.png", 128) for name in ("plain", "speck1px"))
    assert opaque_box(clean.rgba) == opaque_box(speck.rgba) == FRAMED
    assert np.array_equal(np.asarray(clean.rgba), np.asarray(speck.rgba))
