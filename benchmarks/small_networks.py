"""What the two small networks are worth: the cut-out of photographs, and enlarged views.

    python benchmarks/small_networks.py [--photos FOLDER] [--out FILE.json]

Photographs with transparency from FOLDER (the app's examples without one) are put before grounds of
four kinds and cut out again: IoU of the soft alpha with the true one. Held-out scenes are rendered
at 256 and at 1024 px, and the small rendering enlarged four times: PSNR and LPIPS to the large one,
beside bicubic enlargement. And seconds, of the cut-out of 12 megapixels and of enlarging a view.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _measuring import ROUNDS, metric, seconds
from PIL import Image

from zero123lib.evaluation.samples import scene_samples
from zero123lib.lpips import lpips_alex
from zero123lib.metrics import psnr
from zero123lib.upscaling import upscaled
from zero123lib.views.cutout import cut_out

EXAMPLES = Path(__file__).parents[1] / "demo" / "examples"
OBJECTS, VIEWS, LARGE, SMALL = 4, 1, 1024, 256


def grounds(colors: np.ndarray, alpha: np.ndarray) -> dict[str, np.ndarray]:
    """Backgrounds for an object, ``[H, W, 3]``: plain, graded, wood, and its own mean colour.

    Args:
        colors: ``[H, W, 3]`` in [0, 1].
        alpha: ``[H, W]`` in [0, 1].
    """
    rng = np.random.default_rng(0)
    height, width = alpha.shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    ring = 0.5 + 0.5 * np.sin(40 * (y + 0.05 * np.sin(9 * x + 20 * y * x)))
    noise = rng.standard_normal((height, width, 1))
    mean = (colors * alpha[..., None]).sum((0, 1)) / alpha.sum()
    found = {
        "plain": np.broadcast_to((0.75, 0.78, 0.7), colors.shape),
        "gradient": (1 - y[..., None]) * (0.35, 0.5, 0.7) + y[..., None] * (0.9, 0.8, 0.65),
        "wood": (0.55, 0.38, 0.22) + ring[..., None] * (0.2, 0.16, 0.1) + 0.04 * noise,
        "same colour": mean + 0.05 * (y[..., None] - 0.5) + 0.02 * noise,
    }
    return {name: np.clip(ground, 0, 1) for name, ground in found.items()}


def photographs(folder: Path) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """File, ground, photo ``[H, W, 3]`` before it in 8 bits, and true alpha, of all with alpha."""
    for path in sorted(folder.glob("*.png")):
        image = Image.open(path)
        if image.mode != "RGBA":
            continue
        values = np.asarray(image) / 255.0
        colors, alpha = values[..., :3], values[..., 3]
        for name, ground in grounds(colors, alpha).items():
            photo = colors * alpha[..., None] + ground * (1 - alpha[..., None])
            yield path.name, name, np.rint(photo * 255).astype(np.uint8), alpha


def cut_out_iou(photo: np.ndarray, alpha: np.ndarray) -> float:
    """IoU of the soft alpha that is found with the true one."""
    found = np.asarray(cut_out(photo).image.getchannel("A")) / 255.0
    return float(np.minimum(found, alpha).sum() / np.maximum(found, alpha).sum())


def enlarged() -> dict[str, list[float]]:
    """PSNR and LPIPS of enlarged true views to true large ones, by method."""
    lpips, scores = lpips_alex(), {}
    large, small = (scene_samples(OBJECTS, VIEWS, size) for size in (LARGE, SMALL))
    for one, other in zip(large, small, strict=True):
        made = {
            "Real-ESRGAN": upscaled(other.targets, 4),
            "bicubic": F.interpolate(other.targets, (LARGE, LARGE), mode="bicubic").clamp(0, 1),
        }
        for name, views in made.items():
            scores.setdefault(f"{name}: PSNR", []).extend(psnr(views, one.targets).tolist())
            scores.setdefault(f"{name}: LPIPS", []).extend(lpips(views, one.targets).tolist())
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=EXAMPLES)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    lines = []
    found: dict[str, list[float]] = {}
    for _, ground, photo, alpha in photographs(options.photos):
        found.setdefault(ground, []).append(cut_out_iou(photo, alpha))
    for ground, ious in found.items():
        name = f"cut out before {ground}, {len(ious)} photos"
        lines.append(metric(f"{name}: mean IoU", float(np.mean(ious)), "", "higher"))
        lines.append(metric(f"{name}: lowest IoU", min(ious), "", "higher"))
    for name, values in enlarged().items():
        unit, better = ("dB", "higher") if "PSNR" in name else ("", "lower")
        lines.append(metric(f"256 to 1024 px, {name}", float(np.mean(values)), unit, better))
    large = Image.open(EXAMPLES / "car.png").convert("RGB").resize((4000, 3000))
    view = torch.rand(3, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    pairs = {
        "cut-out of 12 megapixels": lambda: cut_out(large),
        "enlarging a view of 256 px": lambda: upscaled(view, 4),
    }
    for name, action in pairs.items():
        action()
        best = min(seconds(action) for _ in range(ROUNDS))
        lines.append(metric(f"{name}, fastest of {ROUNDS}", best, "s", "lower"))
    options.out.write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
