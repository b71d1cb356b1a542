"""The page below a path of a server that other applications share, its views made elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from gradio_client import Client, handle_file
from PIL import Image

from zero123lib.app.sampling import Elsewhere, Sampling, Shown
from zero123lib.serving.maker import ViewMaker
from zero123lib.serving.page import page
from zero123lib.views.images import Prepared

PREFIX = "/page"


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve below a prefix as Ray Serve does: `root_path` tells it, and the path is whole."""

    async def below(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = {**scope, "root_path": PREFIX}
        await app(scope, receive, send)

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(below, log_level="error", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([place],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}{PREFIX}/"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def test_a_visitors_views_are_made_elsewhere(
    maker: ViewMaker, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    (tmp_path / "photo.png").write_bytes(photo)
    asked: list[Sampling] = []

    def sample(model: str, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        asked.append(what)
        for shown in maker.sampled(prepared, what):
            images = shown.images and [image.convert("L").convert("RGB") for image in shown.images]
            yield Shown(shown.step, shown.total, images)

    with listening(page(maker.pipe, Elsewhere(sample, at_once=2), 8)) as address:
        client = Client(address, verbose=False)
        view, caption = client.predict(
            handle_file(tmp_path / "photo.png"), 10, 45, api_name="/preview"
        )
    pixels = np.asarray(Image.open(view).convert("RGB"))
    assert np.ptp(pixels, axis=-1).max() < 20, "the grey one, which only they make"
    assert [one.poses[0].azimuth_deg for one in asked] == [45.0] and "tiny" in caption
