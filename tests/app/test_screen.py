"""The page as a visitor sees it: what stands still, fits, is large enough and says the truth."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import DESKTOP, PHONE, choose_example, number, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")

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


@pytest.mark.parametrize("width", [1024, 1366, 1600])
def test_the_page_stands_still_whatever_the_caption_says(
    browser: Browser, url: str, width: int
) -> None:
    with opened(browser, url, viewport={"width": width, "height": 900}) as page:
        choose_example(page)
        parts = [page.locator(part) for part in ("#globe", "#view", "#picture", "#caption")]
        before = [place(part) for part in parts]
        for words in ("", "0°", "A caption that is as long as any: " + 3 * "12.3 s, tiny "):
            page.locator("#caption p").first.evaluate("(p, words) => p.textContent = words", words)
            page.wait_for_timeout(100)
            assert [place(part) for part in parts] == before


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
        for part in ("Cut-out and framing", "Model", "Sampling"):
            page.get_by_text(part, exact=True).click()
        for tab in ("View", "Orbit", "3D"):
            page.get_by_role("tab", name=tab).click()
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
