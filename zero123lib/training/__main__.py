"""Command line of the training: see the package's docstring."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist

from zero123lib.training.bundle import export
from zero123lib.training.loop import load_checkpoint, save_checkpoint, start, train
from zero123lib.training.recipe import TrainConfig


def main(arguments: list[str] | None = None) -> None:
    """Command line of the bundled model's training."""
    parser = argparse.ArgumentParser(
        prog="python -m zero123lib.training", description="Train the bundled model, or export it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--minutes", type=float, default=TrainConfig.minutes)
    parser.add_argument("--initial", type=Path, help="pipeline folder to go on from")
    parser.add_argument("--export", type=Path, help="write the checkpoint as a pipeline and stop")
    parser.add_argument("--threads", type=int, default=1, help="per process")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    first = not dist.is_initialized() or dist.get_rank() == 0
    config = TrainConfig(minutes=options.minutes)
    checkpoint = options.out / "checkpoint.pt"
    resumed = checkpoint.exists()
    state = load_checkpoint(checkpoint, config) if resumed else start(config, options.initial)
    if options.export:
        if not resumed:
            parser.error(f"--out: expected a folder with a checkpoint.pt, got {options.out}")
        export(state, options.export)
        return
    saved = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "log.jsonl" if first else os.devnull, "a") as log:
        for progress in train(config, state):
            if progress.step % 50 == 0:
                log.write(json.dumps(asdict(progress)) + "\n")
                log.flush()
            if first and time.monotonic() - saved > 180:
                save_checkpoint(checkpoint, state, config)
                saved = time.monotonic()
    if first:
        save_checkpoint(checkpoint, state, config)
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
