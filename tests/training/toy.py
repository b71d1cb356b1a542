"""A toy run: some ten thousand weights, images of 16 px, pairs that are numbers made visible."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zero123lib.datasets.batches import Batch, Pair, collate
from zero123lib.datasets.folder import write_object
from zero123lib.training.config import TrainConfig
from zero123lib.training.config_files import parse_override, read_config
from zero123lib.views.poses import Pose

SIZE = 16
TOY = """
initial:
  architecture:
    image_size: 16
    patch_size: 4
    block_out_channels: [16]
    attended: [true]
    attention_heads: [2]
    norm_num_groups: 4
    clip_image_size: 16
    clip_patch_size: 8
    clip_width: 16
    clip_layers: 1
    clip_heads: 1
    context_width: 16
data: {path: unused, workers: 0}
batch: {size: 4, per_device: 2}
trained: {image_encoder: true}
optimizer: {learning_rate: 1.0e-3, projection_factor: 2, weight_decay: 0.01, clip_norm: 1.0}
schedule: {warmup_steps: 2, decay: cosine}
budget: {steps: 6}
ema: {decay: 0.9}
compute: {threads: 1}
validation: {every_steps: 0, pairs: 2, views: 1, steps: 1, guidance_scale: 1.0}
saving: {every_minutes: null}
output: {precision: fp32}
"""


def toy_yaml(folder: Path) -> Path:
    path = folder / "toy.yaml"
    path.write_text(TOY)
    return path


def toy_config(folder: Path, *overrides: str) -> TrainConfig:
    return read_config(toy_yaml(folder), [parse_override(text) for text in overrides])


class NumberedPairs:
    """A pair source whose images are noise by number; one that is `broken` is NaN."""

    def __init__(self, broken: int | None = None, size: int = SIZE) -> None:
        self.broken, self.size = broken, size
        self.seen: list[int] = []

    @property
    def skipped(self) -> Mapping[str, str]:
        return {}

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        number = first
        while True:
            numbers = range(number * batch_size, (number + 1) * batch_size)
            self.seen += numbers
            yield collate([self.pair(n) for n in numbers])
            number += step

    def pair(self, number: int) -> Pair:
        random = np.random.default_rng(number)
        images = torch.from_numpy(random.random((2, 3, self.size, self.size), np.float32)) * 2 - 1
        if number == self.broken:
            images[:] = torch.nan
        pose = torch.from_numpy(random.random(4, np.float32))
        return Pair(images[0], images[1], pose, torch.zeros(4))


def write_renders(root: Path, objects: int = 3, views: int = 4) -> Path:
    """Coloured squares that move with the camera, in the official layout."""
    for index in range(objects):
        random = np.random.default_rng(index)
        images, poses = [], []
        for view in range(views):
            image = np.zeros((SIZE, SIZE, 4), np.uint8)
            image[4:12, 2 + 2 * view : 8 + 2 * view] = [*random.integers(0, 255, 3), 255]
            images.append(image)
            poses.append(Pose(10.0, 30.0 * view, 1.8))
        write_object(root / f"object-{index}", images, poses)
    return root


def weights_of(state: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in state.trained.items()}


# Processes of their own start from a server that has torch loaded.
_CONTEXT = get_context("forkserver")
PRELOADED = ["zero123lib.training.run", "torch.utils.tensorboard"]
_CONTEXT.set_forkserver_preload(PRELOADED)


def start_process(target: Any, *args: Any) -> Any:
    process = _CONTEXT.Process(target=target, args=args)
    process.start()
    return process


def join_group(rank: int, processes: int, port: int) -> None:
    """Say of this process what a launcher would say."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def recorded_main(argv: list[str], log: Path) -> None:
    """`zero123 ARGV` in a process of its own; every step's loss is a line of the log."""
    from zero123lib import cli
    from zero123lib.training import run as training_run

    os.setpgrp()
    plain = training_run.train

    def recorded(*args: Any) -> Iterator[Any]:
        with open(log, "a") as file:
            for progress in plain(*args):
                file.write(json.dumps([progress.step, progress.loss.hex()]) + "\n")
                file.flush()
                yield progress

    training_run.train = recorded
    with open(os.devnull, "w") as silent:
        sys.stdout = sys.stderr = silent
        status = cli.main(argv)
    sys.exit(status)


def steps_in(log: Path) -> list[tuple[int, str]]:
    """Step and loss of every whole line."""
    if not log.exists():
        return []
    lines = log.read_text().splitlines(keepends=True)
    return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]


def send_after(process: Any, log: Path, lines: int, wait: float, number: signal.Signals) -> None:
    """Send a signal some time after the log has so many lines, unless the process has ended.

    SIGKILL hits it alone; the others all of its group, as terminals and job schedulers have it.
    """
    while process.is_alive() and len(steps_in(log)) < lines:
        time.sleep(0.002)
    time.sleep(wait)
    if process.is_alive():
        (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)
    process.join()
