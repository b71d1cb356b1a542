"""`zero123 reconstruct` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tiny_runs import TINY

OVERRIDES = [*TINY, "system.guidance.embedded.stages=[views, sds]", "trainer.max_steps=60"]
PATIENCE_S = 300


def words(files: Path, out: Path, *more: str) -> list[str]:
    """What follows the program's name; `files` has a model and a photo."""
    told = ["reconstruct", str(files / "photo.png"), "--config", "tiny-sds"]
    told += ["--model", str(files / "model"), "--device", "cpu", "--encoding", "zero123"]
    return [*told, "--out", str(out), *more, *OVERRIDES]


def start(files: Path, out: Path, *more: str) -> subprocess.Popen:
    """Begin a run."""
    return process([sys.executable, "-m", "zero123lib", *words(files, out, *more)])


def process(command: Sequence[str]) -> subprocess.Popen:
    """Begin a process in a group of its own, as a terminal does; stdout and stderr are pipes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        process_group=0, preexec_fn=_hears_ctrl_c,
    )  # fmt: skip


def _hears_ctrl_c() -> None:
    # Tests that run in the background of a shell ignore it, and so would their processes.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(any_of: Sequence[Path], running: subprocess.Popen) -> None:
    """Wait until one of some files is there."""
    end = time.monotonic() + PATIENCE_S
    while not any(file.exists() for file in any_of):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, f"none of {any_of} came"
        time.sleep(0.02)
