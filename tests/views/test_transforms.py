"""transforms.json of all makes: the same cameras, however they are written down."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from zero123lib.views.cameras import camera_to_world
from zero123lib.views.listings import find_image, find_listing
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import (
    Pinhole,
    poses_from_transforms,
    read_frames,
    transforms_json,
)

MATRIX = camera_to_world(Pose(20.0, 30.0, 2.0))
ANGLE = math.radians(40.0)
FOCAL = 50.0 / math.tan(ANGLE / 2)  # of 100 pixels


def written(folder: Path, content: dict[str, Any], name: str = "transforms.json") -> Path:
    (folder / name).write_text(json.dumps(content))
    return folder / name


def frame(**more: Any) -> dict[str, Any]:
    return {"file_path": "a.png", "transform_matrix": MATRIX.tolist(), **more}


def test_ours_is_read_as_it_is_written(tmp_path: Path) -> None:
    poses = [Pose(10.0, 0.0, 1.8), Pose(-20.0, 120.0, 1.8)]
    listing = written(tmp_path, transforms_json(["a.png", "b.png"], poses, 40.0))
    frames = read_frames(listing)
    assert [one.file_path for one in frames] == ["a.png", "b.png"]
    torch.testing.assert_close(
        torch.stack([one.camera_to_world for one in frames]), camera_to_world(poses)
    )
    found = frames[0].pinhole(100, 100)
    back = poses_from_transforms(json.loads(listing.read_text()))
    for pose, expected in zip(back, poses, strict=True):
        assert vars(pose) == pytest.approx(vars(expected), abs=1e-4)
    assert vars(found) == pytest.approx(vars(Pinhole(100, 100, FOCAL, FOCAL, 50.0, 50.0)))


@pytest.mark.parametrize(
    ("names", "poses", "message"),
    [(["a.png"], [], "one per pose"), (["views.d/a"], [Pose()], "names with an extension")],
)
def test_what_does_not_fit_is_not_written(
    names: list[str], poses: list[Pose], message: str
) -> None:
    with pytest.raises(ValueError, match=f"file_names: expected {message}"):
        transforms_json(names, poses)


@pytest.mark.parametrize(
    ("all_of_them", "one", "size", "expected"),
    [
        # NeRF's: an angle across, whatever the image's size.
        ({"camera_angle_x": ANGLE}, {}, (100, 60), (FOCAL, FOCAL, 50.0, 30.0)),
        # nerfstudio's, and a copy at half the size.
        ({"fl_x": 90.0, "fl_y": 80.0, "cx": 60.0, "cy": 40.0, "w": 100, "h": 80,
          "camera_model": "OPENCV", "k1": 0.0, "k2": 0, "p1": 0.0, "p2": 0.0,
          "applied_transform": [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]]},
         {}, (50, 40), (45.0, 40.0, 30.0, 20.0)),
        # Frame by frame, over what is said of all.
        ({"fl_x": 1.0, "w": 100, "h": 80}, {"fl_x": 70.0, "cx": 20.0}, (100, 80),
         (70.0, 70.0, 20.0, 40.0)),
        # instant-ngp's: both.
        ({"camera_angle_x": 0.1, "camera_angle_y": 0.1, "fl_x": 70.0, "fl_y": 60.0, "cx": 50.0,
          "cy": 40.0, "w": 100.0, "h": 80.0, "aabb_scale": 4}, {}, (100, 80),
         (70.0, 60.0, 50.0, 40.0)),
        ({"camera_angle_x": ANGLE, "camera_angle_y": 2 * math.atan(0.5)}, {}, (100, 60),
         (FOCAL, 60.0, 50.0, 30.0)),
    ],
)  # fmt: skip
def test_intrinsics_of_every_make(
    all_of_them: dict, one: dict, size: tuple[int, int], expected: tuple, tmp_path: Path
) -> None:
    (found,) = read_frames(written(tmp_path, {**all_of_them, "frames": [frame(**one)]}))
    camera = found.pinhole(*size)
    assert (camera.width, camera.height) == size
    assert (camera.fl_x, camera.fl_y, camera.cx, camera.cy) == pytest.approx(expected)
    torch.testing.assert_close(found.camera_to_world, MATRIX)


def test_three_rows_are_a_matrix_too(tmp_path: Path) -> None:
    content = {"fl_x": 9, "frames": [frame(transform_matrix=MATRIX[:3].tolist())]}
    torch.testing.assert_close(read_frames(written(tmp_path, content))[0].camera_to_world, MATRIX)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"k1": 0.1, "fl_x": 9.0, "camera_model": "OPENCV"},
         r"frame 0 of transforms.json: expected an image without lens distortion.*OPENCV with k1"),
        ({"fl_x": 9.0, "camera_model": "OPENCV_FISHEYE"}, "without lens distortion.*FISHEYE"),
        ({"fl_x": 9.0, "is_fisheye": True}, "without lens distortion.*fisheye lens"),
        ({}, "frame 0 of transforms.json: expected fl_x or camera_angle_x, got neither"),
        ({"fl_x": "x"}, r"frame 0 .*fl_x: expected a number, got 'x'"),
        ({"fl_x": 10**400}, r"frame 0 .*fl_x: expected a number"),
        ({"fl_x": -1.0}, r"fl_x: expected a number above 0, got -1"),
        ({"fl_x": float("nan")}, "fl_x: expected a finite number"),
        ({"camera_angle_x": 4.0}, "camera_angle_x: expected radians between 0 and pi"),
    ],
)  # fmt: skip
def test_cameras_that_are_no_pinholes_are_refused_in_words(
    content: dict, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_frames(written(tmp_path, {**content, "frames": [frame()]}))


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        ("x", "4 rows of 4 numbers"),
        ([[1.0, 2.0]], r"4 rows of 4 numbers, got the shape \[1, 2\]"),
        ([[10**400] * 4] * 4, "4 rows of 4 numbers"),
        ((2 * MATRIX).tolist(), "a rotation and a place"),
        ((MATRIX @ torch.diag(torch.tensor([-1.0, 1, 1, 1]))).tolist(), "a rotation and a place"),
        (torch.full((4, 4), float("inf")).tolist(), "finite numbers"),
    ],
)
def test_matrices_that_are_none_are_refused(matrix: Any, complaint: str, tmp_path: Path) -> None:
    content = {"fl_x": 9.0, "frames": [frame(), frame(transform_matrix=matrix)]}
    with pytest.raises(ValueError, match=f"frame 1 .*transform_matrix: expected {complaint}"):
        read_frames(written(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "JSONDecodeError"), ("[]", "a list of frames"), ("{}", "a list of frames"),
     ('{"frames": []}', "a list of frames in transforms.json, got none"),
     ('{"fl_x": 1, "frames": [3]}', "frame 0 .*expected an object, got int"),
     ('{"fl_x": 1, "frames": [{"file_path": "a"}]}', "the key transform_matrix, got none")],
)  # fmt: skip
def test_files_that_are_no_listings_are_refused(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_frames(tmp_path / "transforms.json")


def test_listings_and_images_are_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"views: expected a folder with a transforms\.json"):
        find_listing(tmp_path)
    train = written(tmp_path, {}, "transforms_train.json")
    assert find_listing(tmp_path) == find_listing(train) == train
    both = written(tmp_path, {})
    assert find_listing(tmp_path) == both
    (tmp_path / "train").mkdir()
    for name in ("r_0.png", "r_1.JPG", "r_2.x.webp"):
        (tmp_path / "train" / name).touch()
    names = {"./train/r_0": "r_0.png", "train\\r_1": "r_1.JPG", "train/r_2.x": "r_2.x.webp"}
    for listed, file in names.items():
        assert find_image(tmp_path, listed) == tmp_path.resolve() / "train" / file
    with pytest.raises(ValueError, match="expected images within"):
        find_image(tmp_path / "train", "../transforms.json")
    with pytest.raises(ValueError, match="expected the image 'r_7' in"):
        find_image(tmp_path, "r_7")
