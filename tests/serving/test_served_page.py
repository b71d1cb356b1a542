"""The page below a path of a server that other applications share, its views made elsewhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from zero123lib.app.sampling import Elsewhere, Sampling, Shown
from zero123lib.serving.maker import ViewMaker
from zero123lib.serving.page import page
from zero123lib.views.images import Prepared

# What Ray Serve tells as `root_path`, while the path is whole.
PREFIX = "/page"


def test_a_visitors_views_are_made_elsewhere(
    maker: ViewMaker, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    asked: list[Sampling] = []

    def sample(model: str, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        asked.append(what)
        for shown in maker.sampled(prepared, what):
            images = shown.images and [image.convert("L").convert("RGB") for image in shown.images]
            yield Shown(shown.step, shown.total, images)

    app = page(maker.pipe, Elsewhere(sample, at_once=2), 8)
    with TestClient(app, root_path=PREFIX) as client:
        assert "gradio" in client.get(f"{PREFIX}/").text
        place = f"{PREFIX}/gradio_api"
        (path,) = client.post(f"{place}/upload", files={"files": ("photo.png", photo)}).json()
        image = {"path": path, "meta": {"_type": "gradio.FileData"}}
        data = [image, 10, 45, 0, None, 0, None, None, True, "auto", None]
        begun = client.post(f"{place}/call/preview", json={"data": data}).json()
        told = client.get(f"{place}/call/preview/{begun['event_id']}").text
        assert "event: complete" in told, told
        view, caption = json.loads(told.rpartition("data: ")[2])
        assert view["url"].startswith(f"http://testserver{place}/file=")
        pixels = np.asarray(Image.open(io.BytesIO(client.get(view["url"]).content)).convert("RGB"))
        refused = client.post(f"{place}/call/preview", json={"data": [{"path": "http://x/y"}]})
        assert refused.status_code == 403
    assert np.ptp(pixels, axis=-1).max() < 20, "the grey one, which only they make"
    assert [one.poses[0].azimuth_deg for one in asked] == [45.0] and "tiny" in caption
