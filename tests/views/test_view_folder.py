"""A folder of views is read back as it was written, and others' as they say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._files import write_folder
from zero123lib.views.cameras import FOV_DEG, camera_to_world
from zero123lib.views.folder import gif, read_views, view_files
from zero123lib.views.listings import LISTING
from zero123lib.views.poses import Pose
from zero123lib.views.squaring import squared
from zero123lib.views.transforms import Pinhole

CAMERA = camera_to_world(Pose(10.0, 20.0, 2.0))
POSES = [Pose(10, 0, 1.8), Pose(-20, 130, 1.6)]


def noise(mode: str, seed: int) -> Image.Image:
    channels = len(mode)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), np.uint8)
    return Image.fromarray(pixels)


def test_on_the_sheet_the_input_is_as_large_as_views_that_were_enlarged() -> None:
    black = Image.new("RGB", (16, 16))
    files = view_files([black] * 2, POSES, condition=Image.new("RGB", (8, 8)), labels=["", "", ""])
    sheet = np.asarray(Image.open(io.BytesIO(files["contact_sheet.png"])).convert("L"))
    assert (sheet < 8).sum() == 3 * 16 * 16


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_images_and_cameras_come_back(tmp_path: Path, mode: str) -> None:
    images = [noise(mode, seed) for seed in (0, 1)]
    files = view_files(images, POSES)
    assert list(files) == ["000.png", "001.png", LISTING]
    write_folder(tmp_path / "views", files)
    found = read_views(tmp_path / "views")
    for one, expected in zip(found, images, strict=True):
        assert np.array_equal(np.asarray(one.image), np.asarray(expected.convert("RGBA")))
    cameras = torch.stack([one.camera_to_world for one in found])
    torch.testing.assert_close(cameras, camera_to_world(POSES))
    assert squared(found)[1] == pytest.approx([FOV_DEG] * 2)


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


def test_a_mask_is_an_alpha_and_a_smaller_copy_has_the_same_camera(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (255, 0, 51)).save(tmp_path / "a.jpg", quality=100)
    mask = np.zeros((40, 50), np.uint8)
    mask[:, :25] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    frame: dict[str, Any] = {"file_path": "a", "transform_matrix": CAMERA.tolist()}
    listing = {"fl_x": 90.0, "w": 100, "h": 80, "frames": [{**frame, "mask_path": "m.png"}]}
    (tmp_path / "transforms_train.json").write_text(json.dumps(listing))
    (found,) = read_views(tmp_path)
    assert (np.asarray(found.image)[..., 3] == mask).all()
    assert found.pinhole == Pinhole(50, 40, 45.0, 45.0, 25.0, 20.0)
    (small,) = read_views(tmp_path, 25)
    assert small.pinhole == Pinhole(25, 20, 22.5, 22.5, 12.5, 10.0)
    assert np.asarray(small.image)[:, [0, -1], 3].tolist() == [[255, 0]] * 20
    Image.new("L", (8, 8)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"views: expected a mask of \(50, 40\), got \(8, 8\)"):
        read_views(tmp_path)


def test_images_of_16_bits_are_scaled_and_exif_does_not_turn_what_cameras_see(
    tmp_path: Path,
) -> None:
    frames = [{"file_path": name, "transform_matrix": np.eye(4).tolist()} for name in ("a", "b")]
    listing = {"camera_angle_x": 0.9, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    levels = np.arange(80, dtype=np.uint16).reshape(8, 10) * 800
    Image.fromarray(levels).save(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter when shown
    Image.new("RGB", (10, 8), (200, 10, 10)).save(tmp_path / "b.png", exif=exif)
    grey, turned = (one.image for one in read_views(tmp_path))
    assert np.abs(np.asarray(grey)[..., 0] - levels / 257).max() <= 0.51
    assert turned.size == (10, 8)
