"""The image in the README: held-out objects, what the bundled model makes of them, the truth.

python -m demo.image docs/views.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.images import to_pil
from zero123lib.views.poses import Pose, RelativePose
from zero123lib.views.sheet import contact_sheet

KINDS = ("car", "chair", "mug", "house", "duck", "bear")
AZIMUTHS_DEG = (0, 60, 120, 180, 240, 300)
CONDITION = Pose(elevation_deg=20, azimuth_deg=0, radius=1.7)


def drawn(kind: str, index: int, poses: list[Pose], size: int) -> list[Image.Image]:
    """True views of a held-out object."""
    scene = random_scene(HELD_OUT_SEED + 100 + index, kind)
    rgba = render(scene, poses, size, background="white").rgba
    return [to_pil(view.permute(2, 0, 1)[:3] * 2 - 1) for view in rgba]


def rows(pipe: Zero123Pipeline, kind: str, index: int) -> list[Image.Image]:
    """Two rows: the input and the model's views of it; a blank and the true views."""
    turns = [RelativePose(azimuth_deg=azimuth) for azimuth in AZIMUTHS_DEG]
    truth = drawn(kind, index, [CONDITION.moved(turn) for turn in turns], pipe.image_size)
    made = pipe(
        truth[0],
        turns,
        generator=torch.Generator().manual_seed(0),
        preprocess="none",
        return_dict=False,
    )[0]
    blank = Image.new("RGB", truth[0].size, "white")
    return [truth[0], *made, blank, *truth]


def main() -> None:
    """Write the image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="tiny")
    options = parser.parse_args()
    pipe = Zero123Pipeline.from_pretrained(options.model)
    images = [view for i, kind in enumerate(KINDS) for view in rows(pipe, kind, i)]
    turns = [f"{azimuth}°" for azimuth in AZIMUTHS_DEG]
    made = [f"{name} made" for name in turns]
    true = [f"{name} true" for name in turns]
    labels = ["input", *made, "", *true] * len(KINDS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(images, columns=len(AZIMUTHS_DEG) + 1, labels=labels).save(options.out)


if __name__ == "__main__":
    main()
