"""The page as a visitor sees it: what stands still, fits, is large enough and says the truth."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app.conftest import CHROMIUM, served
from tests.app.test_page import DESKTOP, PHONE, choose_example, number, opened, toasts, touch
from zero123lib.app.settings import Options
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.pipeline import Zero123Pipeline

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

# What can be tapped and is drawn, each with its width and height.
TARGETS = """() => [...document.querySelectorAll(
    "button, a, input, select, label:has(input), [role=slider], [role=tab]"
  )].filter((part) => part.checkVisibility({ visibilityProperty: true, opacityProperty: true })
    && part.getAttribute("aria-hidden") !== "true" && !part.closest("[aria-hidden=true]")
    && !(part.matches("[type=radio], [type=checkbox]") && part.closest("label"))
  ).map((part) => {
    const box = part.getBoundingClientRect();
    const name = part.getAttribute("aria-label") || part.textContent.trim() || part.className;
    return [name, Math.round(box.width), Math.round(box.height)];
  }).filter(([, width, height]) => width > 1 && height > 1)"""


def place(locator: Locator) -> tuple[float, float, float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]


def on_screen(page: Page, locator: Locator) -> bool:
    """Whether all of it lies inside the window."""
    x, y, width, height = place(locator)
    size = page.viewport_size
    assert size is not None
    return (
        x >= -1 and y >= -1 and x + width <= size["width"] + 1 and y + height <= size["height"] + 1
    )


def test_the_page_stands_still_whatever_the_caption_says(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        parts = [page.locator(part) for part in ("#globe", "#view", "#picture", "#caption")]
        for width in (1024, 1366, 1600):
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(300)
            before = [place(part) for part in parts]
            for words in ("", "0°", "A caption that is as long as any: " + 3 * "12.3 s, tiny "):
                page.locator("#caption p").first.evaluate("(p, w) => p.textContent = w", words)
                page.wait_for_timeout(100)
                assert [place(part) for part in parts] == before, width


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_an_enlarged_view_is_seen_with_its_whole_caption(
    browser: Browser, url: str, device: dict[str, Any]
) -> None:
    with opened(browser, url, **device) as page:
        choose_example(page)
        number(page, "Elevation, ° up").fill("20")
        number(page, "Elevation, ° up").press("Enter")
        page.get_by_role("tab", name="Orbit").click()
        number(page, "Seeds").fill("2")
        number(page, "Seeds").press("Enter")
        page.get_by_role("button", name="Make the orbit").click()
        expect(page.locator("#gallery .gallery-item img")).to_have_count(16)
        page.locator("#downloads").wait_for()
        for caption in page.locator("#gallery .caption-label").all():
            assert caption.evaluate("(c) => c.scrollWidth <= c.clientWidth + 1"), caption
        page.locator("#gallery .gallery-item").nth(9).scroll_into_view_if_needed()
        page.locator("#gallery button.thumbnail-lg").nth(9).click()
        large = page.locator("#gallery .preview")
        image, caption = large.locator("img").first, large.locator(".caption")
        expect(image).to_be_visible()
        for part in (image, caption, large.get_by_role("button", name="Close")):
            expect(part).to_be_visible()
            assert on_screen(page, part)
        assert caption.evaluate("(c) => c.scrollWidth <= c.clientWidth + 1")
        large.get_by_role("button", name="Close").click()
        expect(large).to_have_count(0)


def test_whatever_is_tapped_is_large_enough_for_a_finger(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        choose_example(page)
        for part in ("Cut-out and framing", "Model", "A path for the camera", "Sampling"):
            page.get_by_text(part, exact=True).click()
        for tab in ("View", "Orbit", "3D"):
            page.get_by_role("tab", name=tab).click()
            expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
            page.wait_for_timeout(400)
            small = [target for target in page.evaluate(TARGETS) if min(target[1:]) < 24]
            assert small == []


def test_sliders_of_signed_numbers_fill_from_their_middle(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        for label, most in (("Elevation, ° up", "90"), ("Azimuth, ° right", "180")):
            slider = page.get_by_label(f"range slider for {label}")
            colours = {}
            for value in (f"-{most}", "0", most):
                number(page, label).fill(value)
                number(page, label).press("Enter")
                expect(slider).to_have_value(value)
                image = Image.open(io.BytesIO(slider.screenshot())).convert("RGB")
                width, row = image.width, image.height // 2
                colours[value] = [image.getpixel((width * at // 4, row)) for at in (1, 3)]
            filled, bare = colours[f"-{most}"]
            assert filled != bare
            assert colours["0"] == [bare, bare] and colours[most] == [bare, filled]


# What the globe says and what the caption says of where the camera is; what is seen from there.
SAID = """(() => {
  const globe = document.querySelector("#globe output").innerText.replace(/, 0°$/, "");
  const caption = document.querySelector("#caption").innerText.split(" · ")[0].trim();
  return [globe, caption, document.querySelector("#view img")?.src];
})()"""
SAME = f"""() => {{
  const [globe, caption] = {SAID};
  return globe === caption || (globe === "0°" && caption.startsWith("Your picture"));
}}"""
# Both sides have been seen and more, from each place another image. All that is drawn is looked at:
# whoever asks now and then may always come between the frames that it waits for.
TURNED = f"""() => {{
  const [globe, caption, image] = {SAID};
  const seen = (window.seen ??= {{}});
  if (globe === caption && image) seen[globe] = image;
  const places = Object.keys(seen);
  const sides = ["left", "right"].every((side) => places.some((place) => place.includes(side)));
  return sides && places.length > 5 && new Set(Object.values(seen)).size === places.length;
}}"""


def test_the_page_begins_with_an_example_that_turns(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        expect(page.locator(".player")).to_be_visible()
        page.wait_for_function(TURNED)
        width, height = place(page.locator("#view"))[2:]
        assert 300 <= width <= 340 and width == pytest.approx(height, abs=2)
        given = place(page.locator("#given"))
        assert given[0] + given[2] <= place(page.locator("#view"))[0]
        page.locator(".player button").click()  # it stops, and what is seen is where the camera is
        page.wait_for_function(SAME)
        stopped = page.evaluate(SAID)
        page.wait_for_timeout(600)
        assert page.evaluate(SAID) == stopped
        page.get_by_role("button", name="Front", exact=True).click()
        expect(page.locator("#caption")).to_contain_text("0° · 2 steps,")
        expect(page.locator("#globe output")).to_have_text("0°, 0°")


def test_an_example_that_turns_before_it_is_prepared_is_not_asked_for_a_view(
    browser: Browser, pipe: Zero123Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its film moves the camera: what is seen from there is in the film."""
    prepared, asked, requests = ViewService.prepared, ViewService.asked, []
    waits = threading.Event()

    def slowly(*arguments: Any) -> Any:
        if waits.is_set():
            time.sleep(2)
        return prepared(*arguments)

    def counted(*arguments: Any, **settings: Any) -> Any:
        requests.append(arguments)
        return asked(*arguments, **settings)

    monkeypatch.setattr(ViewService, "prepared", slowly)
    with served(pipe, Options(models="tiny")) as url:
        with opened(browser, url, **DESKTOP) as page:  # the film is made for the first page
            expect(page.locator(".player")).to_be_visible()
            page.wait_for_function(TURNED)
        waits.set()
        monkeypatch.setattr(ViewService, "asked", counted)
        with opened(browser, url, **DESKTOP) as page:
            page.wait_for_function(TURNED)
            page.wait_for_timeout(4000)
            assert not requests


def test_who_wants_less_motion_is_not_shown_any(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP, reduced_motion="reduce") as page:
        expect(page.locator(".player")).to_be_visible()
        page.wait_for_timeout(1500)
        expect(page.locator("#globe output")).to_have_text("0°, 0°")


def test_the_view_is_where_the_globe_says_whatever_is_chosen(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_role("button", name="Behind").click()
        expect(page.locator("#caption")).to_contain_text("180° · 2 steps,")
        page.get_by_text("Cut-out and framing").click()  # another cut-out, seen from the same side
        behind = page.locator("#view img").get_attribute("src")
        page.get_by_text("Recentre the object").click()
        expect(page.locator("#view img")).not_to_have_attribute("src", behind or "")
        expect(page.locator("#caption")).to_contain_text("180° · 2 steps,")
        expect(page.locator("#globe output")).to_have_text("180°, 0°")

        page.locator("#examples button").nth(2).click()  # another object, seen from its own camera
        expect(page.locator("#globe output")).to_have_text("0°, 0°")
        expect(page.locator("#caption")).to_contain_text("Your picture")
        expect(number(page, "Azimuth")).to_have_value("0")

        # A preset in the middle of the way: it stays.
        page.locator("#examples button").nth(4).click()
        page.get_by_role("button", name="Right", exact=True).click()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("house"))
        page.wait_for_timeout(3000)
        page.wait_for_function(SAME)


def test_a_model_is_used_once_it_is_loaded(browser: Browser, pipe: Zero123Pipeline) -> None:
    with served(pipe, Options(models="any")) as url, opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_text("Model", exact=True).click()
        weights, about = page.get_by_label("Weights"), page.locator("#about")
        weights.fill("zero123-xl")
        weights.press("Enter")
        expect(about).to_contain_text("Licence: not stated with the weights")
        expect(about).to_contain_text("GB to download")
        page.get_by_role("button", name="Left", exact=True).click()
        expect(page.locator("#caption")).to_contain_text("90° left · 2 steps,")
        expect(page.locator("#caption")).to_contain_text("tiny")
        weights.fill("no/such <model>")
        weights.press("Enter")
        page.get_by_role("button", name="Load", exact=True).click()
        expect(page.locator(".toast-body")).to_be_visible()
        page.get_by_role("button", name="Behind").click()
        expect(page.locator("#caption")).to_contain_text("180° · 2 steps,")
        assert toasts(page) == 1
        expect(page.locator("#head .badge")).to_contain_text("tiny")


def test_results_say_of_what_they_were_made_and_fade_under_another_picture(
    browser: Browser, url: str, tmp_path: Path
) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        page.get_by_role("tab", name="Orbit").click()
        number(page, "Views around").fill("2")
        number(page, "Views around").press("Enter")
        make = page.get_by_role("button", name="Make the orbit")
        make.click()
        expect(page.locator("#gallery .gallery-item img")).to_have_count(2)
        source = page.locator(".made-of").first
        expect(source).to_have_text("Made from bear.png.")
        expect(page.locator("#orbit-made")).not_to_have_class(re.compile("stale"))
        page.locator("#examples button").nth(1).click()
        expect(source).to_contain_text("bear.png, not from what is chosen now")
        expect(page.locator("#orbit-made")).to_have_class(re.compile("stale"))
        expect(page.locator("#orbit-made")).to_have_css("opacity", "0.4")

        # Of a file that is no image nothing can be made, and turning says no more of it.
        (tmp_path / "bad.png").write_bytes(b"no image at all")
        page.locator("#picture input[type=file]").set_input_files(tmp_path / "bad.png")
        expect(page.locator(".toast-body")).to_contain_text("expected an image file")
        expect(make).to_be_disabled()
        page.wait_for_timeout(2000)
        assert toasts(page) == 1  # said once
        page.get_by_role("tab", name="View").click()
        expect(page.locator("#view img")).to_have_count(0)
        page.get_by_role("button", name="Left", exact=True).click()
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")
        page.wait_for_timeout(1500)
        assert toasts(page) == 1
        page.locator("#examples button").first.click()
        page.get_by_role("tab", name="Orbit").click()
        expect(make).to_be_enabled()


def test_on_a_phone_what_is_tapped_is_seen_and_a_finger_scrolls(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        expect(page.locator("#view img")).to_be_visible()
        page.locator("#examples button").nth(1).tap()
        expect(page.locator("#caption")).to_contain_text("Your picture")
        view = page.locator("#view")
        expect(view).to_be_in_viewport(ratio=0.99)
        page.wait_for_timeout(800)
        assert on_screen(page, view)
        before = page.evaluate("scrollY")
        touch(page, view.locator("img"), [(0.0, -float(y)) for y in (0, 10, 30, 60, 100, 150, 200)])
        page.wait_for_function("(before) => scrollY > before + 100", arg=before)
        expect(page.locator("#globe output")).to_have_text("0°, 0°")


def test_below_what_the_model_was_trained_on_the_globe_says_so(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        choose_example(page)
        beyond = page.locator("#globe .beyond")
        expect(beyond).to_have_text("")
        page.get_by_role("button", name="Below", exact=True).click()
        expect(beyond).to_contain_text("Below -30°: not trained there")
        page.get_by_role("button", name="Above", exact=True).click()
        expect(beyond).to_have_text("")
