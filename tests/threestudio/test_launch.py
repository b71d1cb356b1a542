"""A run in threestudio: started, followed, stopped, and brought home; here a script plays it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.threestudio.test_clone import make_clone
from zero123lib.cli import main
from zero123lib.meshes.load import load_mesh
from zero123lib.threestudio_plugin.clone import TESTED_COMMIT, install
from zero123lib.threestudio_plugin.launch import (
    Launched,
    LaunchError,
    LaunchProgress,
    launch,
)

# Understands the words that threestudio's launch.py does, and leaves what it leaves.
PLAYER = """
import json, os, pathlib, sys, time, yaml
words = sys.argv[1:]
config = yaml.safe_load(open(words[words.index("--config") + 1]))
given = {k: yaml.safe_load(v) for k, _, v in (w.partition("=") for w in words if "=" in w)}
print("words", json.dumps(given))
BEHAVIOUR
if "--train" in words:
    run = pathlib.Path(given["exp_root_dir"]) / given["name"] / given["tag"]
    for part in ("save", "ckpts", "configs", "csv_logs/version_0"):
        (run / part).mkdir(parents=True)
    (run / "configs" / "parsed.yaml").write_text(json.dumps({"run": str(run)}))
    (run / "ckpts" / "last.ckpt").write_bytes(b"x")
    for step in range(given.get("trainer.max_steps", 3)):
        with open(os.environ["ZERO123LIB_PROGRESS"], "a") as file:
            file.write(json.dumps({"step": step, "losses": {"sds": 1.0 / (step + 1)}}) + "\\n")
        time.sleep(0.05)
    (run / "csv_logs" / "version_0" / "metrics.csv").write_text(
        "step,train/loss,train/loss_sds\\n0,2.0,\\n1,,0.5\\n2,1.5,nan\\n"
    )
    (run / "save" / "it3-test.mp4").write_bytes(b"video")
else:
    save = pathlib.Path(config["run"]) / "save" / "it3-export"
    save.mkdir()
    (save / "model.obj").write_text(
        "v 0 0 0\\nv 1 0 0\\nv 0 1 0\\nv 0 0 1\\nf 1 3 2\\nf 1 2 4\\nf 1 4 3\\nf 2 3 4\\n"
    )
"""
RECIPE = """
name: played
data_type: single-image-datamodule
data: {}
system_type: zero123-system
system: {guidance_type: zero123lib-guidance, guidance: {pretrained_model_name_or_path: tiny}}
trainer: {max_steps: 3}
"""


def play(root: Path, behaviour: str = "") -> Path:
    clone = make_clone(root / "threestudio", commit=TESTED_COMMIT)
    (clone / "threestudio" / "data.py").write_text(
        "class DataConfig:\n    default_fovy_deg: float = 20.0\n"
    )
    (clone / "launch.py").write_text(PLAYER.replace("BEHAVIOUR", behaviour))
    install(clone)
    return clone


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A disc, 300 x 200, see-through around it."""
    y, x = np.mgrid[:200, :300]
    alpha = ((x - 150) ** 2 + (y - 100) ** 2 < 80**2) * 255
    rgba = np.stack([np.full_like(alpha, 200), x % 256, y % 256, alpha], -1).astype(np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a photo.png")
    return tmp_path / "a photo.png"


def words_of(log: Path) -> dict[str, Any]:
    line = next(line for line in log.read_text().splitlines() if line.startswith("words "))
    return json.loads(line.removeprefix("words "))


def test_a_run_is_followed_and_its_outputs_come_home(
    tmp_path: Path, recipe: Path, photo: Path
) -> None:
    out = tmp_path / "my run"  # a blank, which a YAML override would not survive unquoted
    steps = list(launch(recipe, play(tmp_path), photo, out, overrides=["seed=7"]))
    *progress, end = steps
    assert isinstance(end, Launched) and end.notices == ()
    told = [(one.stage, one.step, one.total) for one in progress if isinstance(one, LaunchProgress)]
    assert told == [("sds", 1, 3), ("sds", 2, 3), ("sds", 3, 3), ("outputs", 3, 3)]
    assert progress[1].losses == {"sds": 0.5}  # pyright: ignore[reportAttributeAccessIssue]
    expected = {"input.png", "mesh.glb", "mesh.ply", "metrics.json", "threestudio.log",
                "threestudio", "turntable.mp4"}  # fmt: skip
    assert {path.name for path in out.iterdir()} == set(end.files) == expected
    assert end.files["turntable.mp4"].read_bytes() == b"video"
    words = words_of(out / "threestudio.log")
    assert words["seed"] == 7 and words["data.image_path"] == str(out / "input.png")
    assert words["use_timestamp"] is False
    framed = Image.open(out / "input.png")
    assert framed.mode == "RGBA" and framed.size == (512, 512)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(end.metrics))
    assert metrics["losses"] == {"loss": 1.5, "loss_sds": 0.5} and metrics["model"] == "tiny"
    assert metrics["threestudio"]["commit"] == TESTED_COMMIT
    assert (metrics["cut_out"], metrics["networks"]) == ("alpha", [])
    assert end.how == "cut out by its own transparency"
    # threestudio's world is ours: PLY z-up as it was, GLB y-up, both the same once read.
    for name in ("mesh.ply", "mesh.glb"):
        mesh = load_mesh(out / name, normalise=False)
        corners = {tuple(np.round(vertex, 4)) for vertex in mesh.vertices.tolist()}
        assert corners == {(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_overrides_reach_the_run(tmp_path: Path, recipe: Path, photo: Path) -> None:
    run = launch(recipe, play(tmp_path), photo, tmp_path / "out", mesh=False,
                 overrides=["trainer.max_steps=5"])  # fmt: skip
    steps = [one for one in run if isinstance(one, LaunchProgress)]
    assert [one.step for one in steps] == [1, 2, 3, 4, 5, 5] and steps[0].total == 5
    assert not (tmp_path / "out" / "mesh.ply").exists()


def test_a_models_file_is_named_from_here(
    tmp_path: Path, recipe: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my model.ckpt").touch()
    key = "system.guidance.pretrained_model_name_or_path"
    for name, seen in (("my model.ckpt", str(tmp_path / "my model.ckpt")), ("tiny", "tiny")):
        clone, out = play(tmp_path / name.partition(" ")[0]), tmp_path / f"out-{seen[-4:]}"
        for _ in launch(recipe, clone, photo, out, mesh=False, overrides=[f"{key}={name}"]):
            pass
        assert words_of(out / "threestudio.log")[key] == seen
        assert json.loads((out / "metrics.json").read_text())["model"] == name


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("raise KeyError('zero123lib-guidance')", "our guidance did not load; ask `zero123 three"),
        ("import absent_cuda_thing", "No module named 'absent_cuda_thing': `zero123 threestudio"),
        (
            "raise ModuleNotFoundError(\"No module named 'igl.core'\")",
            "No module named 'igl.core': pip install 'libigl==2.5.1'; `zero123 threestudio doctor",
        ),
        (
            "raise ModuleNotFoundError(\"No module named 'tinycudann'\")",
            "No module named 'tinycudann': see https://github.com/threestudio-project",
        ),
        (
            "raise RuntimeError('PyTorch was compiled without CUDA support')",
            "needs an NVIDIA GPU and torch's CUDA build",
        ),
        (
            'raise TypeError("DataConfig.__init__() got an unexpected keyword argument '
            "'defalt_fovy_deg'\")",
            "the recipe has a key 'defalt_fovy_deg', which its DataConfig does not have, "
            "did you mean 'default_fovy_deg'?",
        ),
        ("raise RuntimeError('CUDA out of memory. Tried')", "the GPU's memory is full; try system"),
        (
            "raise RuntimeError('No supported gpu backend found!')",
            "needs an NVIDIA GPU",
        ),
        (
            "raise ValueError('system.guidance: unknown key')",
            "ValueError: system.guidance: unknown",
        ),
        ("sys.exit(3)", "threestudio: words"),
        ("os._exit(9) if 1 else print()", "threestudio: "),
    ],
)
def test_what_stops_it_is_one_line(
    tmp_path: Path, recipe: Path, photo: Path, behaviour: str, message: str
) -> None:
    with pytest.raises(LaunchError) as error:
        list(launch(recipe, play(tmp_path, behaviour), photo, tmp_path / "out"))
    text = str(error.value)
    assert message in text and "\n" not in text and "threestudio.log" in text
    assert (tmp_path / "out" / "threestudio.log").exists()
    assert not (tmp_path / "out" / ".progress.jsonl").exists()


def test_what_never_took_a_step_is_not_in_the_way(
    tmp_path: Path, recipe: Path, photo: Path
) -> None:
    """threestudio makes its folder of a run before it looks for a GPU."""
    ready = "os.makedirs(given['exp_root_dir'] + '/threestudio/run'); "
    for behaviour in ("raise RuntimeError('Found no NVIDIA driver')", "raise OSError('disk')"):
        clone = play(tmp_path / behaviour[-5:-2], ready + behaviour)
        with pytest.raises(LaunchError):
            list(launch(recipe, clone, photo, tmp_path / "out"))
        left = {path.name for path in (tmp_path / "out").iterdir()}
        assert left == {"input.png", "threestudio.log"}
    clone = play(tmp_path / "well")
    *_, end = launch(recipe, clone, photo, tmp_path / "out", mesh=False)
    assert isinstance(end, Launched) and end.notices == ()


def test_a_clone_at_another_commit_is_told_with_the_mend(
    tmp_path: Path, recipe: Path, photo: Path
) -> None:
    mend = f"tested is {TESTED_COMMIT[:7]}: git -C '{tmp_path}/a b/threestudio' checkout"
    for behaviour in ("", "raise RuntimeError('it changed')"):
        clone = play(tmp_path / "a b", behaviour)
        (clone / ".git" / "HEAD").write_text("0" * 40)
        run = launch(recipe, clone, photo, tmp_path / f"out{len(behaviour)}", mesh=False)
        if behaviour:
            with pytest.raises(LaunchError) as error:
                list(run)
            text = str(error.value)
            assert "it changed; the clone is at 0000000" in text and "\n" not in text
        else:
            *_, end = run
            assert isinstance(end, Launched)
            (text,) = end.notices
            assert end.metrics["notices"] == [text]
        assert mend in text
        shutil.rmtree(clone)


def test_without_a_mesh_the_rest_comes_home(tmp_path: Path, recipe: Path, photo: Path) -> None:
    clone = play(tmp_path, "if '--export' in words: raise RuntimeError('no surface')")
    *_, end = launch(recipe, clone, photo, tmp_path / "out")
    assert isinstance(end, Launched) and "turntable.mp4" in end.files
    assert "mesh.ply" not in end.files and "RuntimeError: no surface" in end.notices[0]


def test_closing_stops_the_process(tmp_path: Path, recipe: Path, photo: Path) -> None:
    pid = tmp_path / "pid"
    behaviour = f"open({str(pid)!r}, 'w').write(str(os.getpid()))"
    clone = play(tmp_path, behaviour)
    run = launch(recipe, clone, photo, tmp_path / "out", overrides=["trainer.max_steps=2000"])
    next(run)
    run.close()  # pyright: ignore[reportAttributeAccessIssue]
    number = int(pid.read_text())
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(number, 0)
            time.sleep(0.1)


def test_sigterm_stops_the_process_too(tmp_path: Path, recipe: Path, photo: Path) -> None:
    pid = tmp_path / "pid"
    behaviour = f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    clone = play(tmp_path, behaviour)

    def terminate() -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    words = ["reconstruct", photo, "--config", recipe, "--engine", "threestudio"]
    words += ["--threestudio-root", clone, "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"overrides": ["seed 7"]}, "overrides: expected dotted.key=value, got 'seed 7'"),
        ({"overrides": ["trainer.max_steps=ten"]}, "trainer.max_steps: expected a whole number"),
        (
            {"overrides": ["system.guidance.guidence_scale=3"]},
            "system.guidance: unknown key 'guidence_scale', did you mean 'guidance_scale'?",
        ),
        ({"recipe": "typo"}, "system.guidance: unknown key 'min_steps_percent', did you mean"),
        ({"recipe": "views"}, "recipe: expected a whole threestudio config"),
        ({"recipe": "broken"}, "recipe: "),
        ({"recipe": "absent"}, "recipe: "),
        ({"clone": "none"}, "clone: expected a folder with threestudio"),
        ({"clone": "bare"}, "clone: expected our hook"),
        ({"image": "absent.png"}, "absent.png"),
        ({"out": "used"}, "out: expected a folder without an earlier run"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, recipe: Path, photo: Path, change: dict[str, Any], message: str
) -> None:
    files = {"views": "name: views\nsystem: {}\n", "broken": "a: [", "recipe": RECIPE}
    files["typo"] = RECIPE.replace("pretrained_model_name_or_path", "min_steps_percent")
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    make_clone(tmp_path / "bare")
    (tmp_path / "used" / "threestudio" / "run").mkdir(parents=True)
    clone = play(tmp_path)
    given = {"recipe": "recipe", "clone": clone.name, "image": photo.name, "out": "new", **change}
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError) as error:
        list(
            launch(
                tmp_path / f"{given['recipe']}.yaml",
                tmp_path / given["clone"],
                tmp_path / given["image"],
                tmp_path / given["out"],
                overrides=given.get("overrides", ()),
                python=sys.executable,
            )
        )
    assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
