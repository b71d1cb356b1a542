"""`zero123 evaluate` for anyone's files: views beside their truth, and two reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder, json_bytes
from zero123lib.cli.reporting import Features, write_report
from zero123lib.cli.scoring import Making, Predictions, Scoring, Truth, Vgg, score_views


def folder(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    lpips: Literal["alex", "vgg"] = "alex",
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
    features: Features = Features(),
) -> None:
    """Measure anyone's views against anyone's truth, file by file of the same name.

    Both are folders of objects, each a folder of images; or the images of one
    object. Images with alpha go on white, nothing is resized. Where some files
    have numbers for names, the others are no views. It prints PSNR, SSIM (as
    torchmetrics has it), LPIPS and silhouette IoU, with 95 % bootstrap
    intervals over objects, beside baselines: the first true view for all
    cameras, a white image, and, where cameras 000.npy, ... lie beside all true
    views, the nearest other one. --clip adds CLIP similarity and FID on CLIP,
    --inception FID, where their weights are at hand, under any protocol on
    views.

    --out also writes report.html (worst objects first, with error maps; it
    opens offline), views.csv (every view) and report.json, and keeps every
    object's scores in cells/, so that the same command goes on where it was
    interrupted.

    --model fills PREDICTIONS first: the model is given each object's first true
    view and asked for all of them, at the protocol's cameras, or at those that
    lie beside the true views (000.npy, ..., as `zero123 render` writes them).

        zero123 evaluate folder made/ true/ --out report/
        zero123 evaluate folder made/ rendered/ --model tiny

    Args:
        predictions: the views that are to be measured.
        truth: the true views.
        lpips: the network of LPIPS.
        lpips_vgg: file of VGG16's weights, for --lpips vgg.
    """
    from zero123lib.evaluation.protocols import FOLDER

    if lpips == "vgg" and lpips_vgg is None:
        raise ArgumentError("lpips_vgg", "the file of VGG16's weights, for --lpips vgg", "none")
    if lpips != "vgg" and lpips_vgg is not None:
        raise ArgumentError("lpips_vgg", "--lpips vgg beside it", f"--lpips {lpips}")
    options = ["--lpips", lpips]
    chosen = replace(FOLDER, lpips=lpips)
    score_views(chosen, predictions, truth, scoring, features, making, lpips_vgg, options)


def compare(
    a: Annotated[Path, Parameter(name="A")],
    b: Annotated[Path, Parameter(name="B")],
    /,
    *,
    out: Annotated[Path | None, Parameter(metavar="DIR")] = None,
) -> None:
    """Compare two reports of one protocol, object by object.

    It prints both means over the objects that both have, the mean of their
    differences with its 95 % interval, and on how many objects B is better.

        zero123 evaluate compare before/ after/

    Args:
        a: a report's folder, or its report.json.
        b: another one.
        out: folder to write comparison.json into.
    """
    if out is not None:
        check_folder(out)
    from zero123lib.evaluation.comparing import compare_reports

    found = compare_reports(a, b)
    print(f"{found.protocol}: a is {a}, b is {b}\n{found.table()}")
    write_report(out, {"comparison.json": json_bytes(found.to_dict())})
