"""How long novel views take, and what the library's short cuts are worth.

    python benchmarks/novel_views.py [--photos FOLDER] [--threads N] [--out FILE]

Ratios compare two ways of doing the same within one run; seconds are this machine's and stand
beside them for orientation. The two sides of a ratio run in turn, and each counts its fastest
round, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch
from _measuring import metric, ratio, seconds

from zero123lib import RelativePose, Zero123Pipeline
from zero123lib.diffusion.model import disable_one_token, enable_one_token
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.images import prepare
from zero123lib.views.poses import Pose, orbit

ROOT = Path(__file__).resolve().parents[1]
PHOTOS, EXAMPLES = ROOT.parent / "shared" / "data" / "images", ROOT / "demo" / "examples"


def measure(photos: list[Path]) -> list[dict]:
    """All metrics."""
    start = time.perf_counter()
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    metrics = [metric("load", time.perf_counter() - start, "s", "lower")]
    pose = [RelativePose(elevation_deg=20, azimuth_deg=45)]
    full = {"num_inference_steps": 50, "guidance_scale": 3.0}  # as the published models have it
    first = [seconds(lambda photo=photo: pipe(photo, pose, **full)) for photo in photos]
    count = f"{len(photos)} images"
    metrics.append(metric(f"first view, 50 steps, first of {count}", first[0], "s", "lower"))
    metrics.append(metric(f"first view, 50 steps, slowest of {count}", max(first), "s", "lower"))
    rgba = render(random_scene(HELD_OUT_SEED), [Pose()], pipe.image_size, background="white").rgba
    image = prepare(rgba[0, ..., :3].numpy(), pipe.image_size, "none").tensor
    around = orbit(8)

    def views(poses: list[RelativePose], **options) -> None:
        pipe(image, poses, **{"num_inference_steps": 10, "guidance_scale": 3.0, **options})

    singles, batch = ratio(lambda: [views([p]) for p in around], lambda: views(around))
    metrics.append(metric("8 views, 10 steps, one batch", batch, "s", "lower"))
    metrics.append(metric("8 singles / one batch of 8", singles / batch, "x", "higher"))

    def stock() -> None:
        disable_one_token(pipe.unet)
        views(around)
        enable_one_token(pipe.unet)

    slow, fast = ratio(stock, lambda: views(around))
    metrics.append(metric("stock cross-attention / one token", slow / fast, "x", "higher"))
    slow, fast = ratio(lambda: views(around), lambda: views(around, guidance_scale=1.0))
    metrics.append(metric("guidance 3 / guidance 1", slow / fast, "x", "higher"))
    return metrics


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=PHOTOS if PHOTOS.is_dir() else EXAMPLES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    photos = sorted(options.photos.glob("*.png"))
    if not photos:
        parser.error(f"--photos: expected a folder with PNG files, got {options.photos}")
    report = {
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "metrics": measure(photos),
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
