"""`zero123 views` and `zero123 orbit` write what the library makes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import BEAR, MUG, ROOT, names_in, pixels, transforms

from zero123lib.cli import main
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.cameras import FOV_DEG
from zero123lib.views.poses import PRESETS, Pose, RelativePose
from zero123lib.views.transforms import frames_of, poses_from_transforms


def test_views_are_those_of_the_library_with_their_cameras(tmp_path: Path) -> None:
    out = tmp_path / "new" / "views"
    command = ["views", BEAR, "--azimuth", "0", "-30.5", "--elevation", "20", "--radius", "0.1"]
    source = ["--input-elevation", "15", "--input-radius", "1.7"]
    assert main([*command, *source, "--steps", "2", "--seed", "7", "--out", str(out)]) == 0
    assert names_in(out) == {"000.png", "001.png", "contact_sheet.png", "transforms.json"}
    assert names_in(tmp_path) == {"new"} and names_in(tmp_path / "new") == {"views"}

    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    expected, *_ = pipe(
        BEAR,
        [RelativePose(20, 0, 0.1), RelativePose(20, -30.5, 0.1)],
        num_inference_steps=2,
        guidance_scale=pipe.config["guidance_scale"],
        generator=torch.Generator().manual_seed(7),
        return_dict=False,
    )
    for name, image in zip(("000.png", "001.png"), expected, strict=True):
        assert np.array_equal(pixels(out / name), np.asarray(image))

    content = transforms(out)
    assert [one.file_path for one in frames_of(content)] == ["000.png", "001.png"]
    assert math.degrees(content["camera_angle_x"]) == pytest.approx(FOV_DEG)
    assert content["w"] == content["h"] == pipe.image_size
    assert content["made_by"]["model"] == pipe.model_name and content["made_by"]["seed"] == 7
    for pose, wanted in zip(
        poses_from_transforms(content), (Pose(35, 0, 1.8), Pose(35, -30.5, 1.8)), strict=True
    ):
        found = (pose.elevation_deg, pose.azimuth_deg, pose.radius)
        assert found == pytest.approx((wanted.elevation_deg, wanted.azimuth_deg, 1.8), abs=1e-3)


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The folder of a model that has to be told the elevation of the image's camera."""
    folder = shutil.copytree(ROOT / "zero123lib" / "models" / "tiny", tmp_path / "told")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"encoding": "stable-zero123", "model_name": "told"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def test_a_model_that_needs_the_inputs_elevation_asks_for_it(
    told: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told.parent / "views"
    command = ["views", BEAR, "--model", str(told), "--azimuth", "60", "--steps", "2"]
    assert main([*command, "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("zero123 views: error: --input-elevation: expected the elevation of ")
    assert "as the model told is conditioned on it" in line and line.endswith("got none")
    assert not out.exists()

    assert main([*command, "--input-elevation", "35", "--out", str(out)]) == 0
    pipe = Zero123Pipeline.from_pretrained(str(told))
    pipe.set_progress_bar_config(disable=True)
    expected, *_ = pipe(
        BEAR,
        [RelativePose(0, 60)],
        num_inference_steps=2,
        guidance_scale=pipe.config["guidance_scale"],
        generator=torch.Generator().manual_seed(0),
        condition_elevation_deg=35,
        return_dict=False,
    )
    assert np.array_equal(pixels(out / "000.png"), np.asarray(expected[0]))
    assert transforms(out)["made_by"]["input_elevation_deg"] == 35


def test_others_take_the_inputs_elevation_as_0(tmp_path: Path) -> None:
    assert main(["views", BEAR, "--azimuth", "60", "--steps", "1", "--out", str(tmp_path)]) == 0
    content = transforms(tmp_path)
    assert content["made_by"]["input_elevation_deg"] == 0
    assert poses_from_transforms(content)[0].elevation_deg == pytest.approx(0, abs=1e-3)


def test_several_images_get_a_folder_each(tmp_path: Path) -> None:
    twin = tmp_path / "other" / "BEAR.png"
    twin.parent.mkdir()
    twin.write_bytes(Path(MUG).read_bytes())
    out = tmp_path / "out"
    command = ["views", BEAR, str(twin), "--preset", "left", "random", "--steps", "1"]
    assert main([*command, "--out", str(out)]) == 0
    assert names_in(out) == {"bear", "BEAR-2"}
    assert not np.array_equal(pixels(out / "bear" / "000.png"), pixels(out / "BEAR-2" / "000.png"))
    left = poses_from_transforms(transforms(out / "bear"))[0]
    assert left.azimuth_deg == pytest.approx(PRESETS["left"].azimuth_deg, abs=1e-3)


def test_a_path_by_name_is_the_same_by_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["orbit", BEAR, "--count", "3", "--steps", "1", "--input-elevation", "20"]
    named = ["--path", "spiral", "--elevation", "-10"]
    assert main([*command, *named, "--out", str(tmp_path / "a")]) == 0
    listing = str(tmp_path / "a" / "transforms.json")
    assert main([*command, "--path", listing, "--out", str(tmp_path / "b")]) == 0
    first, again = transforms(tmp_path / "a"), transforms(tmp_path / "b")
    assert first["frames"] == again["frames"] and first["camera_path"] == again["camera_path"]
    cameras = poses_from_transforms(first)
    assert [one.elevation_deg for one in cameras] == pytest.approx([10, 35, 60], abs=1e-3)
    for index in range(3):
        once, twice = (pixels(tmp_path / out / f"00{index}.png") for out in "ab")
        assert np.array_equal(once, twice)
    capsys.readouterr()
    far = str(tmp_path / "far.json")
    Path(far).write_text('{"camera_path": {"keyframes": [{"at": 0.0, "radius": -3.0}]}}')
    for wrong, complaint in (
        (["--path", "circle"], "--path: expected ring, spiral, rise, sway, zoom or a transforms"),
        (["--path", listing, "--elevation", "5"], "--path: expected no --elevation or --radius"),
        (["--path", far], "--path: expected a camera farther than 0"),
        (["--path", "ring", "--elevation", "80"], "--elevation: expected a camera between"),
        (["--path", "zoom", "--radius", "0.1"], "--radius: expected none beside --path zoom"),
    ):
        assert main([*command, *wrong, "--out", str(tmp_path / "c")]) == 2
        assert complaint in capsys.readouterr().err


def test_orbit_goes_round_and_a_shorter_one_leaves_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    command = ["orbit", MUG, "--elevation", "10", "--steps", "1", "--out", str(tmp_path)]
    assert main([*command, "--count", "4"]) == 0
    azimuths = [pose.azimuth_deg % 360 for pose in poses_from_transforms(transforms(tmp_path))]
    assert azimuths == pytest.approx([0, 90, 180, 270], abs=1e-3)
    with Image.open(tmp_path / "orbit.gif") as animation:
        assert getattr(animation, "n_frames", 1) == 4
    assert main([*command, "--count", "3"]) == 0
    assert [frame["file_path"] for frame in transforms(tmp_path)["frames"]][-1] == "002.png"
    assert "also holds 003.png, mine.txt" in capsys.readouterr().out
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_for_programs_and_for_nobody(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["orbit", BEAR, "--count", "2", "--steps", "1", "--out", str(tmp_path)]
    assert main([*command, "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert {Path(file).name for file in found["files"]} == names_in(tmp_path)
    assert (found["model"], found["licence"]) == ("tiny", "apache-2.0")
    assert found["seconds"] > 0 and found["notices"] == [] and found["failed"] == {}
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "noise.png")
    command[1] = str(tmp_path / "noise.png")
    assert main([*command, "--json", "--preprocess", "none"]) == 0
    assert len(json.loads(capfd.readouterr().out)["notices"]) == 1
    assert main([*command, "--quiet", "--preprocess", "none"]) == 0
    assert capfd.readouterr() == ("", "")


def test_every_shared_image_gets_its_views(shared_data: Path, tmp_path: Path) -> None:
    photos = sorted((shared_data / "images").glob("*.png"))
    assert len(photos) == 12
    out = tmp_path / "views"
    words = ["--azimuth", "45", "--steps", "2", "--out", str(out)]
    assert main(["views", *map(str, photos), *words]) == 0
    assert names_in(out) == {photo.stem for photo in photos}
    for photo in photos:
        assert names_in(out / photo.stem) == {"000.png", "contact_sheet.png", "transforms.json"}
        assert pixels(out / photo.stem / "000.png").std() > 1


def test_an_image_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real = Image.open

    def noted(file: object, *more: object, **options: object) -> object:
        opened.append(str(file))
        return real(file, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", noted)
    words = ["--azimuth", "0", "--steps", "1", "--out", str(tmp_path)]
    assert main(["views", BEAR, MUG, *words]) == 0
    assert opened.count(BEAR) == opened.count(MUG) == 1


def test_an_option_given_twice_counts_as_it_was_last(tmp_path: Path) -> None:
    words = ["views", BEAR, "--steps", "9", "--azimuth", "0", "--steps=1", "--out", str(tmp_path)]
    assert main(words) == 0
    assert transforms(tmp_path)["made_by"]["num_inference_steps"] == 1
