"""The page in a real browser: it works, fits a phone and asks no other host for anything."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PATIENCE_MS = 60_000

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of a phone's size, dark."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()
        browser.close()


def test_a_preset_of_an_example_on_a_phone(page: Page, url: str) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda r: elsewhere.append(r.url) if is_elsewhere(r.url, url) else None)
    page.goto(url)
    page.locator("#examples button").first.click()
    expect(page.locator("#cut-out img")).to_be_visible()
    expect(page.locator("#note")).to_contain_text("own transparency")

    page.get_by_role("button", name="Left").click()
    expect(page.locator("#views .gallery-item img")).to_have_count(1)
    expect(page.locator("#views")).to_contain_text("-90°")
    expect(page.get_by_label("number input for Azimuth")).to_have_value("-90")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert complaints == [] and elsewhere == []


def test_a_wrong_value_is_shown_in_the_page(page: Page, url: str) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(url)
    page.locator("#examples button").first.click()
    expect(page.locator("#cut-out img")).to_be_visible()
    page.get_by_label("Azimuths of the views").fill("0, somewhere")
    page.get_by_role("button", name="Make views").click()
    expect(page.locator(".toast-body")).to_contain_text("azimuths: expected finite numbers")


def test_a_model_that_needs_the_inputs_elevation_asks_for_it(page: Page, told_url: str) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    page.goto(told_url)
    page.locator("#examples button").first.click()
    expect(page.locator("#cut-out img")).to_be_visible()
    field = page.get_by_label("Elevation of your picture's camera")
    expect(field).to_have_value("")
    page.get_by_role("button", name="Left").click()
    expect(page.locator(".toast-body")).to_contain_text("input_elevation: expected the elevation")
    field.fill("20")
    page.get_by_role("button", name="Left").click()
    expect(page.locator("#views .gallery-item img")).to_have_count(1)


def is_elsewhere(address: str, url: str) -> bool:
    return address.startswith("http") and not address.startswith(url)
