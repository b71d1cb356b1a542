"""What reconstruction takes, and what it is worth beside answers that need no model.

    python benchmarks/reconstruction.py [--objects N] [--threads N] [--out FILE]

Both recipes for the bundled model on the first held-out objects; seconds are this machine's and
stand beside the ratios for orientation.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
from pathlib import Path

import numpy as np
import torch
from _measuring import metric

from zero123lib import Zero123Pipeline
from zero123lib.evaluation.reconstruction import Scored, score_recipe

RECIPES = ("tiny-views", "tiny-sds")


def measure(objects: int) -> list[dict]:
    """All metrics."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    metrics = []
    for recipe in RECIPES:
        scored = [one for one in score_recipe(pipe, recipe, objects) if isinstance(one, Scored)]
        iou, hull, ball = (
            float(np.mean([getattr(one, name) for one in scored]))
            for name in ("iou", "hull_iou", "ball_iou")
        )
        metrics.append(metric(f"{recipe}: volume IoU", iou, "", "higher"))
        metrics.append(
            metric(f"{recipe}: IoU / the silhouette's hull's", iou / hull, "x", "higher")
        )
        metrics.append(metric(f"{recipe}: IoU / a ball's", iou / ball, "x", "higher"))
        for stage in scored[0].seconds:
            seconds = float(np.mean([one.seconds[stage] for one in scored]))
            metrics.append(metric(f"{recipe}: {stage}", seconds, "s", "lower"))
    return metrics


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "objects": options.objects,
        "metrics": measure(options.objects),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
