"""What `zero123 dataset check` and `pack` say, and their exit status."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from discs import SIZE, camera, disc
from PIL import Image

from zero123lib.cli import main
from zero123lib.datasets.checking import check_object
from zero123lib.datasets.folder import open_object, write_object
from zero123lib.datasets.samples import world_to_camera
from zero123lib.views.poses import Pose

ROOT = Path(__file__).resolve().parents[2]


def report(capsys: pytest.CaptureFixture, *words: object) -> tuple[int, dict]:
    """Exit status and JSON of a check."""
    status = main(["dataset", "check", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_good_data_is_called_good(make_objects: Callable[..., Path], capsys) -> None:
    root = make_objects(3)
    status, found = report(capsys, root)
    poses = [camera(index, view) for index in range(3) for view in range(4)]
    elevations, radii = [p.elevation_deg for p in poses], [p.radius for p in poses]
    assert status == 0
    assert (found["objects"], found["views"], found["with_alpha"]) == (3, 12, 12)
    assert found["sizes_px"] == {str(SIZE): 12}
    assert found["ranges"]["elevation_deg"] == pytest.approx([min(elevations), max(elevations)])
    assert found["ranges"]["radius"] == pytest.approx([min(radii), max(radii)])
    share = float(disc(0, 0)[..., 3].mean() / 255)
    assert found["ranges"]["foreground"] == pytest.approx([share, share])
    assert found["bad"] == {} and found["suspect"] == {}
    assert main(["dataset", "check", str(root)]) == 0
    out = capsys.readouterr().out
    assert "3 objects with 12 usable views (12 of 16 px)" in out and out.endswith("all good\n")


def test_bad_views_are_named_with_their_reason(make_objects: Callable[..., Path], capsys) -> None:
    root = make_objects(4)
    group = root / "group"
    (group / "00/001.png").write_bytes(b"no image")
    (group / "01/000.npy").unlink()
    for view in (0, 1, 2):
        w2c = np.diag([1.0, -1.0, -1.0]) @ world_to_camera(camera(2, view))
        np.save(group / f"02/{view:03d}.npy", w2c)
    np.save(group / "03/003.npy", np.diag([-1.0, -1.0, 1.0]) @ world_to_camera(camera(3, 3)))
    status, found = report(capsys, root)
    assert status == 1
    assert (found["objects"], found["views"]) == (3, 10)
    reasons = {
        "group/00/001": "expected an image file",
        "group/01/000": "000.npy",
        "group/02/000": "OpenCV",
        "group/02/001": "OpenCV",
        "group/02/002": "OpenCV",
        "group/02": "at least 2 usable views, got 1",
        "group/03/003": "upside down",
    }
    assert found["bad"].keys() == reasons.keys()
    assert all(reasons[name] in reason for name, reason in found["bad"].items())
    assert main(["dataset", "check", str(root)]) == 1
    assert "bad: 7\n" in capsys.readouterr().out


def test_suspect_views_are_named_and_are_no_fault(tmp_path: Path, capsys) -> None:
    images, poses = [disc(0, view) for view in range(4)], [camera(0, view) for view in range(4)]
    full = np.full((SIZE, SIZE, 4), 255, np.uint8)
    cut = disc(0, 1)
    cut[:, : SIZE // 2] = full[:, : SIZE // 2]
    poses[3] = Pose(poses[0].elevation_deg, poses[0].azimuth_deg + 360.0, poses[0].radius)
    write_object(tmp_path / "a", [images[0], cut, full, images[3]], poses)
    status, found = report(capsys, tmp_path)
    assert status == 0
    expected = {
        "a/001": "cuts off",
        "a/002": "transparency",
        "a/003": "the one of 000",
        "a": "unit box",  # the whole left half of a view
    }
    assert found["suspect"].keys() == expected.keys()
    assert all(expected[name] in reason for name, reason in found["suspect"].items())


@pytest.mark.parametrize("fov_deg", [49.13, 25.0, 90.0])
def test_field_of_view_shows_in_how_far_an_object_reaches(tmp_path: Path, fov_deg: float) -> None:
    """A ball of radius 0.5, drawn as a camera of the field of view sees it."""
    size, images, poses = 128, [], [Pose(0, 40 * i, 1.5 + 0.1 * i) for i in range(4)]
    for pose in poses:
        slope = np.tan(np.arcsin(0.5 / pose.radius)) / np.tan(np.radians(fov_deg / 2))
        x, y = np.meshgrid(*[(np.arange(size) + 0.5) / (size / 2) - 1] * 2)
        image = np.full((size, size, 4), 80, np.uint8)
        image[..., 3] = 255 * (np.hypot(x, y) <= slope)
        images.append(image)
    write_object(tmp_path / "ball", images, poses)
    facts = check_object(open_object(tmp_path, "ball"))
    if fov_deg == 49.13:
        assert facts.suspect == {}
        assert all(view.reach == pytest.approx(0.5, abs=0.02) for view in facts.views)
    else:
        assert "field of view" in facts.suspect["ball"]


def test_workers_and_shards_find_the_same(make_objects: Callable[..., Path], capsys) -> None:
    root = make_objects(4)
    np.save(root / "group/02/001.npy", np.zeros((3, 4)))
    shards = root.with_name("shards")
    assert main(["dataset", "pack", str(root), str(shards)]) == 0
    assert "wrote 4 objects" in capsys.readouterr().out
    status, expected = report(capsys, root)
    assert status == 1 and len(expected["bad"]) == 1
    assert report(capsys, root, "--workers", 2) == (1, expected)
    status, found = report(capsys, shards)
    assert status == 1
    assert found["bad"].keys() == {f"{shards}/000000.tar:group/02/001"}
    assert {**found, "bad": {}} == {**expected, "bad": {}}
    (shards / "000000.tar").write_bytes((shards / "000000.tar").read_bytes()[:-15_000])
    status, found = report(capsys, shards)
    assert status == 1 and "breaks off" in found["bad"][f"{shards}/000000.tar"]


def test_packing_says_what_it_left_out(make_objects: Callable[..., Path], capsys) -> None:
    root = make_objects(3, 2)
    (root / "group/01/001.npy").unlink()
    assert (
        main(["dataset", "pack", str(root), str(root.with_name("out")), "--shard-size", "1"]) == 0
    )
    out = capsys.readouterr().out
    assert "wrote 2 objects" in out and "in 1 shard\n" in out
    assert "left out: 2\n" in out and "group/01: expected at least 2 views, got 1" in out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["check", "absent"], "DATA: expected a folder of objects, or shards, got 'absent'"),
        (["check", "."], "DATA: expected folders with views"),
        (["check"], "DATA: expected 1 value, got none"),
        (["check", ".", "--workers", "0"], "--workers: expected a whole number from 1 to 256"),
        (["pack", ".", "out", "--shard-size", "0"], "--shard-size: expected a whole number"),
        (["pack", "absent", "out"], "DIR: expected a folder of objects, got 'absent'"),
        (["pack", ".", "."], "OUT: expected a new name, got '.', which exists"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", *words]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_shard_without_objects_is_not_called_good(tmp_path: Path, capsys) -> None:
    (tmp_path / "notes.txt").write_text("no views")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "notes.txt", arcname="a/notes.txt")
    status, found = report(capsys, tmp_path / "a.tar")
    assert status == 1 and "expected objects with views" in found["bad"][str(tmp_path / "a.tar")]


def test_broken_views_of_many_kinds_never_end_a_check(tmp_path: Path, capsys) -> None:
    """Every byte of a good view's files, damaged in turn, is either harmless or named."""
    write_object(tmp_path / "a", [disc(0, v) for v in range(3)], [camera(0, v) for v in range(3)])
    random = np.random.default_rng(0)
    for name in ("000.png", "000.npy"):
        path = tmp_path / "a" / name
        content = path.read_bytes()
        for place in random.choice(len(content), 60, replace=False).tolist():
            path.write_bytes(
                content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]
            )
            status, found = report(capsys, tmp_path)
            assert status == (1 if found["bad"] else 0)
            assert found["bad"].keys() <= {"a/000"} and found["views"] == 3 - len(found["bad"])
        path.write_bytes(content)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from zero123lib.cli import main; main(['dataset', 'check', '--help']); "
        "sys.exit(bool({'torch', 'numpy', 'PIL', 'webdataset'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Exit status 0" in done.stdout


def test_real_command_streams_a_check(make_objects: Callable[..., Path]) -> None:
    root = make_objects(2)
    shutil.rmtree(root / "group/01")
    Image.new("L", (SIZE, SIZE), 3).save(root / "group/00/000.png")
    code = "import sys; from zero123lib.cli import main; sys.exit(main())"
    words = [sys.executable, "-c", code, "dataset", "check", str(root)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "suspect: 1\n  group/00/000: expected transparency" in done.stdout
