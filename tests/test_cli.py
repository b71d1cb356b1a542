"""The command line writes what the library makes, or one line and nothing."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.cli import arguments, build_parser, convert, files, main, making, views
from zero123lib.diffusion.devices import DEVICES
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import Sampler
from zero123lib.views.cameras import FOV_DEG
from zero123lib.views.images import Preprocess
from zero123lib.views.poses import PRESET_NAMES, PRESETS, Encoding, Pose, RelativePose
from zero123lib.views.transforms import frames_of, poses_from_transforms

ROOT = Path(__file__).resolve().parents[1]
BEAR, MUG = (str(ROOT / "demo" / "examples" / f"{name}.png") for name in ("bear", "mug"))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def transforms(folder: Path) -> dict:
    return json.loads((folder / "transforms.json").read_text())


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "numpy", "PIL", "diffusers", "transformers"}
    code = (
        f"import sys\nfrom zero123lib.cli import main\nstatus = main(['--help'])\n"
        f"print(*sorted({heavy!r} & sys.modules.keys()), status)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr


def test_every_verb_has_an_example_in_the_help_and_examples_parse(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out + views.VIEWS_EPILOG + views.ORBIT_EPILOG
    text += convert.EPILOG
    lines = [line.split("  (")[0] for line in text.splitlines() if line.startswith("  ")]
    examples = [line.split()[1:] for line in lines if line.split()[0] == "zero123"]
    (verbs,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert {words[0] for words in examples} == set(verbs.choices)
    for words in examples:
        out = getattr(build_parser().parse_args(words), "out", None)
        assert out is None or out in map(Path, words[2:])


def test_names_repeated_for_the_parser_are_those_of_the_rooms() -> None:
    assert views.PRESETS == PRESET_NAMES
    assert get_args(Preprocess) == views.PREPROCESS
    assert get_args(Sampler) == views.SAMPLERS
    assert views.DEVICES == DEVICES
    assert ("auto", *get_args(Encoding)) == arguments.ENCODINGS


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
    """The folder of a model that has to be told the elevation of the picture's camera."""
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
    assert capsys.readouterr().err.splitlines() == [
        "zero123 views: error: --input-elevation: expected the elevation of the camera that took "
        "the picture, in degrees, as the model told is conditioned on it; got none"
    ]
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


def test_several_pictures_get_a_folder_each(tmp_path: Path) -> None:
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


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "text.png").write_text("not a picture")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(folder / "empty.png")
    return folder


@pytest.mark.parametrize(
    ("words", "argument", "reason"),
    [
        (["missing.png"], "image", "no such file"),
        (["text.png"], "image", "an image file (PNG, JPEG, WebP"),
        (["one.png"], "image", "at least 8 x 8 pixels, got 1 x 1"),
        (["empty.png"], "image", "every pixel is transparent"),
        ([BEAR, "empty.png"], "image", "(empty.png)"),
        ([BEAR, "--azimuth", "0", "nan"], "--azimuth", "a finite number of degrees, got 'nan'"),
        ([BEAR, "--model", "huge"], "--model", "got 'huge'"),
        ([BEAR, "--model", "."], "--model", "model_index.json"),
        ([BEAR, "--device", "abacus"], "--device", "one of auto, cpu"),
        ([BEAR, "--elevation", "95"], "--elevation", "-90 to 90 degrees, got 0 + 95"),
        ([BEAR, "--elevation", "1", "2"], "--elevation", "one per azimuth (8), got 2"),
        ([BEAR, "--radius", "-2"], "--radius", "farther than 0"),
        ([BEAR, "--preset", "up"], "--preset", "one of left, above"),
        ([BEAR, "--preset", "left", "--azimuth", "3"], "--preset", "no --azimuth beside it"),
        ([BEAR, "--input-elevation", "100"], "--input-elevation", "in [-90, 90], got 100"),
        ([BEAR, "--foreground-ratio", "0"], "--foreground-ratio", "above 0 and at most 1"),
        ([BEAR, "--sampler", "unipc", "--eta", "1"], "--eta", "0, as 'unipc' adds no noise"),
        ([BEAR, "--steps", "0"], "--steps", "a whole number from 1 to 1000, got '0'"),
        ([BEAR, "--out", "text.png"], "--out", "which is a file"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    words: list[str],
    argument: str,
    reason: str,
    bad: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad)
    before = names_in(bad)
    out = [] if "--out" in words else ["--out", "views/deep"]
    assert main(["views", *words, *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"zero123 views: error: {argument}: expected ") and reason in line
    assert names_in(bad) == before


def test_a_word_that_is_no_argument_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["sculpt"], ["views", BEAR], ["views", BEAR, "--out", "o", "--turn"]):
        assert main(words) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_while_sampling_leaves_nothing(tmp_path: Path) -> None:
    # A shell's background job is born deaf to Ctrl-C, and the tests may well run in one.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from zero123lib.cli import main; sys.exit(main())"
    )
    command = ["views", BEAR, "--steps", "1000", "--out", str(tmp_path / "views")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    headline = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, (headline, errors)
    assert errors.splitlines() == ["zero123 views: interrupted"]
    assert names_in(tmp_path) == set()


def test_a_write_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "views"
    files.write_folder(folder, {"a.txt": b"old"})
    with pytest.raises(TypeError):
        files.write_folder(folder, {"a.txt": b"new", "b.txt": "not bytes"})  # type: ignore[dict-item]
    assert (folder / "a.txt").read_bytes() == b"old"
    assert names_in(folder) == {"a.txt"} and names_in(tmp_path) == {"views"}


def test_an_interrupted_replacement_leaves_no_index_of_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_folder(tmp_path, {"000.png": b"old", "001.png": b"old", "index": b"old"})
    replace, calls = Path.replace, []

    def once(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        files.write_folder(tmp_path, {"000.png": b"new", "001.png": b"new", "index": b"new"})
    assert names_in(tmp_path) == {"000.png", "001.png"}


def test_files_are_on_the_disk_before_they_get_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str | int] = []

    def noted(name: str) -> None:
        real = getattr(Path, name)

        def call(path: Path, *more: object, **options: object) -> object:
            events.append(f"{name} {path.name}")
            return real(path, *more, **options)

        monkeypatch.setattr(Path, name, call)

    for name in ("rename", "replace", "unlink"):
        noted(name)
    monkeypatch.setattr(files.os, "fsync", lambda handle: events.append(os.fstat(handle).st_ino))
    folder, content = tmp_path / "new", {"a": b"1", "index": b"2"}

    files.write_folder(folder, content)
    a, index, here = ((folder / name).stat().st_ino for name in ("a", "index", "."))
    assert events == [a, index, here, "rename made", tmp_path.stat().st_ino]

    events.clear()
    files.write_folder(folder, content)
    a, index = ((folder / name).stat().st_ino for name in ("a", "index"))
    expected = [a, index, "unlink index", here, "replace a", here, "replace index", here]
    assert events == expected


def test_a_folder_named_from_within_is_that_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert files.write_folder(Path(".."), {"a": b"1"}) == ["inner"]
    assert names_in(tmp_path) == {"a", "inner"}


def test_a_preset_beyond_the_pole_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "above", "--input-elevation", "20", "--out", "never"]
    assert main(["views", BEAR, *words]) == 2
    assert capsys.readouterr().err.startswith("zero123 views: error: --preset: expected a camera")


def test_a_folder_that_cannot_be_written_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making.files, "write_folder", full)
    assert (
        main(["views", BEAR, "--steps", "1", "--azimuth", "0", "--out", str(tmp_path / "o")]) == 1
    )
    assert "No space left on device" in capsys.readouterr().err


def test_number_types_take_their_bounds_and_refuse_the_rest() -> None:
    three = arguments.whole(1, 3)
    assert [three(text) for text in ("1", "3")] == [1, 3]
    for text in ("0", "4", "2.5", "nan", ""):
        with pytest.raises(Exception, match="expected a whole number from 1 to 3"):
            three(text)
    for text in ("0", "-1", "inf", "nan", "x"):
        with pytest.raises(Exception, match="expected a finite number above 0"):
            arguments.positive(text)


def test_every_shared_picture_gets_its_views(shared_data: Path, tmp_path: Path) -> None:
    photos = sorted((shared_data / "images").glob("*.png"))
    assert len(photos) == 12
    out = tmp_path / "views"
    words = ["--azimuth", "45", "--steps", "2", "--out", str(out)]
    assert main(["views", *map(str, photos), *words]) == 0
    assert names_in(out) == {photo.stem for photo in photos}
    for photo in photos:
        assert names_in(out / photo.stem) == {"000.png", "contact_sheet.png", "transforms.json"}
        assert pixels(out / photo.stem / "000.png").std() > 1


@pytest.mark.parametrize(("given", "seen"), [(None, "passive"), ("active", "active")])
def test_threads_wait_asleep_unless_the_user_says(given: str | None, seen: str) -> None:
    code = (
        "import os, sys; from zero123lib.cli import main; early = 'torch' in sys.modules; "
        "main(['mesh', 'inspect', 'absent.ply']); print(early, os.environ['OMP_WAIT_POLICY'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if given:
        environment["OMP_WAIT_POLICY"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["False", seen]
