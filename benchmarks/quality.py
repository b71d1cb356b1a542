"""What tiers of speed and a student of few steps give up, on held-out objects; no times.

    python benchmarks/quality.py                                 # the bundled model's tiers
    python benchmarks/quality.py --guidance 2 --student runs/student/model

The bundled model is asked for 50 steps with guidance, as published models are, and each tier for
its share of them, from the same noise. A student is what `zero123 train distil` made of the model;
it takes its own steps, and beside it stand as many of its teacher's. Each way's views are compared
with the exact ones and, of a model that was trained on scenes, with the true ones.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, get_args

import torch
from _quality import GUIDANCE, PUBLISHED_STEPS, Views, compared, own_views, show, tier_views

from zero123lib._choices import Speed
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.samples import scene_samples


def loaded(model: str) -> Zero123Pipeline:
    """Load a pipeline that shows no bars."""
    pipe = Zero123Pipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the whole report."""
    pipe = loaded(options.model)
    kinds = pipe.trained_on.get("scene_kinds")
    ways: dict[str, Views] = {
        speed: tier_views(pipe, speed, options.steps, options.guidance) for speed in options.speeds
    }
    if options.student:
        student = loaded(options.student)
        count, _ = student.recommended()
        ways[f"{count} exact"] = tier_views(pipe, "exact", count, options.guidance)
        ways[f"{count} unguided"] = tier_views(pipe, "exact", count, 1.0)
        ways["student"] = own_views(student)
    samples = list(scene_samples(options.objects, options.views, pipe.image_size, kinds=kinds))
    asked = ("model", "student", "steps", "guidance", "objects", "views")
    return {
        "asked": {name: getattr(options, name) for name in asked},
        "quality": compared(ways, samples, "scene_kinds" in pipe.trained_on),  # None is all
    }


def main() -> None:
    """Print the table and write the report as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--student", metavar="DIR")
    parser.add_argument("--speeds", nargs="+", choices=get_args(Speed), default=get_args(Speed))
    parser.add_argument("--steps", type=int, default=PUBLISHED_STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--views", type=int, default=4, help="of each object")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    for name in ("steps", "objects", "views", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name}: expected at least 1, got {getattr(options, name)}")
    if "exact" not in options.speeds:
        parser.error("--speeds: expected exact among them, to compare with")
    torch.set_num_threads(options.threads)
    report = measure(options)
    show(report["quality"])
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
