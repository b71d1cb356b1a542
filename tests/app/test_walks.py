"""The main job by keyboard alone, and by finger alone: choose, turn, take an orbit away."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import DESKTOP, PHONE, opened, touch

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")

# More stops of the Tab key than the page has.
STOPS = 120


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until it has the focus, which is seen there."""
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        if wanted.evaluate("(part) => part === document.activeElement"):
            outline = "(part) => getComputedStyle(part).outlineStyle"
            assert wanted.evaluate(outline) != "none"
            return
    raise AssertionError(f"no way by Tab to {wanted}")


def views(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return [name for name in archive.namelist() if re.fullmatch(r"\d{3}\.png", name)]


def test_with_the_keyboard_alone(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        page.keyboard.press("Tab")
        tab_to(page, page.locator("#examples button").first)
        page.keyboard.press("Enter")
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("bear"))
        expect(page.locator("#caption")).to_contain_text("Your picture")
        tab_to(page, page.locator("#globe canvas"))
        for key in ("ArrowRight", "Shift+ArrowRight", "ArrowUp"):
            page.keyboard.press(key)
        expect(page.locator("#caption")).to_contain_text("20° right, 5° up · 2 steps,")
        tab_to(page, page.get_by_role("tab", name="Orbit"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("tab", name="Orbit")).to_have_attribute("aria-selected", "true")
        tab_to(page, page.get_by_label("number input for Views around"))
        page.keyboard.press("Control+a")
        page.keyboard.type("2")
        tab_to(page, page.get_by_role("button", name="Make the orbit"))
        page.keyboard.press("Enter")
        expect(page.locator("#gallery .gallery-item img")).to_have_count(2)
        tab_to(page, page.locator("#downloads").get_by_text("Zip, with cameras"))
        with page.expect_download() as waiting:
            page.keyboard.press("Enter")
        assert views(Path(waiting.value.path())) == ["000.png", "001.png"]


def test_with_a_finger_alone(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as page:
        page.locator("#examples button").first.tap()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("bear"))
        expect(page.locator("#caption")).to_contain_text("Your picture")
        touch(page, page.locator("#view img"), [(0, 0), (-20, 0), (-50, 0)])
        expect(page.locator("#caption")).to_contain_text("30° right · 2 steps,")
        page.get_by_role("tab", name="Orbit").tap()
        page.get_by_role("button", name="Make the orbit").tap()
        expect(page.locator("#gallery .gallery-item img")).to_have_count(8)
        package = page.locator("#downloads").get_by_text("Zip, with cameras")
        with page.expect_download() as waiting:
            package.tap()
        assert len(views(Path(waiting.value.path()))) == 8
