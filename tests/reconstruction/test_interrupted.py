"""Ctrl-C ends `zero123 reconstruct` with status 130 and one line, whenever it comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from processes import PATIENCE_S, process, start, wait_for, words

from zero123lib.meshes.load import load_mesh
from zero123lib.reconstruction.outputs import load_field
from zero123lib.reconstruction.state import CHECKPOINT

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send"),
]

# Tells when the command line has begun, from within: Ctrl-C before that is none of its business.
# Sends itself SIGINT where a module is looked for.
EARLY = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "zero123lib.cli.verbs":
            os.write(1, b"begun\\n")
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
from zero123lib.cli import main
sys.meta_path.insert(0, Finder())
sys.exit(main(sys.argv[1:]))
"""
LONG = ("trainer.max_steps=100000",)


def interrupt(running: subprocess.Popen) -> None:
    """As a terminal does: the whole group hears it."""
    os.killpg(running.pid, signal.SIGINT)


def ended(running: subprocess.Popen, number: int = 130) -> str:
    """The one line that it said on stderr."""
    out, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == number, (out, errors)
    assert errors.count("\n") == 1 and errors.startswith("zero123"), errors
    return errors


def check_whole(out: Path) -> None:
    """Every file is whole, and none half made."""
    assert not list(out.glob(".making-*"))
    readers = {
        ".ply": load_mesh, ".glb": load_mesh, ".json": lambda file: json.loads(file.read_text()),
        ".safetensors": lambda file: load_field(file.parent),
    }  # fmt: skip
    for file in out.iterdir():
        if file.suffix in (".gif", ".png"):
            with Image.open(file) as image:
                image.load()
        elif file.suffix in readers:
            readers[file.suffix](file)


@pytest.mark.parametrize(
    "module", ["torch", "torch.nn", "diffusers", "omegaconf", "zero123lib.reconstruction.engine"]
)
def test_in_the_middle_of_an_import(module: str, files: Path, tmp_path: Path) -> None:
    running = process(
        [sys.executable, "-c", EARLY.format(module=module), *words(files, tmp_path / "run")]
    )
    assert "interrupted" in ended(running)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 2.5])
def test_in_the_first_seconds(seconds: float, files: Path, tmp_path: Path) -> None:
    running = process(
        [sys.executable, "-c", EARLY.format(module=""), *words(files, tmp_path / "run", *LONG)]
    )
    assert running.stdout is not None and running.stdout.readline() == "begun\n"
    time.sleep(seconds)
    interrupt(running)
    assert "interrupted" in ended(running)
    if (tmp_path / "run").exists():
        check_whole(tmp_path / "run")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_fitting_all_is_written_from_what_is_there(
    number: int, status: int, files: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    running = start(files, out, *LONG)
    wait_for([out / CHECKPOINT], running)
    running.send_signal(number)
    said = ended(running, status)
    assert "--resume goes on from" in said
    check_whole(out)
    names = {file.name for file in out.iterdir()}
    assert {"mesh.ply", "mesh.glb", "turntable.gif", "metrics.json", CHECKPOINT} <= names
    assert json.loads((out / "metrics.json").read_text())["ended"] == "stopped"


def test_while_writing(files: Path, tmp_path: Path) -> None:
    """What has begun is finished; the atlas's own process hears nothing of it."""
    out = tmp_path / "run"
    running = start(files, out, "system.guidance.embedded.outputs.frames=60")
    wait_for([out / "field.json"], running)
    interrupt(running)
    assert "wrote" in ended(running)
    check_whole(out)
    assert (out / "metrics.json").exists()
    notes = json.loads((out / "metrics.json").read_text())["notes"]
    assert not any("one by one" in note for note in notes)


def test_a_second_one_ends_it_at_once(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    running = start(files, out, *LONG, "system.guidance.embedded.outputs.frames=5000")
    wait_for([out / CHECKPOINT], running)
    interrupt(running)
    wait_for([out / "mesh.glb"], running)
    interrupt(running)
    assert ended(running) == "zero123 reconstruct: interrupted\n"
    check_whole(out)
    assert not (out / "metrics.json").exists() and (out / CHECKPOINT).exists()
