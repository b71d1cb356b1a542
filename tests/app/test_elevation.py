"""The estimated elevation: the endpoint is the library, and the page suggests no more than that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client, handle_file
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.app.conftest import CHROMIUM
from tests.app.test_page import DESKTOP, choose_example, number, opened
from zero123lib.app import elevation
from zero123lib.app.elevation import ElevationService, offered, said
from zero123lib.app.examples import example_files
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.inversion.elevation import (
    CANDIDATES_DEG,
    ElevationEstimate,
    elevation_steps,
    estimate_elevation,
)
from zero123lib.views.images import prepare

WHITE = prepare(torch.ones(3, 8, 8), 8, "none", 0.8)
SURE = ElevationEstimate(
    23.4, 0.8, 23.4, torch.tensor(CANDIDATES_DEG), torch.ones(len(CANDIDATES_DEG)), (), WHITE, None
)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """An image that is no example."""
    file = tmp_path / "photo.png"
    Image.open(example_files()[3]).resize((200, 200)).save(file)
    return file


@pytest.fixture
def service(pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service, for functions called without a server; its uploads lie with the photo."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return ElevationService(ViewService(ModelCache(pipe, Zero123Pipeline.from_pretrained)))


def test_an_estimate_in_pieces_is_the_librarys(
    pipe: Zero123Pipeline, url: str, photo: Path
) -> None:
    whole = estimate_elevation(pipe, str(photo))
    steps, pieces = elevation_steps(pipe, pipe.prepare(str(photo)), views_at_once=4), []
    while True:
        try:
            pieces.append(next(steps))
        except StopIteration as end:
            parted = end.value
            break
    assert [done for done, _ in pieces] == [*range(1, 10)] and {all_ for _, all_ in pieces} == {9}
    degrees, confidence, words = Client(url, verbose=False).predict(
        handle_file(photo), api_name="/elevation"
    )
    for one in (parted.elevation_deg, degrees):
        assert one == pytest.approx(whole.elevation_deg, abs=1e-3)
    assert confidence == pytest.approx(whole.confidence, abs=1e-4)
    assert words == (whole.notice or said(whole))


def test_no_more_is_offered_than_the_library_trusts() -> None:
    doubtful, unknown = (replace(SURE, confidence=one) for one in (0.3, None))
    strange = replace(SURE, notice="This image is unlike the objects.")
    assert [offered(one) for one in (SURE, doubtful, unknown, strange)] == [23, None, 23, None]
    assert said(SURE) == "Estimated 23° up: 80 % sure to be within 15 degrees."
    assert said(doubtful) == (
        "Estimated 23° up: not to be trusted, 30 % sure to be within 15 degrees."
    )
    assert "how sure is not known" in said(unknown)
    assert "not to be trusted" in said(strange)


def test_what_takes_long_is_estimated_when_it_is_asked_for(
    service: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elevation, "turns_fast", lambda pipe: False)
    monkeypatch.setattr(elevation, "elevation_steps", estimates(SURE))
    image = {"path": str(photo)}
    (answer,) = service.suggest(Session(), image, "auto", None)
    assert answer["ask"] is True and answer["offer"] is None
    *_, answer = service.suggest(Session(), image, "auto", None, asked=True)
    assert answer["offer"] == 23 and answer["path"] == str(photo)


def test_views_go_before_the_next_piece_of_an_estimate(
    service: Any, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elevation, "elevation_steps", estimates(SURE))
    line = service.view_service.line
    with line.join(interactive=True) as view, line.turn(view):
        answers = service.suggest(Session(), {"path": str(photo)}, "auto", None)
        assert "Estimating" in next(answers)["words"]
        assert next(answers)["words"] == "Waiting: 1 request goes first"
    *_, answer = answers
    assert answer["offer"] == 23


def estimates(found: ElevationEstimate) -> Any:
    """What makes that estimate, in no time."""

    def steps(*_: Any, **__: Any) -> Iterator[tuple[int, int]]:
        yield 1, 1
        return found

    return steps


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path")
def test_an_estimate_is_suggested_and_taken_with_one_click(
    browser: Browser, url: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elevation, "elevation_steps", estimates(SURE))
    with opened(browser, url, **DESKTOP) as page:
        line, take = page.locator("#suggestion span"), page.locator("#suggestion button")
        expect(line).to_have_text("An example: known to be 20° up.")
        page.locator("#picture").get_by_role("button", name="Remove Image").click()
        expect(line).to_have_text("")
        page.locator("#picture input[type=file]").set_input_files(photo)
        expect(line).to_contain_text("23° up: 80 % sure")
        page.get_by_text("Cut-out and framing").click()
        known = number(page, "Elevation of your picture's camera")
        expect(known).to_have_value("0")  # it is suggested, not taken
        expect(take).to_have_text("Take 23°")
        take.click()
        expect(known).to_have_value("23")
        expect(take).to_be_hidden()
        known.fill("10")
        known.press("Enter")
        expect(take).to_be_visible()

        monkeypatch.setattr(elevation, "elevation_steps", estimates(replace(SURE, confidence=0.3)))
        choose_example(page)
        expect(line).to_contain_text("An example")
        page.locator("#picture").get_by_role("button", name="Remove Image").click()
        page.locator("#picture input[type=file]").set_input_files(
            photo.rename(photo.parent / "b.png")
        )
        expect(line).to_contain_text("not to be trusted")
        expect(take).to_be_hidden()
