"""The strip of results: each brings back its picture, camera and settings, after a reload too."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import DESKTOP, choose_example, number, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")

# Results as the page tells of them, of two pictures in turn.
MANY = """(count) => {
  const paint = (colour) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
    canvas.getContext("2d").fillStyle = colour;
    canvas.getContext("2d").fillRect(0, 0, 8, 8);
    return canvas.toDataURL();
  };
  for (let i = 0; i < count; i++) {
    const url = paint(i % 2 ? "red" : "blue");
    const detail = {
      kind: i % 3 ? "view" : "orbit", image: { path: `/p${i % 2}`, url, orig_name: "p.png" },
      settings: [i], path: null, shown: url, caption: `number ${i}`,
    };
    document.dispatchEvent(new CustomEvent("result-made", { detail }));
  }
}"""


def set_number(page: Page, label: str, value: int) -> None:
    number(page, label).fill(str(value))
    number(page, label).press("Enter")


def result(page: Page, name: str, caption: str) -> Locator:
    one = page.locator("#visit li", has_text=caption)
    return one.get_by_role("button", name=name, exact=True)


def test_results_bring_back_picture_camera_and_settings_after_a_reload(
    browser: Browser, url: str
) -> None:
    with opened(browser, url, **DESKTOP) as page:
        expect(page.locator("#visit section")).to_be_hidden()
        choose_example(page)
        page.get_by_text("Sampling", exact=True).click()
        page.get_by_label("Seed", exact=True).fill("7")
        page.get_by_label("Seed", exact=True).press("Tab")
        page.get_by_role("button", name="Left", exact=True).click()
        expect(page.locator("#caption")).to_contain_text("90° left · 2 steps,")
        left = result(page, "view of bear.png", "90° left")
        expect(left).to_have_count(1)
        before = page.locator("#view img").get_attribute("src")

        page.locator("#examples button").nth(1).click()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("car"))
        expect(page.locator("#caption")).to_contain_text("Your picture")
        page.get_by_role("tab", name="Orbit").click()
        set_number(page, "Views around", 2)
        page.get_by_role("button", name="Make the orbit").click()
        around = result(page, "orbit of car.png", "2 views")
        expect(around).to_have_count(1)

        page.reload()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("duck"))
        left.click()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("bear"))
        expect(page.locator("#caption")).to_contain_text("90° left · 2 steps,")
        expect(page.locator("#globe output")).to_have_text("90° left, 0°")
        expect(number(page, "Azimuth")).to_have_value("-90")
        # A file's place tells its content.
        expect(page.locator("#view img")).to_have_attribute("src", before or "")
        around.click()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("car"))
        expect(page.get_by_role("tab", name="Orbit")).to_have_attribute("aria-selected", "true")
        expect(number(page, "Views around")).to_have_value("2")
        expect(page.locator("#globe output")).to_have_text("0°, 0°")

        page.get_by_role("button", name="Forget them").click()
        expect(page.locator("#visit section")).to_be_hidden()
        page.reload()
        expect(page.locator("#picture img")).to_have_attribute("src", re.compile("duck"))
        expect(page.locator("#visit section")).to_be_hidden()


def test_the_strip_is_bounded_and_says_each_result_once(browser: Browser, url: str) -> None:
    with opened(browser, url, **DESKTOP) as page:
        page.evaluate(MANY, 45)
        kept = page.locator("#visit li")
        expect(kept).to_have_count(24)
        expect(kept.first).to_contain_text("number 44")
        expect(page.locator("#visit li b", has_text="view")).to_have_count(12)
        page.reload()
        expect(kept).to_have_count(24)
        page.evaluate(MANY, 1)  # one that is forgotten by now, as the first of them
        expect(kept.first).to_contain_text("number 0")
        page.evaluate(MANY, 1)  # the same again
        expect(page.locator("#visit li", has_text="number 0")).to_have_count(1)
