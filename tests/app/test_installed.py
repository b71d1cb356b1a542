"""The app from an installed wheel, far from any clone; and `demo` as its door in one."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from zero123lib.app import layout
from zero123lib.app.examples import example_files

ROOT = Path(__file__).resolve().parents[2]

BUILT = """
import gradio, sys, zero123lib
from zero123lib.cli import main
seen = []
gradio.Blocks.launch = lambda self, **options: seen.append((self, options))
assert main(["app", "--port", "7999", "--device", "cpu"]) == 0
(blocks, options), = seen
assert options["server_port"] == 7999
examples = [b["props"] for b in blocks.config["components"] if b["type"] == "dataset"]
print(zero123lib.__file__, len(examples[0]["samples"]), "tiny" in str(blocks.config))
"""


def test_an_installed_wheel_serves_the_app(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(
        ROOT / "zero123lib", source / "zero123lib", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ["pyproject.toml", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("zero123lib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", BUILT], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    file, examples, model = done.stdout.split()[-3:]
    assert Path(file).is_relative_to(tmp_path / "site")
    assert (int(examples), model) == (len(example_files()), "True")


def test_demo_is_the_door_of_a_clone() -> None:
    assert importlib.import_module("demo.layout") is layout
    assert layout.__spec__ is not None and layout.__spec__.name == "zero123lib.app.layout"
    assert sorted(os.listdir(ROOT / "demo" / "examples")) == sorted(
        os.listdir(Path(example_files()[0]).parent)
    )
