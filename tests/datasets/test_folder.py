"""The official layout on disk: written whole or not at all, and read as it was written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from discs import camera, disc
from PIL import Image

from zero123lib.datasets.checking import check_object
from zero123lib.datasets.drawing import read_view
from zero123lib.datasets.folder import FolderPairs, find_objects, open_object, write_object
from zero123lib.views.poses import Pose, wrap_azimuth_deg

ROOT = Path(__file__).resolve().parents[2]


def test_round_trip_keeps_pixels_exactly_and_poses_closely(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (16, 16, 4)).astype(np.uint8) for _ in range(5)]
    poses = [camera(0, view) for view in range(5)]
    write_object(tmp_path / "deep" / "er" / "a", images, poses)
    stored = open_object(tmp_path, "deep/er/a")
    for index, (image, pose) in enumerate(zip(images, poses, strict=True)):
        sample = read_view(stored, f"{index:03d}")
        assert np.array_equal(np.asarray(sample.image), image)
        assert sample.pose.elevation_deg == pytest.approx(pose.elevation_deg, abs=1e-5)
        assert sample.pose.azimuth_deg == pytest.approx(pose.azimuth_deg, abs=1e-5)
        assert sample.pose.radius == pytest.approx(pose.radius, abs=1e-5)


def test_file_is_what_the_official_loader_reads(tmp_path: Path) -> None:
    """`ldm/data/simple.py: get_T`, in its own terms: centre = -R^T T, polar from +z, azimuth."""
    pose = Pose(35.0, -50.0, 1.7)
    write_object(tmp_path / "a", [disc(0, 0)], [pose])
    w2c = np.load(tmp_path / "a" / "000.npy")
    assert w2c.shape == (3, 4)
    x, y, z = -w2c[:, :3].T @ w2c[:, 3]
    assert np.degrees(np.arctan2(np.hypot(x, y), z)) == pytest.approx(90.0 - 35.0, abs=1e-9)
    assert np.degrees(np.arctan2(y, x)) == pytest.approx(-50.0, abs=1e-9)
    assert np.linalg.norm([x, y, z]) == pytest.approx(1.7, abs=1e-12)
    # Blender's axes: what lies at the origin has negative depth.
    assert w2c[2, 3] == pytest.approx(-1.7, abs=1e-12)


KILLED_AT_VIEW = """
import os, signal, sys
import numpy as np
from zero123lib.datasets.folder import write_object
from zero123lib.views.poses import Pose

real_save, calls = np.save, []

def save(file, array):
    calls.append(file)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    real_save(file, array)

np.save = save
image = np.full((16, 16, 4), 255, np.uint8)
write_object(sys.argv[1], [image] * 4, [Pose(0, 90 * i) for i in range(4)])
"""


def test_kill_in_the_middle_leaves_no_half_object(
    make_objects: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_objects(2)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT_VIEW, str(root / "group" / "killed")], cwd=ROOT
    )
    assert done.returncode == -9
    assert list(root.rglob("*.png")) != list(root.glob("group/[0-9]*/*.png"))  # it had begun
    assert not (root / "group" / "killed").exists()
    assert find_objects(root) == ("group/00", "group/01")


@pytest.mark.parametrize(
    ("images", "poses", "complaint"),
    [
        ([], [], "at least one"),
        ([disc(0, 0)], [], "one per pose"),
        ([disc(0, 0)[..., :3]], [Pose()], r"uint8 arrays \[S, S, 4\]"),
        ([disc(0, 0)[:10]], [Pose()], r"uint8 arrays \[S, S, 4\]"),
        ([disc(0, 0) / 255.0], [Pose()], "float64"),
    ],
)
def test_what_is_no_object_is_not_written(
    tmp_path: Path, images: list, poses: list, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_object(tmp_path / "a", images, poses)
    assert list(tmp_path.iterdir()) == []


def test_object_that_is_there_is_not_touched(tmp_path: Path) -> None:
    write_object(tmp_path / "a", [disc(0, 0)], [Pose()])
    with pytest.raises(ValueError, match="exists"):
        write_object(tmp_path / "a", [disc(1, 1)], [Pose()])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a" / "000.png")), disc(0, 0))


def test_official_list_says_which_objects_there_are(make_objects: Callable[..., Path]) -> None:
    root = make_objects(4)
    (root / "valid_paths.json").write_text(json.dumps(["group/03", "group/01"]))
    source = FolderPairs(root, 16)
    assert source.objects == ("group/03", "group/01")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "expected JSON"),
        ("[]", "a list of objects"),
        ('["../elsewhere"]', "inside its folder"),
        ('["/etc"]', "inside its folder"),
        ("[3]", "inside its folder"),
    ],
)
def test_list_that_cannot_be_used(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "valid_paths.json").write_text(content)
    with pytest.raises(ValueError, match=complaint):
        find_objects(tmp_path)


def test_folder_without_views_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "photos" / "holiday.png")
    with pytest.raises(ValueError, match="000.png and 000.npy"):
        find_objects(tmp_path)
    with pytest.raises(ValueError, match="a folder of objects"):
        find_objects(tmp_path / "absent")


@pytest.mark.parametrize("name", ["alarm", "teapot", "train"])
def test_scanned_object_with_its_published_cameras(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    """Real renders. Their cameras are in OpenCV's axes, and are called so until they are turned."""
    cameras = json.loads((shared_data / "gso" / "cameras.json").read_text())
    matrices = np.array(cameras["world_to_camera_opencv_3x4"])
    for folder, axes in {"opencv": (1, 1, 1), "blender": (1, -1, -1)}.items():
        (tmp_path / folder).mkdir()
        for view, w2c in enumerate(matrices):
            np.save(tmp_path / folder / f"{view:03d}.npy", np.diag(axes) @ w2c)
            image = shared_data / "gso" / name / f"{view:03d}.png"
            (tmp_path / folder / f"{view:03d}.png").symlink_to(image)
    opencv = check_object(open_object(tmp_path, "opencv"))
    assert not opencv.views and len(opencv.bad) == 17
    assert all("OpenCV" in why for where, why in opencv.bad.items() if where != "opencv")
    blender = check_object(open_object(tmp_path, "blender"))
    # From a distance of 1.5 the teapot's spout does not fit in; the size is never in doubt.
    assert blender.bad == {} and all("cuts off" in why for why in blender.suspect.values())
    for view, azimuth in zip(blender.views, cameras["azimuth_deg"], strict=True):
        assert view.pose.elevation_deg == pytest.approx(30.0, abs=1e-3)
        assert wrap_azimuth_deg(view.pose.azimuth_deg - azimuth) == pytest.approx(0.0, abs=1e-3)
        assert view.pose.radius == pytest.approx(1.5, abs=1e-3)
