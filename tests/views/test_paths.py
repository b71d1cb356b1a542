"""A path of the camera goes through its keyframes, and is read back as it was written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib._files import write_folder
from zero123lib.views.folder import read_views, view_files
from zero123lib.views.listings import LISTING
from zero123lib.views.paths import (
    PATH_PRESETS,
    CameraPath,
    Keyframe,
    path_content,
    path_files_content,
    path_from_content,
    path_from_transforms,
    preset_path,
    read_path,
)
from zero123lib.views.poses import Pose, RelativePose, absolute_poses, orbit
from zero123lib.views.transforms import poses_from_transforms, transforms_json

SOURCE = Pose(20.0, 0.0, 1.85)


def table(poses: list[RelativePose]) -> np.ndarray:
    return np.array([[one.elevation_deg, one.azimuth_deg, one.radius] for one in poses])


def path(*rows: tuple[float, float, float, float], **how: Any) -> CameraPath:
    """Keyframes of moment, elevation, azimuth and radius."""
    return CameraPath(tuple(Keyframe(at, RelativePose(*pose)) for at, *pose in rows), **how)


def eight(**how: Any) -> CameraPath:
    generator = np.random.default_rng(3)
    ups, sides = generator.uniform(-30, 60, 8), generator.uniform(-180, 180, 8)
    return path(*((i / 8, ups[i], sides[i], 0.05 * (i - 4)) for i in range(8)), **how)


def test_a_ring_is_an_orbit_and_its_first_view_is_not_there_twice() -> None:
    for count in (1, 2, 7, 16):
        ring = table(preset_path("ring", RelativePose(10, 0, 0.1)).sample(count))
        turn = table(orbit(count, 10, 0.1))
        assert np.allclose(ring[:, [0, 2]], turn[:, [0, 2]])
        assert np.allclose(np.exp(1j * np.radians(ring[:, 1] - turn[:, 1])), 1)


@pytest.mark.parametrize("closed", [False, True])
def test_the_camera_is_at_each_keyframe_at_its_moment(closed: bool) -> None:
    found = table(eight(closed=closed).poses([one.at for one in eight().keyframes]))
    assert np.allclose(found, table([one.pose for one in eight().keyframes]))


def test_between_two_keyframes_the_camera_stays_between_them() -> None:
    keys = table([one.pose for one in eight().keyframes])
    moments = np.linspace(0, 1, 321)
    found = table(eight(closed=True).poses(list(moments)))
    for index in range(8):
        here, there = keys[index], keys[(index + 1) % 8]
        inside = found[index * 40 : index * 40 + 41]
        for axis in (0, 2):
            low, high = sorted((here[axis], there[axis]))
            assert (low - 1e-9 <= inside[:, axis]).all() and (inside[:, axis] <= high + 1e-9).all()
    assert np.allclose(found[0], found[-1])


def test_azimuths_take_the_shorter_way() -> None:
    over_the_back = path((0, 0, 170, 0), (1, 0, -170, 0))
    assert table(over_the_back.sample(5))[:, 1] == pytest.approx([170, 175, 180, -175, -170])
    assert table(path((0, 0, 0, 0), (1, 0, 350, 0)).sample(3))[:, 1] == pytest.approx([0, -5, -10])
    # Half a turn goes the way that its numbers do.
    assert table(path((0, 0, 0, 0), (1, 0, 180, 0)).sample(3))[1, 1] == pytest.approx(90)
    assert table(path((0, 0, 0, 0), (1, 0, -180, 0)).sample(3))[1, 1] == pytest.approx(-90)


def test_two_keyframes_are_joined_by_a_straight_line_that_easing_runs_along() -> None:
    shares = np.linspace(0, 1, 5)
    for easing, ease in {
        "linear": shares,
        "ease-in": shares**2,
        "ease-out": 1 - (1 - shares) ** 2,
        "ease-in-out": 3 * shares**2 - 2 * shares**3,
    }.items():
        found = table(path((0, -10, 0, 0), (1, 30, 80, 0.4), easing=easing).sample(5))
        assert np.allclose(found, np.outer(ease, [40, 80, 0.4]) + np.array([-10, 0, 0]))


def test_before_the_first_keyframe_and_after_the_last_the_camera_rests() -> None:
    rests = table(path((0.25, 5, 10, 0), (0.5, 5, 30, 0)).sample(5))
    assert rests[:, 1] == pytest.approx([10, 10, 30, 30, 30])
    assert np.allclose(table(path((0.5, 5, 10, 0.1)).sample(3)), [[5, 10, 0.1]] * 3)
    assert np.allclose(table(path((0.5, 5, 10, 0.1), closed=True).sample(2)), [[5, 10, 0.1]] * 2)


def test_presets_do_what_they_are_called() -> None:
    made = {name: table(preset_path(name, RelativePose(5)).sample(17)) for name in PATH_PRESETS}
    assert np.ptp(np.unwrap(made["spiral"][:, 1], period=360)) == pytest.approx(720)
    assert (np.diff(made["spiral"][:, 0]) > 0).all() and made["spiral"][-1, 0] == 55
    assert made["rise"][0, 0] == 5 and made["rise"][-1, 0] == 65 and not made["rise"][:, 1].any()
    assert made["sway"][:, 1].max() > 30 and made["sway"][:, 1].min() < -30
    assert np.allclose(made["sway"][:, 0], 5) and np.allclose(made["ring"][:, 0], 5)
    assert made["zoom"][0, 2] == 0.3 and made["zoom"][-1, 2] == -0.3
    low = preset_path("rise", RelativePose(50), elevations_deg=(-90, 70))
    assert table(low.sample(9))[:, 0].max() == pytest.approx(70)


def test_a_path_comes_back_with_its_views(tmp_path: Path) -> None:
    made = eight(closed=True, easing="ease-in-out", duration_s=2.5)
    poses = made.sample(8)
    views = [Image.new("RGB", (8, 8), (20 * i, 0, 0)) for i in range(8)]
    cameras = absolute_poses(SOURCE, poses)
    write_folder(tmp_path / "views", view_files(views, cameras, animation=views, path=made))
    with Image.open(tmp_path / "views" / "orbit.gif") as film:
        assert film.info["duration"] == pytest.approx(2500 / 8, abs=10)  # in hundredths of seconds
    quick = view_files(views, cameras, animation=views, path=eight(duration_s=0.05))
    with Image.open(io.BytesIO(quick["orbit.gif"])) as film:
        assert film.info["duration"] == 20  # browsers take less for 100
    assert read_path(tmp_path / "views", SOURCE) == made
    assert read_path(tmp_path / "views" / LISTING, Pose(-5.0)) == made
    assert len(read_views(tmp_path / "views")) == 8


def test_a_path_without_views_lists_its_cameras() -> None:
    content = json.loads(json.dumps(path_files_content(eight(), SOURCE, 5)))
    assert path_from_transforms(content, SOURCE) == eight()
    cameras = [one.relative_to(SOURCE) for one in poses_from_transforms(content)]
    assert np.allclose(table(cameras), table(eight().sample(5)), atol=1e-4)


def test_cameras_of_another_make_are_keyframes() -> None:
    cameras = absolute_poses(SOURCE, eight().sample(8))
    content = transforms_json([f"{i}.jpg" for i in range(8)], cameras)
    taken = path_from_transforms(content, SOURCE)
    found = table([one.pose for one in taken.keyframes])
    assert np.allclose(found, table(eight().sample(8)), atol=1e-4)
    assert [one.at for one in taken.keyframes] == pytest.approx(np.linspace(0, 1, 8))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"keyframes": 3}, "camera_path: expected a path of the camera"),
        ({"keyframes": []}, "camera_path.keyframes: expected at least one, got none"),
        ({"keyframes": [1]}, r"camera_path.keyframes\[0\]: expected an object, got 1"),
        ({"keyframes": [{}]}, r"keyframes\[0\].at: expected a finite number from 0 to 1, got None"),
        ({"keyframes": [{"at": 0.5}, {"at": 0.5}]}, r"keyframes: expected moments that grow"),
        (
            {"keyframes": [{"at": 0}, {"at": 1}], "closed": True},
            "keyframes: expected less than the whole time",
        ),
        (
            {"keyframes": [{"at": 0, "azimuth_deg": "left"}]},
            r"keyframes\[0\].azimuth_deg: expected a finite number, got 'left'",
        ),
        ({"duration_s": 0}, "camera_path.duration_s: expected seconds above 0, got 0"),
        ({"duration_s": 10**400}, "camera_path.duration_s: expected a finite number"),
        ({"easing": ["x"]}, "camera_path.easing: expected one of linear"),
        ({"closed": 1}, "camera_path.closed: expected true or false, got 1"),
    ],
)
def test_what_is_no_path_is_one_line(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ArgumentError, match=complaint):
        path_from_content({**path_content(eight()), **change})


def test_cameras_that_look_elsewhere_are_no_path(tmp_path: Path) -> None:
    content = transforms_json(["a.png"], [SOURCE])
    content["frames"][0]["transform_matrix"][0][3] = 0.5
    with pytest.raises(ArgumentError, match="path: expected cameras that look at the object's"):
        path_from_transforms(content, SOURCE)
    with pytest.raises(ArgumentError, match="path: expected a list of frames"):
        path_from_transforms([], SOURCE)
    with pytest.raises(ArgumentError, match="path: expected a folder with a transforms.json"):
        read_path(tmp_path, SOURCE)
    for content in (b"\xff no json", b"[" * 100_000):
        (tmp_path / LISTING).write_bytes(content)
        with pytest.raises(ArgumentError, match="path: expected a transforms.json in"):
            read_path(tmp_path, SOURCE)
        with pytest.raises(ArgumentError, match="views: expected a transforms.json"):
            read_views(tmp_path)
