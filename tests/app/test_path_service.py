"""Paths of the camera, as the page and clients ask about them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from tests.app.test_actions import CAR, upload
from zero123lib.app.callbacks import Actions
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.path_service import PathService
from zero123lib.app.sessions import Session
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.paths import path_from_transforms, preset_path
from zero123lib.views.poses import Pose, RelativePose
from zero123lib.views.transforms import poses_from_transforms

EIGHT = {
    "duration_s": 2.0,
    "easing": "ease-in-out",
    "closed": True,
    "keyframes": [
        {"at": i / 8, "elevation_deg": 5.0 * (i % 3), "azimuth_deg": 50.0 * i - 180, "radius": 0.0}
        for i in range(8)
    ],
}


@pytest.fixture
def actions(pipe: Zero123Pipeline) -> Actions:
    return Actions(ModelCache(pipe, Zero123Pipeline.from_pretrained))


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.close()


def test_each_view_of_a_path_is_the_view_from_there_to_the_pixel(
    actions: Actions, uploads: Path, session: Session
) -> None:
    image = upload(uploads, CAR)
    made = PathService(actions.view_service).path(session, image, EIGHT, 8, input_elevation=20)
    *_, (gallery, _, _, gif, _, package) = made
    with zipfile.ZipFile(package) as archive:
        content = json.loads(archive.read("transforms.json"))
        files = [
            np.asarray(Image.open(io.BytesIO(archive.read(f["file_path"]))).convert("RGB"))
            for f in content["frames"]
        ]
    poses = path_from_transforms({"camera_path": EIGHT}, Pose(20)).sample(8)
    assert path_from_transforms(content, Pose(20)) == path_from_transforms(
        {"camera_path": EIGHT}, Pose(20)
    )
    for camera, pose in zip(poses_from_transforms(content), poses, strict=True):
        assert camera.elevation_deg == pytest.approx(20 + pose.elevation_deg, abs=1e-3)
    for (shown, _), file, pose in zip(gallery, files, poses, strict=True):
        *_, (view, _) = actions.view(session, image, pose.elevation_deg, pose.azimuth_deg)
        assert np.array_equal(np.asarray(shown), file)
        assert np.abs(np.asarray(view).astype(int) - file).max() <= 1  # in a batch, or alone
    with Image.open(gif) as film:
        assert film.info["duration"] == 250


def test_the_page_is_told_of_a_path_and_can_keep_it(actions: Actions) -> None:
    paths = PathService(actions.view_service)
    asked: dict[str, Any] = {"path": "spiral", "count": 5, "edit": 7, "start": [10, 0, 0]}
    drawn = paths.drawn(asked, 50)
    bounds = (-90.0, 40.0)
    expected = preset_path("spiral", RelativePose(10), bounds)
    assert drawn["edit"] == 7 and len(drawn["path"]["keyframes"]) == 9
    assert max(up for up, _, _ in drawn["frames"]) == pytest.approx(40)
    assert np.allclose(
        drawn["frames"], [[p.elevation_deg, p.azimuth_deg, p.radius] for p in expected.sample(5)]
    )
    assert "file" not in drawn
    kept = paths.drawn({**asked, "path": drawn["path"], "save": True}, 50)["file"]
    again = paths.drawn({**asked, "path": json.loads(json.dumps(kept))}, 50)
    assert again["path"] == drawn["path"] and again["frames"] == drawn["frames"]
    assert paths.drawn({"path": None, "edit": 1}, 0)["frames"] == []
    assert paths.drawn(None, 0)["path"] is None


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("circle", "path: expected ring, spiral, rise, sway, zoom, or the content"),
        (3, "path: expected ring"),
        ({}, "path: expected a list of frames"),
        ({"keyframes": [{"at": 0.1 * i} for i in range(3)] * 20}, "keyframes: expected moments"),
        ({"keyframes": [{"at": i / 40} for i in range(40)]}, "path: expected at most 36 keyframes"),
        ({"keyframes": [{"at": 0, "radius": 3}]}, r"path.keyframes\[0\].zoom: expected a number"),
        ({"keyframes": [{"at": 0, "elevation_deg": 80}]}, "path: expected a camera between"),
        ({"keyframes": [{"at": 0}], "duration_s": 1e9}, "path.duration_s: expected a number from"),
    ],
)
def test_what_is_no_path_is_one_line(
    actions: Actions, uploads: Path, session: Session, path: Any, complaint: str
) -> None:
    paths = PathService(actions.view_service)
    with pytest.raises(gr.Error, match=complaint):
        paths.drawn({"path": path, "count": 4}, 20)
    with pytest.raises(gr.Error, match=complaint):
        list(paths.path(session, upload(uploads, CAR), path, 4, input_elevation=20))
