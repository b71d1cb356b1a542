"""A cut-out fixed by hand is what was painted, whatever the network found."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from zero123lib._errors import ArgumentError
from zero123lib.app import preparing
from zero123lib.app.preparing import DROP, KEEP, Cut, Framing, canvas, fixed, nothing
from zero123lib.app.sessions import Session
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.images import FOREGROUND_RATIO, WORKING_SIDE_PX, CutOut


def cut() -> Cut:
    image = Image.new("RGB", (80, 60), (90, 120, 30))
    rgba = image.copy()
    alpha = np.zeros((60, 80), np.uint8)
    alpha[20:40, 20:60] = 255
    rgba.putalpha(Image.fromarray(alpha))
    return Cut(image, CutOut(rgba, "u2netp"), rgba)


def stroke(color: str, box: tuple[int, int, int, int], size=(160, 120)) -> Image.Image:
    layer = Image.new("RGBA", size)
    layer.paste((*ImageColor.getrgb(color)[:3], 255), box)
    return layer


def test_green_keeps_and_red_drops_at_the_images_size() -> None:
    layers = [stroke(KEEP, (0, 0, 40, 40)), stroke(DROP, (80, 40, 160, 80))]
    image = fixed(cut(), layers)
    alpha = np.asarray(image.getchannel("A"))
    assert alpha[5:15, 5:15].min() == 255 and alpha[25:35, 45:55].max() == 0
    assert alpha[25:35, 25:35].min() == 255 and alpha[50:, 30:].max() == 0
    assert np.array_equal(np.asarray(image)[..., :3], np.asarray(cut().image))


def test_without_paint_it_is_the_cut_out_and_all_red_is_refused() -> None:
    assert np.array_equal(np.asarray(fixed(cut(), [])), np.asarray(cut().cut.image))
    with pytest.raises(ArgumentError, match="strokes: expected some of the picture kept"):
        fixed(cut(), [stroke(DROP, (0, 0, 160, 120))])


def test_where_nothing_was_found_all_is_pale_and_can_be_kept() -> None:
    found = nothing(cut().image)
    assert np.asarray(canvas(found)).min() > np.asarray(canvas(cut())).min()
    alpha = np.asarray(fixed(found, [stroke(KEEP, (40, 40, 80, 80))]).getchannel("A"))
    assert alpha[25:35, 25:35].min() == 255 and alpha[:15].max() == 0


@pytest.mark.parametrize("clear", [True, False])
def test_textures_get_the_uploads_own_pixels_as_on_the_command_line(
    pipe: Zero123Pipeline, clear: bool
) -> None:
    y, x = np.mgrid[0:2000, 0:3000]
    inside = np.hypot(x - 1400, y - 900) < 420
    stripes = np.where(inside, 127 + 120 * np.sin(x / 1.2), 235)
    photo = np.dstack([*[stripes] * 3, 255 * inside]).astype(np.uint8)
    upload = Image.fromarray(photo if clear else photo[..., :3])
    found = preparing.cut(Session(), upload.copy, "upload", "auto")
    assert max(*found.image.size, *found.pixels.size) <= WORKING_SIDE_PX  # what is remembered
    prepared = preparing.condition(pipe, found, Framing(FOREGROUND_RATIO, True, "auto"))
    wanted = pipe.prepare(upload, foreground_ratio=FOREGROUND_RATIO)
    assert prepared.detail is not None and wanted.detail is not None
    assert np.array_equal(np.asarray(prepared.detail), np.asarray(wanted.detail))
    assert np.asarray(prepared.detail)[512, 300:700, 0].std() > 60  # half of them were too few
