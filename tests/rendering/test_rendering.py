"""Data sets of rendered meshes: cameras, resuming, kills, any number of workers."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from zero123lib.cli import main
from zero123lib.datasets.folder import FolderPairs, find_objects
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera
from zero123lib.meshes.rasterize import rasterize
from zero123lib.rendering import dataset, objects
from zero123lib.rendering.cameras import light_of, official_poses
from zero123lib.rendering.dataset import render_dataset
from zero123lib.rendering.objects import (
    check_replaceable,
    find_meshes,
    render_object,
    whole_record,
)
from zero123lib.rendering.settings import RenderSettings
from zero123lib.views.cameras import pose_from_world_to_camera

ROOT = Path(__file__).resolve().parents[2]
TINY = RenderSettings(views=2, size=32, supersample=1)
TINY_OPTIONS = ["--views", "2", "--size", "32", "--supersample", "1"]


def write_meshes(folder: Path, count: int) -> Path:
    """Boxes of different shapes, box0.ply and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        trimesh.creation.box((1.0, 0.3 + 0.02 * index, 0.5)).export(folder / f"box{index}.ply")
    return folder


def contents(out: Path) -> dict[str, bytes]:
    """All files that a run leaves, by their place."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".rendering.lock"
    }


def run(meshes: Path, out: Path, **options: Any) -> dict[str, str]:
    """What became of each object. In this process, unless told: starting others takes a while."""
    options = {"settings": TINY, "workers": 0, **options}
    outcomes = render_dataset(find_meshes(meshes), out, **options)
    return {outcome.source.name: outcome.state for outcome in outcomes}


def test_cameras_are_uniform_on_the_sphere_and_looked_up_by_name() -> None:
    settings = RenderSettings(views=1000)
    poses = official_poses(settings, "chair")
    assert poses == official_poses(settings, "chair") != official_poses(settings, "sofa")
    # Whatever the number of views and the light, the first ones are the same.
    few = RenderSettings(views=3, light="fixed")
    assert official_poses(few, "chair") == poses[:3]
    assert official_poses(RenderSettings(views=3, seed=1), "chair") != poses[:3]
    heights = sorted(math.sin(math.radians(pose.elevation_deg)) / 2 + 0.5 for pose in poses)
    turns = sorted(pose.azimuth_deg / 360.0 for pose in poses)
    radii = sorted((pose.radius - 1.5) / 0.7 for pose in poses)
    for values in (heights, turns, radii):
        # Kolmogorov and Smirnov: a uniform sample of 1000 is farther off once in 10^6 times.
        expected = np.linspace(0.0, 1.0, 1000)
        assert np.abs(np.array(values) - expected).max() < 0.085


def test_cameras_keep_to_the_bounds() -> None:
    settings = RenderSettings(views=200, elevation_deg=(-10.0, 60.0), radius=(1.8, 1.8))
    poses = official_poses(settings, "chair")
    assert all(-10.0 <= pose.elevation_deg <= 60.0 and pose.radius == 1.8 for pose in poses)
    fixed = official_poses(RenderSettings(elevation_deg=(30.0, 30.0)), "chair")
    assert {pose.elevation_deg for pose in fixed} == {30.0}


def test_lights_are_of_the_object_and_never_overexpose() -> None:
    lights = [light_of(TINY, f"object{index}") for index in range(50)]
    assert len({light.direction for light in lights}) == 50
    assert all(light.ambient + light.diffuse <= 1.0 for light in lights)
    assert all(light.direction[2] >= 0.5 for light in lights)
    fixed = RenderSettings(light="fixed")
    assert light_of(fixed, "a") == light_of(fixed, "b")


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("views", 0, "views: expected a whole number from 1 to 1000, got 0"),
        ("size", 4, "size: expected a whole number from 8 to 2730, got 4"),
        ("elevation_deg", (10.0, -10.0), "elevation_deg: expected two numbers in order, got"),
        ("elevation_deg", (math.nan, 0.0), "elevation_deg: expected .* from -90 to 90, got"),
        ("radius", (0.0, 1.0), r"radius: expected .* above 0, got \(0.0, 1.0\)"),
        ("light", "sun", "light: expected one of random, fixed, got 'sun'"),
        ("up", "x", "up: expected one of auto, y, z, got 'x'"),
    ],
)
def test_settings_are_checked(field: str, value: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RenderSettings(**{field: value})


def test_names_are_paths_and_never_the_same(tmp_path: Path) -> None:
    for name in ("a.glb", "b/a.glb", "b/c.PLY", "b/c.obj", ".hidden.glb", ".h/a.glb", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [source.name for source in find_meshes(tmp_path)] == [
        "a", "b__a", "b__c-obj", "b__c-ply",
    ]  # fmt: skip
    assert [source.name for source in find_meshes(tmp_path / "b" / "c.PLY")] == ["c"]
    with pytest.raises(ValueError, match="meshes: expected a file of"):
        find_meshes(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match="meshes: expected a mesh file or a folder, got"):
        find_meshes(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"meshes: expected files of \.glb, .* got none"):
        find_meshes(tmp_path / "empty")


def test_an_object_is_what_its_cameras_see(tmp_path: Path) -> None:
    (source,) = find_meshes(write_meshes(tmp_path / "in", 1))
    record = render_object(source, tmp_path, RenderSettings(views=3, size=32, supersample=2))
    assert sorted(record["files"]) == sorted(
        f"00{i}.{end}" for i in range(3) for end in ("npy", "png")
    )
    mesh = load_mesh(source.path)
    for index, pose in enumerate(official_poses(TINY, source.name)):
        folder = tmp_path / source.name
        written = pose_from_world_to_camera(torch.from_numpy(np.load(folder / f"00{index}.npy")))
        assert written.elevation_deg == pytest.approx(pose.elevation_deg, abs=1e-4)
        assert written.radius == pytest.approx(pose.radius, abs=1e-5)
        with Image.open(folder / f"00{index}.png") as image:
            alpha = np.asarray(image.getchannel("A"))
        seen = rasterize(mesh, Camera.at(written, 32)).face_ids[0].numpy() >= 0
        assert ((alpha >= 128) != seen).mean() < 0.06


def test_the_folder_is_one_that_training_reads(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert set(run(write_meshes(tmp_path / "in", 2), out).values()) == {"rendered"}
    assert find_objects(out) == ("box0", "box1")
    pairs = FolderPairs(out, 32)
    batch = next(pairs.batches(0, 1, 4))
    assert batch["target"].shape == (4, 3, 32, 32) and not pairs.skipped
    dataset = json.loads((out / "dataset.json").read_text())
    assert dataset["settings"] == TINY.to_config()
    assert [entry["name"] for entry in dataset["objects"]] == ["box0", "box1"]
    assert not (out / "failures.json").exists()


def test_the_copyright_is_carried_along(tmp_path: Path, shared_data: Path) -> None:
    run(shared_data / "meshes" / "fox.glb", tmp_path)
    (entry,) = json.loads((tmp_path / "dataset.json").read_text())["objects"]
    assert "PixelMannen CC0" in entry["copyright"] and entry["source"] == "fox.glb"


def test_images_depend_neither_on_workers_nor_on_other_objects(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "in", 3)
    run(meshes, tmp_path / "one")
    run(meshes, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    run(meshes / "box1.ply", tmp_path / "alone")
    alone = contents(tmp_path / "alone")
    one = contents(tmp_path / "one")
    assert {key: one[key] for key in alone if key.startswith("box")} == {
        key: value for key, value in alone.items() if key.startswith("box")
    }


def test_whole_objects_are_kept_and_broken_ones_made_again(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "in", 4), tmp_path / "out"
    run(meshes, out)
    before = contents(out)
    (out / "box0" / "001.png").write_bytes(before["box0/001.png"][:-1])
    (out / "box1" / "000.npy").unlink()
    (out / "box2" / "object.json").write_text("{")
    (out / ".making-left").mkdir()
    states = run(meshes, out)
    assert states == {"box0": "rendered", "box1": "rendered", "box2": "rendered", "box3": "kept"}
    assert contents(out) == before and not list(out.glob(".making-*"))
    # A mesh that has changed is made again, too.
    trimesh.creation.icosphere(1).export(meshes / "box3.ply")
    assert run(meshes, out) == {"box0": "kept", "box1": "kept", "box2": "kept", "box3": "rendered"}


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "in", 1), tmp_path / "out"
    run(meshes, out)
    before = contents(out)
    with pytest.raises(ValueError, match=r"got others: views 2, now 3; seed 0, now 5$"):
        run(meshes, out, settings=RenderSettings(views=3, size=32, supersample=1, seed=5))
    assert contents(out) == before


def test_nothing_that_this_did_not_make_is_replaced(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "in", 2), tmp_path / "out"
    (out / "box0").mkdir(parents=True)
    (out / "box0" / "thesis.txt").write_text("precious")
    (out / "box1").write_text("precious")
    assert run(meshes, out) == {"box0": "failed", "box1": "failed"}
    assert (out / "box0" / "thesis.txt").read_text() == (out / "box1").read_text() == "precious"
    with pytest.raises(ValueError, match="which would be replaced, got 'thesis.txt'"):
        check_replaceable(out / "box0")


def test_corrupt_meshes_are_named_and_the_others_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    meshes, out = write_meshes(tmp_path / "in", 2), tmp_path / "out"
    (meshes / "bad.glb").write_bytes(b"glTF nonsense and more nonsense")
    (meshes / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    command = ["render", str(meshes), str(out), *TINY_OPTIONS, "--workers", "0"]
    assert main(command) == 1
    printed = capfd.readouterr()
    assert "rendered 2 of 4 objects, 2 views each; 0 were there already, 2 failed" in printed.out
    assert "could not use 2 of 4 meshes: see" in printed.err.splitlines()[-1]
    failed = json.loads((out / "failures.json").read_text())["failed"]
    assert set(failed) == {"bad", "flat"}
    assert "triangles without any area" in failed["flat"]["reason"]
    assert str(meshes / "bad.glb") in failed["bad"]["reason"]
    for name in ("bad.glb", "flat.obj"):
        (meshes / name).unlink()
    assert main(command) == 0
    assert not (out / "failures.json").exists()


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_killed_run_leaves_no_half_object_and_goes_on(tmp_path: Path, kills: int) -> None:
    meshes = write_meshes(tmp_path / "in", kills + 4)
    run(meshes, tmp_path / "whole")
    expected, out = contents(tmp_path / "whole"), tmp_path / "out"
    command = [sys.executable, "-c", "import sys; from zero123lib.cli import main; "
               "sys.exit(main(sys.argv[1:]))", "render", str(meshes), str(out), *TINY_OPTIONS,
               "--workers", "1"]  # fmt: skip
    for there in range(1, kills + 1):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list(out.glob("box*"))) < there:
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for folder in out.glob("box*"):
            content = {path.name: path.read_bytes() for path in folder.iterdir()}
            assert content == {
                name.split("/")[1]: value
                for name, value in expected.items()
                if name.startswith(f"{folder.name}/")
            }
    states = run(meshes, out)
    assert list(states.values()).count("kept") >= 1
    assert contents(out) == expected


def test_a_full_disk_ends_the_run_with_what_is_whole_intact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    meshes, out = write_meshes(tmp_path / "in", 3), tmp_path / "out"
    write, written = objects.write_object, []

    def fill(*args: Any) -> None:
        written.append(args)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*args)

    monkeypatch.setattr(objects, "write_object", fill)
    command = ["render", str(meshes), str(out), *TINY_OPTIONS, "--workers", "0"]
    assert main(command) == 1
    assert "No space left on device" in capfd.readouterr().err.splitlines()[-1]
    assert find_objects(out) == ("box0",) and not list(out.glob(".making-*"))
    assert main(command) == 0 and find_objects(out) == ("box0", "box1", "box2")


def test_an_interrupted_run_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meshes, out = write_meshes(tmp_path / "in", 1), tmp_path / "out"

    def interrupted(*args: Any) -> Iterator[Any]:
        (out / ".making-0" / "views").mkdir(parents=True)  # of a worker, which is then killed
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "run_pool", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(meshes, out)
    assert not list(out.glob(".making-*")) and (out / "dataset.json").exists()


def test_a_path_too_long_for_a_name_costs_that_mesh_alone(tmp_path: Path) -> None:
    meshes = write_meshes(tmp_path / "in", 1)
    write_meshes(meshes / ("a" * 150) / ("b" * 150), 1)
    states = run(meshes, tmp_path / "out")
    assert sorted(states.values()) == ["failed", "rendered"]
    reason = json.loads((tmp_path / "out/failures.json").read_text())["failed"]
    assert all("at most 255 bytes" in one["reason"] for one in reason.values())


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    meshes, out = write_meshes(tmp_path / "in", 2), tmp_path / "out"
    outcomes = render_dataset(find_meshes(meshes), out, TINY, workers=0)
    next(outcomes)
    with pytest.raises(ValueError, match="out: expected a folder that nobody writes to"):
        run(meshes, out)
    outcomes.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert set(run(meshes, out).values()) == {"kept", "rendered"}


def test_a_record_counts_only_for_its_own_mesh_and_settings(tmp_path: Path) -> None:
    (source,) = find_meshes(write_meshes(tmp_path / "in", 1))
    render_object(source, tmp_path, TINY)
    folder = tmp_path / source.name
    assert whole_record(folder, source, TINY) is not None
    assert whole_record(folder, source, RenderSettings(views=2, size=32)) is None
    for broken in ("null", "[]", '{"files": 3}', '{"files": {}, "settings": {}}'):
        (folder / "object.json").write_text(broken)
        assert whole_record(folder, source, TINY) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--views", "0"], "--views: expected a whole number from 1 to 1000, got '0'"),
        (["--elevation", "50", "10"], "--elevation: expected two numbers in order"),
        (["--radius", "2", "1"], "--radius: expected two numbers in order, got [2.0, 1.0]"),
        (["--light", "sun"], "--light: expected one of random, fixed, got 'sun'"),
        (["--backend", "gl"], "--backend: expected one of auto, open3d, pytorch3d, got 'gl'"),
        (["--size", "8192"], "--size: expected a whole number from 8 to 2730, got 8192"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    meshes = write_meshes(tmp_path / "in", 1)
    assert main(["render", str(meshes), str(tmp_path / "out"), *options]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"zero123 render: error: {complaint}")
    assert not (tmp_path / "out").exists()


def test_wrong_places_are_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    meshes = write_meshes(tmp_path / "in", 1)
    (tmp_path / "file").touch()
    assert main(["render", str(tmp_path / "gone"), str(tmp_path / "out")]) == 2
    assert "MESH_OR_FOLDER: expected a mesh file or a folder, got" in capfd.readouterr().err
    assert main(["render", str(meshes), str(tmp_path / "file")]) == 2
    assert "OUT: expected a folder, got" in capfd.readouterr().err
    shutil.rmtree(meshes)
    meshes.mkdir()
    assert main(["render", str(meshes), str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()


def test_an_absent_gpu_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    meshes = write_meshes(tmp_path / "in", 1)
    assert main(["render", str(meshes), str(tmp_path / "out"), "--device", "cuda"]) == 2
    assert "--device: expected a device that is here, got 'cuda'" in capfd.readouterr().err
