"""The page by axe, the checker of accessibility, when its folder is named.

npm install axe-core
AXE_CORE=node_modules/axe-core make test ARGS=tests/app/test_access.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import DESKTOP, PHONE, choose_example, opened
from zero123lib.app.examples import EXAMPLES

FOLDER = os.environ.get("AXE_CORE")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
    pytest.mark.skipif(
        FOLDER is None, reason="AXE_CORE does not name the folder of npm's axe-core"
    ),
]


def serious(page: Page) -> list[tuple[str, str, list[Any]]]:
    """Findings of axe that keep people out."""
    assert FOLDER is not None
    page.evaluate((Path(FOLDER) / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (one["id"], one["impact"], [node["html"][:160] for node in one["nodes"][:4]])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    browser: Browser, url: str, device: dict[str, Any], scheme: str
) -> None:
    with opened(browser, url, **{**device, "color_scheme": scheme}) as page:
        expect(page.locator("#examples .gallery-item[aria-label]")).to_have_count(len(EXAMPLES))
        assert serious(page) == []
        choose_example(page)
        page.get_by_text("Cut-out and framing").click()
        page.get_by_text("A path for the camera").click()
        page.get_by_role("button", name="Spiral").click()
        page.get_by_text("Sampling").click()
        page.get_by_text("Model", exact=True).click()
        page.wait_for_timeout(500)
        assert serious(page) == []
        page.get_by_role("tab", name="Orbit").click()
        page.get_by_role("button", name="Make the orbit").click()
        page.locator("#downloads").wait_for()
        assert serious(page) == []
        page.get_by_role("tab", name="3D").click()
        page.wait_for_timeout(300)
        assert serious(page) == []
