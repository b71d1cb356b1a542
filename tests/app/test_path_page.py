"""The camera's path in a real browser: keyframes, playing, its film, steps back."""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import (
    DESKTOP,
    PHONE,
    RESTED,
    choose_example,
    drag,
    number,
    opened,
    toasts,
)
from tests.app.test_path_service import EIGHT
from zero123lib.views.paths import path_from_transforms
from zero123lib.views.poses import Pose

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

# What is on the screen of the film, without loss.
SCREEN = """(image) => {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png");
}"""


def open_path(page: Page) -> None:
    choose_example(page)
    page.get_by_text("A path for the camera").click()
    expect(page.locator("#path .add")).to_be_visible()


def take(page: Page, elevation: float, azimuth: float, down: float) -> None:
    """Take what is on the globe there, and let go of it so many pixels farther down."""
    canvas = page.locator("#globe canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    # The globe is seen from azimuth -38 and elevation 24.
    up, around, look = np.radians([elevation, azimuth + 38, 24])
    side, front = np.cos(up) * np.sin(around), np.cos(up) * np.cos(around)
    x = box["x"] + box["width"] * (0.5 + 0.41 * side)
    y = box["y"] + box["width"] * (0.5 - 0.41 * (np.cos(look) * np.sin(up) - np.sin(look) * front))
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + down, steps=6)
    page.mouse.up()


def set_number(page: Page, name: str, value: int) -> None:
    field = page.locator(f"#path {name}")
    field.fill(str(value))
    field.press("Enter")
    field.blur()


def test_a_path_of_eight_keyframes_plays_to_the_pixel_what_is_rendered(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_path": EIGHT}))
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        page.locator("#path input[type=file]").set_input_files(tmp_path / "transforms.json")
        keys = page.locator("#path .keys button")
        expect(keys).to_have_count(8)
        expect(keys.nth(4)).to_have_attribute("aria-label", "Keyframe 5 at 1.0 s: 20° right, 5° up")
        set_number(page, ".count", 8)
        expect(page.locator("#path .scrub")).to_have_attribute("max", "7")
        page.locator("#render").click()
        screen, scrub = page.locator("#film .screen"), page.locator("#film input")
        expect(screen).to_be_visible()
        expect(scrub).to_have_attribute("max", "7")
        page.locator("#film button").click()  # it plays by itself, round and round
        package = page.locator("#downloads").get_by_text("Zip, with cameras")
        with page.expect_download() as waiting:
            package.click()
        with zipfile.ZipFile(waiting.value.path()) as archive:
            content = json.loads(archive.read("transforms.json"))
            files = [
                Image.open(io.BytesIO(archive.read(one["file_path"]))).convert("RGB")
                for one in content["frames"]
            ]
        assert path_from_transforms(content, Pose(20)) == path_from_transforms(
            {"camera_path": EIGHT}, Pose(20)
        )
        assert len({file.tobytes() for file in files}) == 8
        for index, file in enumerate(files):
            scrub.fill(str(index))
            page.wait_for_function("document.querySelector('#film .screen').complete")
            shown = base64.b64decode(screen.evaluate(SCREEN).split(",")[1])
            assert np.array_equal(
                np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")), np.asarray(file)
            )


def test_keyframes_are_added_moved_and_removed_and_steps_are_taken_back(
    browser: Browser, url: str
) -> None:
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        keys, says = page.locator("#path .keys button"), page.locator("#globe output")
        for _ in range(3):  # with the keyboard, on the globe
            page.locator("#globe canvas").focus()
            page.keyboard.press("k")
            chosen = page.locator("#path .keys button[aria-pressed=true]")
            chosen.click()  # it stays here
            expect(chosen).to_have_count(0)
            page.locator("#globe canvas").focus()
            for _ in range(4):
                page.keyboard.press("ArrowRight")
        expect(keys).to_have_count(3)
        labels = [key.get_attribute("aria-label") for key in keys.all()]
        assert [str(label).split(": ")[1] for label in labels] == [
            "0°, 0°",
            "20° right, 0°",
            "40° right, 0°",
        ]
        assert [str(label).split(" at ")[1][:3] for label in labels] == ["0.0", "2.0", "4.0"]

        keys.nth(1).click()  # the camera goes there, and the keyframe goes with it
        expect(says).to_have_text("20° right, 0°")
        drag(page, page.locator("#globe canvas"), 0, -50)
        expect(keys.nth(1)).to_have_attribute(
            "aria-label", "Keyframe 2 at 2.0 s: 20° right, 30° up"
        )
        for _ in range(5):
            keys.nth(1).press("ArrowRight")
        moved = "Keyframe 2 at 2.2 s: 20° right, 30° up"
        expect(keys.nth(1)).to_have_attribute("aria-label", moved)
        page.evaluate(RESTED)
        keys.nth(1).press("Delete")
        expect(keys).to_have_count(2)
        page.evaluate(RESTED)
        page.keyboard.press("Control+z")
        expect(keys).to_have_count(3)
        expect(keys.nth(1)).to_have_attribute("aria-label", moved)
        page.get_by_role("button", name="Redo the camera").click()
        expect(keys).to_have_count(2)

        page.get_by_role("button", name="Left", exact=True).click()
        expect(says).to_have_text("90° left, 0°")
        page.evaluate(RESTED)
        page.get_by_role("button", name="Above", exact=True).click()
        expect(says).to_have_text("0°, 70° up")
        page.evaluate(RESTED)
        page.keyboard.press("Control+z")
        expect(says).to_have_text("90° left, 0°")
        expect(number(page, "Azimuth")).to_have_value("-90")
        expect(page.locator("#caption")).to_contain_text("90° left · 2 steps,")
        page.keyboard.press("Control+Shift+z")
        expect(says).to_have_text("0°, 70° up")


def test_a_path_is_scrubbed_played_and_kept(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        open_path(page)
        page.get_by_role("button", name="Ring", exact=True).tap()
        scrub = page.locator("#path .scrub")
        expect(scrub).to_have_attribute("max", "15")
        scrub.fill("3")
        expect(page.locator("#globe output")).to_have_text("67.5° right, 0°")
        expect(page.locator("#caption")).to_contain_text("67.5° right · 2 steps,")
        expect(number(page, "Azimuth")).to_have_value("67.5")
        page.locator("#path .play").tap()
        for side in ("left", "right"):  # a slow machine leaves frames out, any of them
            expect(page.locator("#caption")).to_contain_text(side)
        page.locator("#path .play").tap()
        expect(page.locator("#caption")).to_contain_text("2 steps,")
        with page.expect_download() as waiting:
            page.locator("#path .save").tap()
        content = json.loads(Path(waiting.value.path()).read_text())
        assert len(content["frames"]) == 16 and content["camera_path"]["closed"] is True
        page.locator("#path input[type=file]").set_input_files(
            {"name": "x.json", "mimeType": "application/json", "buffer": b"[1"}
        )
        expect(page.locator(".toast-body")).to_contain_text("path: expected")
        assert toasts(page) == 1
        expect(page.locator("#path .keys button")).to_have_count(4)


def test_on_the_globe_the_pictures_own_camera_and_keyframes_are_handles(
    browser: Browser, url: str
) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_text("Cut-out and framing").click()
        known = number(page, "Elevation of your picture's camera")
        expect(known).to_have_value("20")
        page.locator("#globe canvas").focus()
        page.keyboard.press("PageUp")
        expect(known).to_have_value("25")
        page.keyboard.press("PageDown")
        expect(known).to_have_value("20")

        page.get_by_role("button", name="Left", exact=True).click()
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")
        take(page, 20, 0, -50)
        expect(known).to_have_value("50")
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")  # the view's stays
        take(page, 50, 0, 50)
        expect(known).to_have_value("20")

        page.get_by_text("A path for the camera").click()
        page.locator("#path .add").click()
        key = page.locator("#path .keys button")
        key.click()  # it stays there
        page.get_by_role("button", name="Front", exact=True).click()
        expect(page.locator("#globe output")).to_have_text("0°, 0°")
        take(page, 20, -90, -50)
        expect(key).to_have_attribute("aria-label", re.compile("90° left, 30° up"))
        expect(page.locator("#globe output")).to_have_text("90° left, 30° up")
        expect(known).to_have_value("20")


def test_what_is_no_path_yet_is_not_rendered(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        render = page.locator("#render")
        expect(render).to_be_disabled()
        page.get_by_role("button", name="Ring", exact=True).click()
        expect(render).to_be_enabled()
        page.get_by_role("button", name="Clear", exact=True).click()
        expect(render).to_be_disabled()


def test_a_step_back_moves_no_keyframe(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        says, key = page.locator("#globe output"), page.locator("#path .keys button")
        page.locator("#path .add").click()
        key.click()  # it stays here
        page.get_by_role("button", name="Left", exact=True).click()
        expect(says).to_have_text("90° left, 0°")
        page.evaluate(RESTED)
        key.click()  # chosen: the camera goes there
        expect(says).to_have_text("0°, 0°")
        page.evaluate(RESTED)
        page.get_by_role("button", name="Undo the camera").click()
        expect(says).to_have_text("90° left, 0°")
        expect(key).to_have_attribute("aria-label", "Keyframe 1 at 0.0 s: 0°, 0°")


def test_keyframes_of_a_closed_path_keep_apart_from_its_seam(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    way = {"closed": True, "keyframes": [{"at": 0.2}, {"at": 1.0, "azimuth_deg": 30}]}
    (tmp_path / "closed.json").write_text(json.dumps({"camera_path": way}))
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        page.locator("#path input[type=file]").set_input_files(tmp_path / "closed.json")
        keys = page.locator("#path .keys button")
        expect(keys).to_have_count(2)
        for _ in range(30):
            keys.first.press("ArrowLeft")
        page.locator("#path .add").click()
        page.locator("#path .save").click()
        content = page.evaluate("window.zero123.path()")["path"]
        assert path_from_transforms({"camera_path": content}, Pose(20)).closed
        expect(page.locator("#path .scrub")).to_have_attribute("max", "15")
        assert toasts(page) == 0


def test_a_film_that_begins_as_the_one_before_is_another_one(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        open_path(page)
        page.get_by_role("button", name="Ring", exact=True).click()
        for count in (3, 5):
            set_number(page, ".count", count)
            expect(page.locator("#path .scrub")).to_have_attribute("max", str(count - 1))
            page.locator("#render").click()
            scrub = page.locator("#film input")
            expect(scrub).to_have_attribute("max", str(count - 1))
            scrub.fill(str(count - 1))
            expect(page.locator("#film .screen")).to_have_attribute(
                "alt", re.compile({3: "120° left", 5: "72° left"}[count])
            )
