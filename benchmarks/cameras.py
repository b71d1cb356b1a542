"""How well cameras are found, and when to believe it: on held-out procedural objects.

    python benchmarks/cameras.py [--objects N] [--model NAME] [--kinds chair ...]
        [--preprocess none] [--out FILE]
    python benchmarks/cameras.py --calibrate [--objects N]

Objects are of the model's own kinds, or of --kinds, elevations -10 to 60 degrees, radii 1.5 to 2.2,
any azimuth. Images go the way that users' images go, cut out and framed; with --preprocess none
they stay as rendered, as in published protocols: where the object is in the image then tells of
the camera, and confidences, which framed images taught, tell nothing. Beside the elevations' error
stands that of the best constant, the median of the true ones, which no user knows.

--calibrate fits what `zero123lib/inversion/calibration.json` holds of a model on other objects than
those that are reported on, every third of them of kinds that the model does not know, so that it
learns what wrong answers look like; and pairs of photos of different objects. It is to be run after
new weights, whose confidences are unknown until then.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from _measuring import metric
from torch import Tensor

from zero123lib import Pose, Zero123Pipeline
from zero123lib._errors import ArgumentError
from zero123lib._files import write_json
from zero123lib.inversion.confidence import (
    CALIBRATION,
    RIGHT_DEG,
    TRUSTED,
    calibration,
    confidence,
    fingerprint,
    fit,
)
from zero123lib.inversion.elevation import estimate_elevation
from zero123lib.inversion.landscape import turn_deg
from zero123lib.inversion.poses import estimate_poses
from zero123lib.scenes import HELD_OUT_SEED, KINDS, random_scene, render
from zero123lib.views.images import Preprocess

ELEVATIONS_DEG, RADII = (-10.0, 60.0), (1.5, 2.2)
PHOTO_PX = 192
# Held-out seeds that the two jobs draw their objects from.
REPORTED, CALIBRATED = HELD_OUT_SEED + 20_000, HELD_OUT_SEED + 30_000


@dataclass(frozen=True, eq=False)
class Shown:
    """One object's photos, RGBA ``[S, S, 4]`` in 8 bits, and their cameras."""

    photos: list[np.ndarray]
    cameras: list[Pose]


def shown(seed: int, kinds: Sequence[str], views: int) -> Shown:
    """Render an object from random cameras."""
    random = torch.Generator().manual_seed(seed)
    cameras = []
    for u, v, w in torch.rand(views, 3, generator=random).tolist():
        elevation_deg = ELEVATIONS_DEG[0] + (ELEVATIONS_DEG[1] - ELEVATIONS_DEG[0]) * u
        cameras.append(Pose(elevation_deg, 360 * v - 180, RADII[0] + (RADII[1] - RADII[0]) * w))
    rgba = render(random_scene(seed, kinds=kinds), cameras, PHOTO_PX).rgba
    return Shown([(one.numpy() * 255).round().astype(np.uint8) for one in rgba], cameras)


@dataclass
class Answers:
    """What was answered to many questions of one kind, and what is true."""

    signs: list[Sequence[float]]
    found: list[float]
    true: list[float]
    errors: list[float]

    @staticmethod
    def none() -> Answers:
        """Make it with no answer yet."""
        return Answers([], [], [], [])


def said(place: int, total: int, what: str, answers: Answers) -> None:
    """Show how far it is, and the latest answer."""
    signs = " ".join(f"{sign:.2f}" for sign in answers.signs[-1])
    print(f"{what} {place + 1}/{total}: {answers.errors[-1]:.1f} degrees off, {signs}", flush=True)


def elevations(
    pipe: Zero123Pipeline, objects: Sequence[Shown], preprocess: Preprocess = "auto"
) -> Answers:
    """Ask for the elevation of every object's first photo."""
    answers = Answers.none()
    for place, one in enumerate(objects):
        found = estimate_elevation(pipe, one.photos[0], preprocess=preprocess)
        true = one.cameras[0].elevation_deg
        answers.signs.append(found.signs)
        answers.found.append(found.raw_deg)
        answers.true.append(true)
        answers.errors.append(abs(found.elevation_deg - true))
        said(place, len(objects), "elevations", answers)
    return answers


def turns(
    pipe: Zero123Pipeline,
    objects: Sequence[Shown],
    preprocess: Preprocess = "auto",
    unlike: bool = False,
) -> Answers:
    """Ask for the pose of every object's second photo; ``unlike`` takes another object's.

    Of objects that look the same from both sides the photos are refused: no answer, none counted.
    """
    answers = Answers.none()
    for place, one in enumerate(objects):
        other = objects[(place + 1) % len(objects)] if unlike else one
        # Of nothing in common there is nothing to refine.
        more: dict[str, Any] = {"preprocess": preprocess, **({"steps": 0} if unlike else {})}
        try:
            found = estimate_poses(pipe, [one.photos[0], other.photos[1]], **more)
        except ArgumentError as refused:
            print(f"poses {place + 1}/{len(objects)}: {refused}", flush=True)
            continue
        true = other.cameras[1].relative_to(one.cameras[0])
        answers.signs.append(found.signs[0])
        both = [
            torch.tensor([p.elevation_deg, p.azimuth_deg, p.radius]) for p in (found.poses[1], true)
        ]
        error = float(turn_deg(both[0], both[1], one.cameras[0].elevation_deg))
        answers.errors.append(180.0 if unlike else error)
        said(place, len(objects), "different objects" if unlike else "poses", answers)
    return answers


def calibrated(pipe: Zero123Pipeline, count: int) -> dict[str, Any]:
    """Fit the line of elevations and the two confidences."""
    own = kinds_of(pipe)
    others = sorted(set(KINDS) - set(own)) or own
    objects = [shown(CALIBRATED + i, others if i % 3 == 2 else own, 2) for i in range(count)]
    answers = elevations(pipe, objects)
    true, raw = torch.tensor(answers.true), torch.tensor(answers.found)
    known = torch.tensor([i % 3 != 2 for i in range(count)])
    line = fitted_line(raw[known], true[known])
    right = (raw * line[0] + line[1] - true).abs() < RIGHT_DEG["elevation"]
    found: dict[str, Any] = {
        "elevation": {"line": line, **fit(torch.tensor(answers.signs), right), "objects": count}
    }
    same, unlike = turns(pipe, objects), turns(pipe, objects[: count // 2], unlike=True)
    signs = torch.tensor([*same.signs, *unlike.signs])
    right = torch.tensor([*same.errors, *unlike.errors]) < RIGHT_DEG["pose"]
    found["pose"] = {**fit(signs, right), "objects": count}
    found["weights"] = fingerprint(pipe)
    return found


def fitted_line(raw: Tensor, true: Tensor, rounds: int = 20) -> list[float]:
    """Fit true = slope * raw + offset with the least absolute error, by reweighted squares."""
    inputs = torch.stack([raw, torch.ones_like(raw)], 1).double()
    found, weight = torch.zeros(2).double(), torch.ones(len(raw)).double()
    for _ in range(rounds):
        scaled = inputs * weight[:, None]
        found = torch.linalg.solve(scaled.T @ inputs, scaled.T @ true.double())
        weight = 1 / (inputs @ found - true.double()).abs().clamp_min(1.0)
    return found.tolist()


def kinds_of(pipe: Zero123Pipeline) -> list[str]:
    """Return the kinds of objects that the model was trained on."""
    return sorted(pipe.trained_on.get("scene_kinds") or KINDS)


def reported(
    pipe: Zero123Pipeline, kinds: Sequence[str], count: int, preprocess: Preprocess
) -> list[dict[str, Any]]:
    """Measure elevations and poses on objects that nothing was fitted on."""
    objects = [shown(REPORTED + i, kinds, 2) for i in range(count)]
    metrics = []

    def tell(name: str, value: float, unit: str, better: str) -> None:
        metrics.append(metric(name, value, unit, better))

    start = time.process_time()
    answers = elevations(pipe, objects, preprocess)
    spent = (time.process_time() - start) / count
    errors, true = torch.tensor(answers.errors), torch.tensor(answers.true)
    tell("elevation, median error", float(errors.median()), "degrees", "lower")
    constant = float((true - true.median()).abs().median())
    tell("elevation, median error of the best constant", constant, "degrees", "lower")
    tell("elevation, within 15 degrees", float((errors < 15).float().mean()), "share", "higher")
    tell("elevation, processor time", spent, "s", "lower")
    if preprocess == "auto":
        trust(pipe, "elevation", answers, tell)
    start = time.process_time()
    same = turns(pipe, objects, preprocess)
    spent = (time.process_time() - start) / count
    errors = torch.tensor(same.errors)
    tell("pose of two photos, median angle", float(errors.median()), "degrees", "lower")
    tell("pose, within 20 degrees", float((errors < 20).float().mean()), "share", "higher")
    tell("pose, processor time", spent, "s", "lower")
    if preprocess != "auto":
        return metrics
    trust(pipe, "pose", same, tell)
    unlike = turns(pipe, objects, unlike=True)
    sure = [confidence(calibration(pipe), "pose", one) or 0.0 for one in unlike.signs]
    share = float((torch.tensor(sure) >= TRUSTED).float().mean())
    tell("pose, different objects trusted", share, "share", "lower")
    return metrics


def trust(pipe: Zero123Pipeline, kind: str, answers: Answers, tell: Any) -> None:
    """Measure how often trusted answers are right, and how many there are."""
    known = calibration(pipe)
    sure = [confidence(known, kind, one) for one in answers.signs]
    if None in sure:
        return
    trusted = torch.tensor(sure) >= TRUSTED
    right = torch.tensor(answers.errors) < RIGHT_DEG[kind]
    tell(f"{kind}, trusted", float(trusted.float().mean()), "share", "higher")
    if trusted.any():
        tell(
            f"{kind}, right of the trusted", float(right[trusted].float().mean()), "share", "higher"
        )
    if not trusted.all():
        rest = float(right[~trusted].float().mean())
        tell(f"{kind}, right of the others", rest, "share", "lower")


def main() -> None:
    """Calibrate, or print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--objects", type=int, help="100, or 45 with --calibrate")
    parser.add_argument("--kinds", nargs="+", choices=KINDS)
    parser.add_argument("--preprocess", choices=get_args(Preprocess), default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    if options.calibrate and (options.kinds or options.preprocess != "auto"):
        parser.error("--calibrate: expected neither --kinds nor --preprocess beside it")
    torch.set_num_threads(options.threads)
    pipe = Zero123Pipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    if options.objects is None:
        options.objects = 45 if options.calibrate else 100
    if options.calibrate:
        known = json.loads(CALIBRATION.read_text())
        known[pipe.model_name] = calibrated(pipe, options.objects)
        write_json(CALIBRATION, known)
        return
    report = {
        "model": pipe.model_name,
        "objects": options.objects,
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "kinds": options.kinds or kinds_of(pipe),
        "preprocess": options.preprocess,
        "metrics": reported(
            pipe, options.kinds or kinds_of(pipe), options.objects, options.preprocess
        ),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
