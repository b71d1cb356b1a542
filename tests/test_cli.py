"""The command line writes what the library makes, or one line and nothing."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._choices import Preset
from zero123lib.cli import app, main, making
from zero123lib.cli.verbs import VERBS, build
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.reconstruction.files import recipe_names
from zero123lib.views.cameras import FOV_DEG
from zero123lib.views.poses import PRESETS, Pose, RelativePose
from zero123lib.views.transforms import frames_of, poses_from_transforms

ROOT = Path(__file__).resolve().parents[1]
BEAR, MUG = (
    str(ROOT / "zero123lib" / "app" / "examples" / f"{name}.png") for name in ("bear", "mug")
)
HEAVY = ("torch", "diffusers", "transformers", "gradio", "open3d", "accelerate")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def transforms(folder: Path) -> dict:
    return json.loads((folder / "transforms.json").read_text())


def all_verbs() -> Iterator[list[str]]:
    for name, verb in VERBS.items():
        yield from ([[name]] if isinstance(verb, tuple) else [[name, inner] for inner in verb])


def python(code: str, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which hears Ctrl-C whatever the tests run in."""
    deaf = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", deaf + code, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_help_of_every_verb_loads_nothing_heavy() -> None:
    code = f"""
import sys
from zero123lib.cli import main
for words in ([], *{list(all_verbs())!r}):
    assert main([*words, "--help"]) == 0, words
    assert not {set(HEAVY)!r} & sys.modules.keys(), words
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", list(all_verbs()), ids=" ".join)
def test_every_verb_shows_examples_that_parse(
    verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*verb, "--help"]) == 0
    text = capsys.readouterr().out.replace("\\\n", " ")
    begins = ["zero123", *verb]
    lines = [line for line in text.splitlines() if line.strip().startswith("zero123 ")]
    assert all(line.startswith("    ") for line in lines)
    examples = [shlex.split(line) for line in lines]
    examples = [words for words in examples if words[: len(begins)] == begins]
    assert examples
    for words in examples:
        build().parse_args(words[1:], exit_on_error=False, print_error=False)


def test_the_help_tells_the_truth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main(["reconstruct", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*VERBS, *recipe_names()))
    assert "Usage: zero123 COMMAND" in text and get_args(Preset)[:-1] == tuple(PRESETS)
    # No path of a clone, which an installed wheel has not.
    assert "recon_configs" not in text and "docs/" not in text


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
    (folder / "text.png").write_text("not an image")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGBA", (64, 64), (9, 9, 9, 0)).save(folder / "empty.png")
    return folder


def test_one_bad_image_does_not_refuse_the_others(
    bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad)
    Image.new("RGB", (64, 32)).save("wide.png")
    images = ["text.png", BEAR, "absent.png", "wide.png", MUG]
    how = ["--azimuth", "0", "--steps", "1", "--preprocess", "none"]
    assert main(["views", *images, *how, "--out", "out"]) == 1
    assert names_in(bad / "out") == {"bear", "mug"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("text.png", "absent.png", "wide.png"), strict=True):
        assert line.startswith("zero123 views: error: image: expected ") and name in line


def test_images_that_are_all_bad_are_wrong_input(
    bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad)
    assert main(["views", "text.png", "empty.png", "absent.png", "--out", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(name in line for name in ("text.png", "empty.png", "absent.png"))
    assert not (bad / "out").exists()


WRONG = [
    (["missing.png"], "image", "no such file"),
    (["text.png"], "image", "an image file (PNG, JPEG, WebP"),
    (["one.png"], "image", "at least 8 x 8 pixels, got 1 x 1"),
    (["empty.png"], "image", "every pixel is transparent"),
    ([BEAR, "--azimuth", "0", "nan"], "--azimuth", "a finite number of degrees, got 'nan'"),
    ([BEAR, "--azimuth"], "--azimuth", "at least 1 value, got none"),
    ([BEAR, "--model", "huge"], "--model", "got 'huge'"),
    ([BEAR, "--original-config", "no.yaml"], "--original-config", "got 'no.yaml'"),
    ([BEAR, "--device", "abacus"], "--device", "one of auto, cpu"),
    ([BEAR, "--encoding", "zero124"], "--encoding", "did you mean 'zero123'?"),
    ([BEAR, "--elevation", "95"], "--elevation", "-90 to 90 degrees, got 0 + 95"),
    ([BEAR, "--elevation", "1", "2"], "--elevation", "one per azimuth (8), got 2"),
    ([BEAR, "--radius", "-2"], "--radius", "farther than 0"),
    ([BEAR, "--zoom", "x"], "--zoom", "a finite number, got 'x'"),
    ([BEAR, "--preset", "up"], "--preset", "one of left, above"),
    ([BEAR, "--preset", "left", "--azimuth", "3"], "--preset", "no --azimuth beside it"),
    ([BEAR, "--preset", "above", "--input-elevation", "20"], "--preset", "a camera between"),
    ([BEAR, "--input-elevation", "100"], "--input-elevation", "in [-90, 90], got 100"),
    ([BEAR, "--foreground-ratio", "0"], "--foreground-ratio", "above 0 and at most 1"),
    ([BEAR, "--sampler", "unipc", "--eta", "1"], "--eta", "0, as 'unipc' adds no noise"),
    ([BEAR, "--steps", "0"], "--steps", "a whole number from 1 to 1000, got '0'"),
    ([BEAR, "--steps", "2.5"], "--steps", "a whole number from 1 to 1000, got '2.5'"),
    ([BEAR, "--azimut", "3"], "--azimut", "did you mean '--azimuth'?"),
    ([BEAR, "--no-quiet"], "--no-quiet", "an option of zero123 views"),
    ([BEAR, "--out", "text.png"], "--out", "which is a file"),
    ([], "IMAGE", "at least 1 value, got none"),
]


@pytest.mark.parametrize(("words", "argument", "reason"), WRONG)
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


def test_wrong_input_is_told_before_torch_is_there(bad: Path) -> None:
    """Of every verb: a file that is missing, a word that is none, values that do not fit."""
    (bad / "scan.ply").write_text("ply")
    commands = [
        *(["views", *words, *([] if "--out" in words else ["--out", "o"])] for words, *_ in WRONG),
        ["orbit", "missing.png", "--out", "o"],
        ["orbit", BEAR, "--count", "1", "--out", "o"],
        ["reconstruct", "missing.png", "--out", "o"],
        ["reconstruct", BEAR, "--config", "no.yaml", "--out", "o"],
        ["reconstruct", BEAR, "seed", "--out", "o"],
        ["reconstruct", BEAR, "sytem.guidance=1", "--out", "o"],
        ["reconstruct", BEAR, "--model", "huge", "--out", "o"],
        ["reconstruct", BEAR, "--engine", "threestudio", "--out", "o"],
        *(["mesh", verb, "missing.ply", "o.glb"] for verb in ("clean", "bake", "convert")),
        ["mesh", "inspect", "missing.ply"],
        ["mesh", "convert", "scan.ply", "o.fbx"],
        ["mesh", "texture", "scan.ply", "missing", "o.glb"],
        ["mesh", "render", "missing.ply", "o"],
        ["mesh", "render", "scan.ply", "o", "--elevation", "95"],
        ["convert", "missing.ckpt", "o"],
        ["convert", BEAR, "o", "--original-config", "no.yaml"],
        ["render", "missing", "o"],
        ["render", "scan.ply", "o", "--radius", "2", "1"],
        ["dataset", "check", "missing"],
        ["dataset", "pack", "missing", "o"],
        ["train", "no.yaml", "--out", "o"],
        ["train", "finetune", "--data", "missing", "--out", "o"],
        ["train", "finetune", "--data", ".", "--out", "o", "--set", "optimizer.rate=1"],
        ["evaluate", "scenes", "--model", "huge"],
        ["evaluate", "scenes", "--steps", "2", "--sweep-steps", "1"],
        ["evaluate", "reconstruction", "--recipe", "no.yaml"],
        ["threestudio", "install", "."],
        ["app", "--model", "huge"],
        ["app", "--prot", "80"],
        ["vews"],
        ["mesh", "cleen"],
        ["mesh"],
        [],
    ]
    code = f"""
import contextlib, io, os, sys
from zero123lib.cli import main
before = sorted(os.listdir())
for words in {commands!r}:
    with contextlib.redirect_stderr(io.StringIO()) as told:
        status = main(words)
    text = told.getvalue()
    loaded = sorted({set(HEAVY)!r} & sys.modules.keys())
    assert status == 2 and text.count("\\n") == 1 and ": expected " in text, (words, text)
    assert not loaded, (words, loaded)
    assert sorted(os.listdir()) == before, words
"""
    done = python(code, cwd=bad)
    assert done.returncode == 0, done.stderr


def test_a_verb_that_is_none_is_told_its_neighbour(capsys: pytest.CaptureFixture[str]) -> None:
    for words, meant in (
        (["--versoin"], "--version"),
        (["vews"], "views"),
        (["mesh", "cleen"], "clean"),
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert ": error: VERB: expected one of " in line and line.endswith(f"mean '{meant}'?")


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


def interrupted(process: subprocess.Popen[str], folder: Path) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.splitlines() == ["zero123 views: interrupted"]
    assert names_in(folder) == set()


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
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    interrupted(process, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
@pytest.mark.parametrize("module", ["cyclopts", "PIL.Image", "torch", "diffusers"])
def test_ctrl_c_while_a_module_is_imported_is_one_line(tmp_path: Path, module: str) -> None:
    code = f"""
import os, signal, sys
class Press:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Press())
from zero123lib.cli import main
sys.exit(main())
"""
    done = python(code, "views", BEAR, "--out", str(tmp_path / "views"))
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr == "zero123 views: interrupted\n" and names_in(tmp_path) == set()


def test_a_folder_that_cannot_be_written_is_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(making, "write_folder", full)
    words = ["views", BEAR, "--steps", "1", "--azimuth", "0", "--out", str(tmp_path / "o")]
    assert main(words) == 1
    assert capsys.readouterr().err.count("\n") == 1


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


@pytest.mark.parametrize(("given", "seen"), [(None, "passive"), ("active", "active")])
def test_threads_wait_asleep_unless_the_user_says(
    given: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    code = (
        "import os, sys; from zero123lib.cli import main; early = 'torch' in sys.modules; "
        "main(['mesh', 'inspect', 'absent.ply']); print(early, os.environ['OMP_WAIT_POLICY'])"
    )
    assert python(code).stdout.split() == ["False", seen]


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


def test_env_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["env"]) == 0
    text = capsys.readouterr().out
    assert main(["env", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["torch"] == torch.__version__
    assert found["weights"] == {"tiny": "apache-2.0"}
    assert {"meshes", "app", "train", "video"} <= found["extras"].keys()
    for told in (torch.__version__, "tiny apache-2.0", "trimesh", f"{torch.get_num_threads()} thr"):
        assert told in text


def test_completion_knows_verbs_options_and_choices() -> None:
    script = build().generate_completion(shell="bash")
    for word in ("reconstruct", "inspect", "--azimuth", "unipc", "--install-completion"):
        assert word in script


def test_the_app_without_its_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app, "find_spec", lambda name: None)
    assert main(["app"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'zero123lib[app]'" in line
