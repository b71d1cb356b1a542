"""Cameras of photos, by the photos' names: whatever their order, and no photo without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zero123lib._errors import ArgumentError
from zero123lib.views.photo_cameras import photo_cameras
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json

CAMERAS = [Pose(10, 0, 1.85), Pose(-5, 90, 2.0), Pose(30, -120, 1.6)]


def written(folder: Path, photos: list[str] | None = None, **others: Any) -> Path:
    content = transforms_json(["000.png", "001.png", "002.png"], CAMERAS)
    folder.mkdir(exist_ok=True)
    made_by = {} if photos is None else {"made_by": {"images": photos}}
    (folder / "transforms.json").write_text(json.dumps({**content, **made_by, **others}))
    return folder


def same(found: list[Pose], expected: list[Pose]) -> bool:
    numbers = [[(p.elevation_deg, p.azimuth_deg, p.radius) for p in ps] for ps in (found, expected)]
    return numbers[0] == [pytest.approx(one, abs=1e-3) for one in numbers[1]]


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["side.jpg", "front.jpg"], [1, 0]),
        (["elsewhere/back.jpg"], [2]),
        (["back.png", "C:\\photos\\front.jpg"], [2, 0]),  # one that was saved anew
        (["posed/002.png", "posed/000.png"], [2, 0]),  # the files that were written
    ],
)
def test_photos_are_found_by_name(tmp_path: Path, names: list[str], places: list[int]) -> None:
    place = written(tmp_path, ["front.jpg", "side.jpg", "back.jpg"])
    expected = [CAMERAS[i] for i in places]
    assert same(photo_cameras(place, names), expected)
    assert same(photo_cameras(place / "transforms.json", names), expected)


def test_photos_that_are_called_like_written_files_are_the_photos(tmp_path: Path) -> None:
    place = written(tmp_path / "posed", ["001.png", "000.png", "front.png"])
    photos = photo_cameras(place, ["photos/000.png", "photos/001.png", "002.png"])
    assert same(photos, [CAMERAS[1], CAMERAS[0], CAMERAS[2]])
    files = [str(place / name) for name in ("000.png", "001.png")]
    assert same(photo_cameras(place, files), CAMERAS[:2])
    with pytest.raises(ArgumentError, match="none for 'other/001.png'"):
        photo_cameras(place, ["photos/001.png", "other/001.png"])


def test_one_name_of_several_folders_stands_for_one_after_the_other(tmp_path: Path) -> None:
    place = written(tmp_path, ["photo.jpg", "photo.jpg", "back.jpg"])
    assert same(photo_cameras(place, ["a/photo.jpg", "b/photo.jpg"]), CAMERAS[:2])
    with pytest.raises(ArgumentError, match="cameras: .*none for 'c/photo.jpg'"):
        photo_cameras(place, ["a/photo.jpg", "b/photo.jpg", "c/photo.jpg"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "a transforms.json in .*JSONDecodeError"),
        ("{}", "a list of frames"),
        ("[]", "a list of frames"),
    ],
)
def test_what_lists_nothing_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "transforms.json").write_text(content)
    with pytest.raises(ArgumentError, match=f"^cameras: expected {complaint}"):
        photo_cameras(tmp_path, ["a.png"])


def test_unknown_names_and_cameras_that_look_elsewhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="^cameras: expected a folder with a transforms"):
        photo_cameras(tmp_path, ["000.png"])
    content = transforms_json(["000.png"], CAMERAS[:1])
    content["frames"][0]["transform_matrix"] = [[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 1, 2]]
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    with pytest.raises(ArgumentError, match="^cameras: expected cameras that look at the origin"):
        photo_cameras(tmp_path, ["000.png"])
    with pytest.raises(ArgumentError, match="^cameras: expected a frame of .*none for 'x.png'"):
        photo_cameras(tmp_path, ["x.png"])
