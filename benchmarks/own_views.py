"""How well a model draws images from their own camera, and what its notice is worth.

    python benchmarks/own_views.py [photo.png ...] [--model tiny] [--sheet sheet.png]
    python benchmarks/own_views.py --objects 100 [--data renders/ --held-out 0.05]

Of images, the app's examples unless named: LPIPS to the prepared image and the IoU of the
silhouettes. The sheet has the input, its own view, and those from 30 degrees to either side and 90
to one.

Of held-out scenes of all kinds, or of a data set's objects, the rates of the notice. Bad are those
whose views from other cameras score worse (LPIPS) than nine tenths of the scenes' do: a false alarm
is a notice about another one, a miss a bad one without notice. And what it costs that users'
pictures are framed: the views of an input as rendered, and of the input moved to the middle.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from zero123lib import RelativePose, Zero123Pipeline
from zero123lib.app.examples import example_files
from zero123lib.datasets.augmenting import centered
from zero123lib.diffusion.domain import DomainStatistics, own_view_distance
from zero123lib.evaluation import Sample, Setting, scene_samples, stored_samples
from zero123lib.evaluation.predictions import predict_views
from zero123lib.lpips import lpips_alex
from zero123lib.metrics import silhouette, silhouette_iou
from zero123lib.metrics.images import psnr
from zero123lib.scenes import KINDS
from zero123lib.views.images import contact_sheet, to_pils

TURNS_DEG = (0, -30, 30, 90)
VIEWS = 4
# That the bundled model was trained on most.
EIGHT = ("chair", "table", "lamp", "mug", "car", "house", "duck", "bear")
GOOD_SHARE = 0.9


def photos(pipe: Zero123Pipeline, files: Iterable[Path], sheet: Path | None) -> None:
    """Print a row per image and their means; write the sheet."""
    rows, shown = [], []
    for file in files:
        prepared = pipe.prepare(file)
        views = pipe.views(
            pipe.encode(prepared),
            [RelativePose(azimuth_deg=turn) for turn in TURNS_DEG],
            generator=torch.Generator().manual_seed(0),
        ).cpu()
        image = prepared.tensor[None]
        masks = [silhouette((one + 1) / 2) for one in (views[:1], image)]
        rows.append((float(own_view_distance(views[:1], image)), float(silhouette_iou(*masks))))
        shown.append(torch.cat([image, views]))
        print(f"{file.name:28s} LPIPS {rows[-1][0]:.3f}  IoU {rows[-1][1]:.3f}", flush=True)
    means = torch.tensor(rows).mean(0).tolist()
    print(f"{'mean of ' + str(len(rows)):28s} LPIPS {means[0]:.3f}  IoU {means[1]:.3f}")
    if sheet is not None:
        labels = ["input", *(f"{turn}°" for turn in TURNS_DEG)] * len(rows)
        contact_sheet(to_pils(torch.cat(shown)), columns=5, labels=labels).save(sheet)


def distances(pipe: Zero123Pipeline, samples: Iterable[Sample]) -> torch.Tensor:
    """``[N, 2]``: of the own view, which the notice goes by, and the mean of other views."""
    setting, rows = Setting.of(pipe), []
    for sample in samples:
        own = pipe.own_view_distance(pipe.prepare(sample.condition))
        views = predict_views(pipe, setting, sample)
        rows.append((float(own), float(lpips_alex()(views, sample.targets).mean())))
    return torch.tensor(rows)


def rates(name: str, found: torch.Tensor, near: float, good: float) -> None:
    """Print how often the notice is wrong."""
    noticed, bad = found[:, 0] > near, found[:, 1] > good
    alarms, missed = int((noticed & ~bad).sum()), int((~noticed & bad).sum())
    print(
        f"{name}: of {int((~bad).sum())} good ones {alarms} get a notice, "
        f"of {int(bad.sum())} bad ones {missed} get none"
    )


def framing(name: str, pipe: Zero123Pipeline, samples: Iterable[Sample]) -> None:
    """Print how views score, of inputs as they are and moved to the middle."""
    setting, rows = Setting.of(pipe), []
    for sample in samples:
        moved = replace(sample, condition=centered(sample.condition[None])[0])
        for one in (sample, moved):
            views = predict_views(pipe, setting, one)
            score = (lpips_alex()(views, sample.targets), psnr(views, sample.targets))
            rows.append([float(each.mean()) for each in score])
    plain, middle = torch.tensor(rows).unflatten(0, (-1, 2)).mean(0).tolist()
    told = "LPIPS {:.3f}, PSNR {:.2f} dB"
    print(f"{name} as rendered: {told.format(*plain)}; in the middle: {told.format(*middle)}")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", nargs="*", type=Path)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--objects", type=int, default=0, help="how many, for the notice's rates")
    parser.add_argument("--data", type=Path, help="folder of objects, beside the scenes")
    parser.add_argument("--held-out", type=float, default=0.0, help="as in training")
    options = parser.parse_args()
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    pipe = Zero123Pipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    photos(pipe, options.photos or map(Path, example_files()), options.sheet)
    if options.objects:
        near = DomainStatistics.from_config(pipe.trained_on["domain_statistics"]).own_view_lpips
        size = pipe.image_size
        scenes = distances(pipe, scene_samples(options.objects, VIEWS, size, list(KINDS)))
        good = float(scenes[:, 1].quantile(GOOD_SHARE))
        print(f"notice above {near:.3f} at the own camera; bad above {good:.3f} elsewhere")
        rates("scenes", scenes, near, good)
        for name, kinds in (("all kinds", KINDS), ("eight kinds", EIGHT)):
            framing(name, pipe, scene_samples(options.objects, VIEWS, size, list(kinds)))
        if options.data is not None:
            stored = stored_samples(options.data, options.objects, VIEWS, size, options.held_out)
            stored = list(stored)
            rates("objects", distances(pipe, stored), near, good)
            framing("objects", pipe, stored)


if __name__ == "__main__":
    main()
