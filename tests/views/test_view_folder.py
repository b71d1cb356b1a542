"""A folder of views is read back as it was written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._files import write_folder
from zero123lib.views.cameras import FOV_DEG, camera_to_world
from zero123lib.views.folder import LISTING, gif, read_views, view_files
from zero123lib.views.poses import Pose

POSES = [Pose(10, 0, 1.8), Pose(-20, 130, 1.6)]


def noise(mode: str, seed: int) -> Image.Image:
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_images_and_cameras_come_back(tmp_path: Path, mode: str) -> None:
    images = [noise(mode, seed) for seed in (0, 1)]
    files = view_files(images, POSES)
    assert list(files) == ["000.png", "001.png", LISTING]
    write_folder(tmp_path / "views", files)
    found, cameras, fov_deg = read_views(tmp_path / "views")
    for image, expected in zip(found, images, strict=True):
        assert np.array_equal(np.asarray(image), np.asarray(expected.convert("RGBA")))
    torch.testing.assert_close(cameras, camera_to_world(POSES))
    assert fov_deg == pytest.approx(FOV_DEG)


def test_what_is_asked_for_besides_comes_before_the_listing() -> None:
    images = [noise("RGB", seed) for seed in (0, 1)]
    labels = ["input", "a", "b"]
    files = view_files(
        images, POSES, condition=images[0], labels=labels, animation=images, made_by={"seed": 3}
    )
    assert list(files)[2:] == ["contact_sheet.png", "orbit.gif", LISTING]
    listing = json.loads(files[LISTING])
    assert (listing["w"], listing["h"], listing["made_by"]) == (8, 8, {"seed": 3})


def test_an_animation_goes_round_for_ever() -> None:
    with Image.open(io.BytesIO(gif([noise("RGB", 0), noise("RGB", 1)], 40))) as image:
        assert (getattr(image, "n_frames", 1), image.info["loop"], image.info["duration"]) == (
            2, 0, 40,
        )  # fmt: skip
