"""Cameras of held-out objects, found by the bundled model; and what it must not be sure of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib import Pose, Zero123Pipeline
from zero123lib._errors import ArgumentError
from zero123lib.inversion.elevation import estimate_elevation
from zero123lib.inversion.folder import posed_files
from zero123lib.inversion.landscape import turn_deg
from zero123lib.inversion.poses import PoseEstimate, estimate_poses
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.errors import ImageError
from zero123lib.views.folder import read_views
from zero123lib.views.images import ImageSource

CHAIR = (Pose(25, 0, 1.85), Pose(15, 80, 1.85))


def photos(seed: int, kind: str, cameras: tuple[Pose, ...]) -> list[Image.Image]:
    rgba = render(random_scene(HELD_OUT_SEED + seed, kind), cameras, 160).rgba
    return [Image.fromarray((one.numpy() * 255).round().astype(np.uint8)) for one in rgba]


@pytest.fixture(scope="module")
def chairs(pipe: Zero123Pipeline) -> PoseEstimate:
    return estimate_poses(pipe, photos(406, "chair", CHAIR))


def test_elevations_follow_the_true_ones(pipe: Zero123Pipeline) -> None:
    """Eight objects; the best constant is off by 20 degrees on average."""
    true = [-5.0, 5.0, 15.0, 25.0, 35.0, 45.0, 50.0, 55.0]
    kinds = ["chair", "table", "car", "bear", "duck", "chair", "table", "car"]
    found = [
        estimate_elevation(pipe, photos(910 + i, kind, (Pose(e, 40.0 * i, 1.8),))[0])
        for i, (e, kind) in enumerate(zip(true, kinds, strict=True))
    ]
    errors = (torch.tensor([one.elevation_deg for one in found]) - torch.tensor(true)).abs()
    assert float(errors.median()) < 15
    assert all(one.confidence is not None and 0 <= one.confidence <= 1 for one in found)


def test_the_turn_between_two_photos_is_found(chairs: PoseEstimate) -> None:
    """Of a chair that it is sure of; of others it is not, and often wrong."""
    true, found = CHAIR[1].relative_to(CHAIR[0]), chairs.poses[1]
    both = [torch.tensor([p.elevation_deg, p.azimuth_deg, 0.0]) for p in (true, found)]
    assert float(turn_deg(both[0], both[1], CHAIR[0].elevation_deg)) < 20
    assert chairs.trusted
    assert chairs.poses[0].elevation_deg == chairs.poses[0].azimuth_deg == 0


def test_the_same_question_has_the_same_answer(pipe: Zero123Pipeline, chairs: PoseEstimate) -> None:
    again = estimate_poses(pipe, photos(406, "chair", CHAIR), steps=0)
    assert torch.equal(again.landscapes[0].losses, chairs.landscapes[0].losses)


def test_the_folder_is_read_back_with_its_cameras(chairs: PoseEstimate, tmp_path) -> None:
    source = Pose(15, 0, 1.85)
    for name, content in posed_files(chairs, source, {"model": "tiny"}).items():
        (tmp_path / name).write_bytes(content)
    views = read_views(tmp_path)
    assert len(views) == 2 and (tmp_path / "landscape.png").exists()
    for view, camera in zip(views, chairs.cameras(source), strict=True):
        assert float(view.camera_to_world[:3, 3].norm()) == pytest.approx(camera.radius, rel=1e-4)


def test_photos_of_different_objects_are_not_trusted(pipe: Zero123Pipeline) -> None:
    """Nor is anything else of a model whose poses are not calibrated."""
    one, other = photos(901, "chair", CHAIR)[0], photos(902, "car", CHAIR)[1]
    assert not estimate_poses(pipe, [one, other], steps=0).trusted


def test_the_same_photo_twice_is_refused(pipe: Zero123Pipeline) -> None:
    one, other = photos(903, "mug", CHAIR)
    with pytest.raises(ArgumentError, match=r"images: expected photos from different .*0 and 2"):
        estimate_poses(pipe, [one, other, one.resize((150, 150))])


def blank(size: int) -> torch.Tensor:
    return torch.full((3, size, size), 0.3)


def test_what_shows_nothing_is_refused(pipe: Zero123Pipeline) -> None:
    empty = blank(pipe.image_size)
    with pytest.raises(ImageError, match="image: expected an object"):
        estimate_elevation(pipe, empty)
    with pytest.raises(ImageError, match=r"images\[1\]: expected an object"):
        estimate_poses(pipe, [photos(904, "mug", CHAIR)[0], empty])


def test_a_photo_that_is_unlike_the_models_objects_is_not_trusted(pipe: Zero123Pipeline) -> None:
    """Noise is rough all over, as no drawn object is."""
    noise = torch.rand(3, pipe.image_size, pipe.image_size, generator=torch.Generator()) * 2 - 1
    found = estimate_elevation(pipe, noise)
    assert found.notice is not None and not found.trusted


def test_the_first_photos_camera_stays_at_a_pole(pipe: Zero123Pipeline) -> None:
    """Others are kept on this side of it."""
    found = estimate_poses(pipe, photos(406, "chair", CHAIR), elevation_deg=90.0, steps=0)
    assert found.poses[0].elevation_deg == found.poses[0].azimuth_deg == 0
    assert found.poses[1].elevation_deg <= -1
    assert found.cameras(Pose(90.0, 0.0, 1.85))[1].elevation_deg <= 89


@pytest.mark.parametrize("count", [0, 1, 9])
def test_too_few_and_too_many_photos_are_refused(pipe: Zero123Pipeline, count: int) -> None:
    images: list[ImageSource] = [Image.new("RGB", (64, 64))] * count
    with pytest.raises(ArgumentError, match=f"images: expected 2 to 8 .*got {count}"):
        estimate_poses(pipe, images)


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -1), ("steps", 1.5), ("starts_count", 0), ("elevation_deg", float("nan"))],
)
def test_numbers_of_no_use_are_named(pipe: Zero123Pipeline, name: str, value: Any) -> None:
    with pytest.raises(ArgumentError, match=f"^{name}: expected "):
        estimate_poses(pipe, [Image.new("RGB", (64, 64))] * 2, **{name: value})
