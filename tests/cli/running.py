"""What the tests of the command line share: images, and what a folder holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
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


def python(code: str, *words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, which hears Ctrl-C whatever the tests run in."""
    deaf = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", deaf + code, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
