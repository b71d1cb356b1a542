"""Images of known cameras: read as they were written, and refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.meshes.posed_images import read_posed_images
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json

POSES = [Pose(10.0, 0.0, 1.8), Pose(-20.0, 120.0, 1.8)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (2, 6, 6, 4), np.uint8)
    for name, one in zip("ab", pixels, strict=True):
        Image.fromarray(one).save(tmp_path / f"{name}.png")
    listing = transforms_json(["a.png", "b.png"], POSES, 30.0)
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    return tmp_path


def test_images_and_cameras_come_back(folder: Path) -> None:
    images, cameras = read_posed_images(folder)
    expected = np.stack([np.asarray(Image.open(folder / name)) for name in ("a.png", "b.png")])
    assert torch.equal(images, torch.from_numpy(expected.astype(np.float32)) / 255)
    for camera, pose in zip(cameras, POSES, strict=True):
        assert (camera.size, camera.fov_deg) == (6, pytest.approx(30.0))
        torch.testing.assert_close(camera.camera_to_world, camera_to_world(pose))


def test_images_without_alpha_are_opaque(folder: Path) -> None:
    Image.new("RGB", (6, 6), (255, 0, 51)).save(folder / "a.png")
    images, _ = read_posed_images(folder)
    torch.testing.assert_close(images[0], torch.tensor([1.0, 0.0, 0.2, 1.0]).expand(6, 6, 4))


def test_images_of_other_shapes_are_brought_to_squares(folder: Path) -> None:
    Image.new("RGB", (8, 4), (255, 0, 0)).save(folder / "b.png")
    images, cameras = read_posed_images(folder)
    assert images.shape == (2, 8, 8, 4) and {camera.size for camera in cameras} == {8}
    # The listed angle is that across an image, the longer side of the second.
    assert [camera.fov_deg for camera in cameras] == pytest.approx([30.0, 30.0])


def relist(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        listing = json.loads((folder / "transforms.json").read_text())
        listing["frames"][1]["file_path"] = name
        (folder / "transforms.json").write_text(json.dumps(listing))

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda folder: (folder / "transforms.json").unlink(), "a folder with a transforms.json"),
        (lambda folder: (folder / "transforms.json").write_text("{"), "json with frames"),
        (
            lambda folder: (folder / "transforms.json").write_text(
                json.dumps({"camera_angle_x": 1.0, "frames": []})
            ),
            "got none",
        ),
        (lambda folder: (folder / "b.png").unlink(), "b.png"),
        (lambda folder: (folder / "b.png").write_bytes(b"no image"), "b.png"),
        (relist("../b.png"), "expected images within"),
    ],
)
def test_what_is_wrong_is_named(
    folder: Path, change: Callable[[Path], object], complaint: str
) -> None:
    change(folder)
    with pytest.raises(ValueError, match=f"views: .*{complaint}"):
        read_posed_images(folder)
