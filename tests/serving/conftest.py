"""The API in this process, and what is asked of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageDraw

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.serving.answers import Answer, Refusal
from zero123lib.serving.api import build
from zero123lib.serving.asking import Asking
from zero123lib.serving.desk import Desk
from zero123lib.serving.maker import ViewMaker
from zero123lib.serving.watching import Metrics
from zero123lib.views.folder import png

PLACES = 2


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A PNG of one object."""
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).rounded_rectangle((12, 20, 52, 50), 6, fill=(200, 60, 40, 255))
    return png(image)


@pytest.fixture(scope="session")
def maker() -> ViewMaker:
    """What a replica has."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    return ViewMaker(pipe)


@pytest.fixture
def desk() -> Desk:
    """Where requests wait."""
    return Desk(at_once=1, places=PLACES)


@pytest.fixture
def client(maker: ViewMaker, desk: Desk) -> Iterator[TestClient]:
    """Whoever asks."""

    async def make(content: bytes, name: str, asking: Asking, number: str) -> Answer | Refusal:
        return await asyncio.to_thread(maker.make, content, name, asking, number)

    async def ready() -> str | None:
        return None

    with TestClient(build(make, ready, desk, Metrics(desk))) as asking:
        yield asking
