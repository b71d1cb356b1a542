"""The page in a real browser: it works, fits a phone and asks no other host for anything."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app.conftest import CHROMIUM, ENDLESS, PATIENCE_MS, served
from zero123lib.app import layout
from zero123lib.app.examples import example_files
from zero123lib.app.settings import Options
from zero123lib.diffusion.pipeline import Zero123Pipeline

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "color_scheme": "dark",
    "has_touch": True,
}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1366, "height": 900}, "color_scheme": "light"}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

# All toasts that there have been: on a slow machine one is gone before the next is looked for.
TOASTS = """window.toasts = new Set();
new MutationObserver((changes) => {
  for (const { addedNodes } of changes) for (const node of addedNodes) {
    const found = node.matches?.(".toast-body") ? [node] : node.querySelectorAll?.(".toast-body");
    for (const one of found ?? []) window.toasts.add(one);
  }
}).observe(document, { childList: true, subtree: true });"""
# Gradio aborts its stream as a page is left, and where a call still ran it calls that an error.
LEAVING = """addEventListener("beforeunload", () => { console.error = () => {}; });"""
# The camera and its path have rested for longer than a step of their history takes to be noted.
RESTED = """() => new Promise((resolve) => {
  let timer = 0;
  const again = () => { clearTimeout(timer); timer = setTimeout(resolve, 700); };
  for (const name of ["camera-at", "path-shown"]) document.addEventListener(name, again);
  again();
})"""


@contextmanager
def opened(browser: Browser, url: str, **device: Any) -> Iterator[Page]:
    """The page on a device; nothing may go wrong in it, or be asked of another host."""
    context = browser.new_context(**device)
    context.set_default_timeout(PATIENCE_MS)
    # The viewer of meshes tries WebGPU first. Without a graphics card its adapter comes and goes
    # with the machine's load, and the viewer then complains before it falls back to WebGL.
    context.add_init_script("delete Navigator.prototype.gpu")
    context.add_init_script(TOASTS)
    context.add_init_script(LEAVING)
    page = context.new_page()
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: elsewhere.append(r.url) if is_elsewhere(r.url, url) else None)
    page.goto(url)
    expect(page.locator("#globe canvas")).to_be_visible()
    expect(page.locator("#view img")).to_be_visible()  # it has begun, with its own example
    yield page
    context.close()
    assert complaints == [] and elsewhere == []


def is_elsewhere(address: str, url: str) -> bool:
    return address.startswith("http") and not address.startswith(url)


def toasts(page: Page) -> int:
    """How many there have been, gone ones included."""
    return page.evaluate("window.toasts.size")


def number(page: Page, label: str) -> Locator:
    return page.get_by_label(f"number input for {label}")


def choose_example(page: Page) -> None:
    page.locator("#examples button").first.click()
    expect(page.locator("#picture img")).to_have_attribute("src", re.compile("bear"))
    expect(page.locator("#caption")).to_contain_text("Your picture")
    expect(page.locator("#view img")).to_be_visible()


def drag(page: Page, locator: Locator, x: float, y: float) -> None:
    """Take the middle of something and let go so many pixels away."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + x, middle[1] + y, steps=6)
    page.mouse.up()


def rested(page: Page, locator: Locator) -> None:
    """Wait until something has looked the same for a second."""
    before, now = b"", locator.screenshot()
    while now != before:
        page.wait_for_timeout(1000)
        before, now = now, locator.screenshot()


def test_the_object_is_turned_by_hand(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        page.locator("#picture input[type=file]").set_input_files(example_files()[1])
        expect(page.locator("#note")).to_contain_text("own transparency")
        expect(page.locator("#caption")).to_contain_text("Your picture")
        image = page.locator("#view img")
        expect(image).to_be_visible()
        before = image.get_attribute("src") or ""

        drag(page, page.locator("#globe canvas"), 50, -40)  # the camera goes right and up
        expect(page.locator("#globe output")).to_have_text("30° right, 24° up")
        expect(number(page, "Azimuth")).to_have_value("30")
        expect(number(page, "Elevation")).to_have_value("24")
        expect(page.locator("#caption")).to_contain_text("30° right, 24° up · 2 steps")
        expect(image).not_to_have_attribute("src", before)
        expect(image).to_have_attribute("alt", "The object seen from 30° right, 24° up")

        drag(page, image, 50, 40)  # the hand that holds the object turns it the other way round
        expect(page.locator("#globe output")).to_have_text("0°, 48° up")

        number(page, "Azimuth").fill("-60")
        number(page, "Azimuth").press("Enter")
        expect(page.locator("#globe output")).to_have_text("60° left, 48° up")
        page.locator("#globe canvas").focus()
        for key in ("ArrowRight", "Shift+ArrowDown", "+"):
            page.keyboard.press(key)
        expect(page.locator("#globe output")).to_have_text("55° left, 33° up, closer")
        expect(number(page, "Zoom")).to_have_value("-0.05")
        expect(page.locator("#caption")).to_contain_text("55° left, 33° up, closer · 2 steps")
        page.keyboard.press("Home")
        expect(page.locator("#globe output")).to_have_text("0°, 0°")


def test_the_globe_is_not_held_back_by_sliders_that_follow(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.locator("#globe canvas").evaluate(  # faster than the sliders can answer
            """async (canvas) => {
              canvas.focus();
              for (let i = 0; i < 12; i++) {
                canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
                await new Promise((resolve) => setTimeout(resolve, i));
              }
            }"""
        )
        expect(page.locator("#caption")).to_contain_text("60° right · 2 steps")
        expect(page.locator("#globe output")).to_have_text("60° right, 0°")
        expect(number(page, "Azimuth")).to_have_value("60")
        page.get_by_role("button", name="Left").click()  # once it rests, the sliders lead again
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")


def opaque_pixels(page: Page, url: str) -> int:
    """Of the image as it was chosen or fixed."""
    source = page.locator("#picture img").get_attribute("src")
    assert source is not None and source.startswith(url)
    image = Image.open(io.BytesIO(page.request.get(source).body())).convert("RGBA")
    return int((np.asarray(image.getchannel("A")) > 127).sum())


def test_a_cut_out_is_fixed_with_a_brush(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        before = opaque_pixels(page, url)
        page.get_by_role("button", name="Cut-out and framing").click()
        page.locator("#fix").click()
        canvas = page.locator("#brush canvas").first
        expect(canvas).to_be_visible()
        rested(page, canvas)  # the editor places its image some time after it is there
        drag(page, canvas, 100, -100)  # green, from the object to where there is none
        chosen = page.locator("#picture img").get_attribute("src")
        page.locator("#use-it").click()
        expect(canvas).not_to_be_visible()
        expect(page.locator("#picture img")).not_to_have_attribute("src", chosen or "")
        expect(page.locator("#note")).to_contain_text("own transparency")
        assert opaque_pixels(page, url) > before + 500


def test_an_orbit_is_made_and_taken_away(browser: Browser, url: str, tmp_path: Path) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_role("tab", name="Orbit").click()
        page.get_by_role("button", name="Make the orbit").click()
        expect(page.locator("#gallery .gallery-item img")).to_have_count(8)
        package = page.locator("#downloads").get_by_text("Zip, with cameras")
        expect(package).to_be_visible()
        with page.expect_download() as waiting:
            package.click()
        waiting.value.save_as(tmp_path / "views.zip")
        with zipfile.ZipFile(tmp_path / "views.zip") as archive:
            transforms = json.loads(archive.read("transforms.json"))
            assert len(transforms["frames"]) == 8
            for frame in transforms["frames"]:
                assert archive.read(frame["file_path"]).startswith(b"\x89PNG")

        # A refresh starts anew, and the server is still there for it.
        page.reload()
        choose_example(page)
        page.get_by_role("tab", name="Orbit").click()
        expect(page.locator("#gallery .gallery-item img")).to_have_count(0)
        page.get_by_text("Cameras of your own").click()
        page.get_by_label("Azimuths of the views").fill("0, somewhere")
        page.get_by_role("button", name="Make these views").click()
        expect(page.locator(".toast-body")).to_contain_text("azimuths: expected finite numbers")


def test_a_mesh_is_made_and_seen_in_the_viewer(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_role("tab", name="3D").click()
        page.get_by_role("button", name="Make the mesh").click()
        expect(page.locator("#stats")).to_contain_text("Finished")
        expect(page.locator("#stats table")).to_contain_text("Fitting")
        expect(page.locator("#mesh canvas")).to_be_visible()
        glb = page.locator("#downloads-3d").get_by_text("GLB")
        with page.expect_download() as waiting:
            glb.click()
        assert Path(waiting.value.path()).read_bytes().startswith(b"glTF")
        for name, first in (("OBJ, zipped", b"PK"), ("PLY", b"ply"), ("STL", b"z up")):
            with page.expect_download() as waiting:
                page.locator("#downloads-3d").get_by_text(name).click()
            assert Path(waiting.value.path()).read_bytes().startswith(first)
        shown = page.locator("#mesh a[download]")
        for look in ("normals", "wireframe", "texture"):
            page.locator("#look").get_by_text(look.capitalize()).click()
            name = "mesh" if look == "texture" else look
            expect(shown).to_have_attribute("href", re.compile(f"/{name}.glb$"))
            expect(page.locator("#mesh canvas")).to_be_visible()


def test_a_mesh_that_is_stopped_midway_is_seen_and_kept(
    browser: Browser, pipe: Zero123Pipeline
) -> None:
    with served(pipe, ENDLESS) as url, opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_role("tab", name="3D").click()
        page.get_by_role("button", name="Make the mesh").click()
        stats = page.locator("#stats")
        expect(stats).to_contain_text(re.compile(r"Fitting · (\d{4,}|[3-9]\d\d) of"))
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(stats).to_contain_text("Stopped early")
        expect(page.locator("#mesh canvas")).to_be_visible()
        expect(page.locator("#downloads-3d").get_by_text("GLB")).to_be_visible()


def test_a_preset_of_an_example_on_a_phone(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        choose_example(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        view, globe = (page.locator(part).bounding_box() for part in ("#view", "#globe"))
        assert view is not None and globe is not None and view["y"] < globe["y"]
        page.get_by_role("button", name="Left").click()
        expect(page.locator("#caption")).to_contain_text("90° left · 2 steps")
        expect(number(page, "Azimuth")).to_have_value("-90")
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")


def touch(page: Page, locator: Locator, *ways: list[tuple[float, float]]) -> None:
    """Fingers touch something, go their ways in pixels from its middle, and are lifted."""
    locator.scroll_into_view_if_needed()
    box = locator.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    hand = page.context.new_cdp_session(page)
    for moment, points in enumerate(zip(*ways, strict=True)):
        fingers = [
            {"x": middle[0] + x, "y": middle[1] + y, "id": i} for i, (x, y) in enumerate(points)
        ]
        kind = "touchMove" if moment else "touchStart"
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_fingers_turn_and_zoom_and_do_not_scroll_the_page(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        choose_example(page)
        globe, view = page.locator("#globe canvas"), page.locator("#view img")
        globe.scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        touch(page, globe, [(0, 0), (20, -10), (50, -40)])
        expect(page.locator("#globe output")).to_have_text("30° right, 24° up")
        expect(page.locator("#caption")).to_contain_text("30° right, 24° up · 2 steps")
        touch(page, globe, [(-20, 0), (-30, 0), (-45, 0)], [(20, 0), (30, 0), (45, 0)])
        expect(page.locator("#globe output")).to_have_text("30° right, 24° up, closer")
        expect(number(page, "Zoom")).to_have_value("-0.2")
        assert page.evaluate("scrollY") == before
        touch(page, view, [(0, 0), (25, 20), (50, 40)])  # the hand that holds the object
        expect(page.locator("#globe output")).to_have_text("0°, 48° up, closer")


def test_a_camera_is_offered_where_there_is_one(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        camera = page.get_by_label("Capture from camera")
        expect(camera).to_be_hidden()
        page.evaluate(
            """() => {
              navigator.mediaDevices.enumerateDevices = async () => [{ kind: "videoinput" }];
              navigator.mediaDevices.dispatchEvent(new Event("devicechange"));
            }"""
        )
        expect(camera).to_be_visible()


def test_a_model_is_chosen_by_load_alone(
    browser: Browser, pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def load(name: str, device: str) -> Zero123Pipeline:
        asked.append(name)
        if "<" in name:
            raise ValueError(f"model: expected weights that fit, got {name!r}")
        mine = Zero123Pipeline.from_pretrained("tiny")
        mine.register_to_config(model_name="mine")
        return mine

    monkeypatch.setattr(layout, "load_pipeline", load)
    strange = tmp_path / "a <strange> name"
    for folder in (strange, tmp_path / "mine"):
        folder.mkdir()
        (folder / "model_index.json").touch()
    with served(pipe, Options(models="any")) as url, opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_text("Model", exact=True).click()
        about, caption = page.locator("#about"), page.locator("#caption")

        def choose(name: str) -> None:
            weights = page.get_by_label("Weights")
            weights.fill(name)
            weights.press("Enter")

        choose("zero123-xl")
        expect(about).to_contain_text("2.5 GB to download")
        choose("no-such")
        expect(about).to_contain_text("model: expected a model's name")
        page.get_by_role("button", name="Left").click()
        expect(caption).to_contain_text("90° left · 2 steps")
        expect(caption).to_contain_text("tiny")
        assert asked == []
        choose(str(strange))
        expect(about).to_contain_text("On this disk")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.locator(".toast-body")).to_contain_text("a <strange> name")
        assert toasts(page) == 1
        page.get_by_role("button", name="Right").click()
        expect(caption).to_contain_text("90° right · 2 steps")
        assert asked == [str(strange)]
        choose(str(tmp_path / "mine"))
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.locator("#head")).to_contain_text("mine")
        page.get_by_role("button", name="Left").click()
        expect(caption).to_contain_text("90° left · 1 step")
        expect(caption).to_contain_text("mine")


def test_a_model_that_needs_the_inputs_elevation_is_told_it(
    browser: Browser, told_url: str
) -> None:
    with opened(browser, told_url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_text("Cut-out and framing").click()
        expect(page.locator("#framing")).to_contain_text("This model has to be told")
        known = number(page, "Elevation of your picture's camera")
        expect(known).to_have_value("20")  # as the examples were rendered
        known.fill("30")
        known.press("Enter")
        page.get_by_role("button", name="Above").click()
        expect(number(page, "Elevation, ° up")).to_have_value("60")  # straight above: 30 + 60
        expect(page.locator("#caption")).to_contain_text("0°, 60° up · 1 step")
        page.locator("#picture").get_by_role("button", name="Remove Image").click()
        page.locator("#picture input[type=file]").set_input_files(example_files()[1])
        expect(known).to_have_value("0")
