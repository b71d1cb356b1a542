"""`zero123 evaluate`: how well a model turns objects whose other sides are known."""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib.cli import files
from zero123lib.cli.arguments import add_reading, number, one_of, whole
from zero123lib.cli.evaluate_shape import add_evaluate_reconstruction
from zero123lib.cli.kinds import add_kinds, kinds_told, kinds_words
from zero123lib.cli.views import DEVICES, SAMPLERS

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.evaluation import Prediction, Setting

EPILOG = """examples:
  zero123 evaluate scenes --model tiny --out report/
  zero123 evaluate scenes --sweep-steps 1 2 4 8 20 --sweep-guidance 1 1.5 3 --out curves/

It asks about held-out procedural objects, always the same ones from the same cameras, of the kinds
that the model was trained on where it says them (--kinds all: of all). It prints PSNR, SSIM,
LPIPS, silhouette IoU and the error of the azimuth from which the made view shows the object, over
the image and inside the input's and the target's silhouettes, beside the scores of three baselines:
the input unchanged, a blank image, the mean of training images.

--out also writes contact_sheet.png, views.csv (every view) and report.json; a sweep writes
curves.csv and curves.png, and keeps every object's scores in cells/, so that the same command goes
on where it was interrupted."""

_CELLS = "cells"


def add_evaluate(verbs: Any) -> None:
    """Add the verb `evaluate` to a parser's verbs."""
    verb = verbs.add_parser(
        "evaluate", description="Measure a model by a fixed protocol.", allow_abbrev=False
    )
    protocols = verb.add_subparsers(
        dest="protocol",
        required=True,
        metavar="PROTOCOL",
        help="scenes: views of held-out drawn objects; reconstruction: their shapes",
    )
    parser = protocols.add_parser(
        "scenes",
        description="Measure a model on held-out procedural objects.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write; without it, only a table"
    )
    parser.add_argument(
        "--objects", type=whole(1, 100_000), default=100, metavar="N", help="how many (100)"
    )
    parser.add_argument(
        "--views", type=whole(1, 1000), default=8, metavar="N", help="target views of each (8)"
    )
    add_kinds(parser)
    _add_model(parser)
    _add_sampling(parser)
    parser.set_defaults(run=run)
    add_evaluate_reconstruction(protocols)


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model", default="tiny", metavar="NAME",
        help="a model's name, a folder, or a .ckpt or .safetensors file (tiny)",
    )  # fmt: skip
    add_reading(group)
    group.add_argument(
        "--device", type=one_of(DEVICES), default="auto", metavar="NAME",
        help=f"{', '.join(DEVICES)} (auto)",
    )  # fmt: skip


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("its views")
    steps = whole(1, 1000)
    guidance = number(float, "a number from 0 to below 10000", lambda value: 0.0 <= value < 1e4)
    group.add_argument("--steps", type=steps, metavar="N", help="denoising (the model's own)")
    group.add_argument(
        "--guidance", type=guidance, metavar="G", help="scale; 1 is none (the model's own)"
    )
    group.add_argument(
        "--sampler", type=one_of(SAMPLERS), default="ddim", metavar="NAME",
        help=f"{', '.join(SAMPLERS)} (ddim)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="of the noise (0)"
    )
    group.add_argument(
        "--sweep-steps", type=steps, nargs="+", metavar="N", help="curves against these"
    )
    group.add_argument(
        "--sweep-guidance", type=guidance, nargs="+", metavar="G", help="curves against these"
    )


def run(args: argparse.Namespace) -> None:
    """Evaluate, with a bar of the objects asked about where stderr is a terminal.

    Raises:
        ValueError: an argument or the checkpoint is of no use; nothing was written.
        OSError: a file could not be written.
    """
    for single, several in (("steps", "sweep_steps"), ("guidance", "sweep_guidance")):
        if getattr(args, single) is not None and getattr(args, several) is not None:
            raise ValueError(f"--sweep-{single}: expected no --{single} beside it, got one")
    if args.out is not None:
        files.check_folder(args.out)
    import logging

    from zero123lib.diffusion.card import about_model

    kinds = kinds_told(args)
    pipe = _load(args)
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    settings = _settings(pipe, args)
    print(f"model {about_model(pipe)}", flush=True)
    if args.sweep_steps or args.sweep_guidance:
        _sweep(pipe, settings, kinds, args)
    else:
        _report(pipe, settings[0], kinds, args)


def _load(args: argparse.Namespace) -> Zero123Pipeline:
    from zero123lib.diffusion.apps import load_pipeline

    try:
        pipe = load_pipeline(args.model, args.device, args.encoding, args.original_config)
    except ValueError as error:
        argument, _, complaint = str(error).partition(": ")
        raise ValueError(f"--{argument.replace('_', '-')}: {complaint}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _settings(pipe: Zero123Pipeline, args: argparse.Namespace) -> list[Setting]:
    """One, or the grid of a sweep; what is not given is as the model recommends."""
    from zero123lib.diffusion.samplers import step_count
    from zero123lib.diffusion.schedule import Schedule
    from zero123lib.evaluation import Setting

    schedule = Schedule.from_scheduler(pipe.scheduler)
    all_steps, guidances = args.sweep_steps or [args.steps], args.sweep_guidance or [args.guidance]
    settings = [
        Setting.of(pipe, steps, guidance, args.sampler, args.seed)
        for steps, guidance in itertools.product(all_steps, guidances)
    ]
    for setting in settings:
        try:
            step_count(setting.sampler, schedule, setting.steps)
        except ValueError as error:
            argument = "--sweep-steps" if args.sweep_steps else "--steps"
            raise ValueError(f"{argument}: {str(error).partition(': ')[2]}") from error
    return list(dict.fromkeys(settings))


def _report(
    pipe: Zero123Pipeline, setting: Setting, kinds: list[str] | None, args: argparse.Namespace
) -> None:
    from tqdm import tqdm

    from zero123lib.evaluation import predict_scenes, report_predictions
    from zero123lib.evaluation.sheets import SHEET_OBJECTS, evaluation_sheet

    shown: list[Prediction] = []
    lines: list[list[Any]] = []

    def noted(answers: Iterable[Prediction]) -> Iterator[Prediction]:
        for answer in tqdm(answers, total=args.objects, unit="object", disable=None):
            if len(shown) < SHEET_OBJECTS:
                shown.append(answer)
            lines.extend(_view_lines(answer))
            yield answer

    answers = predict_scenes(pipe, setting, args.objects, args.views, kinds)
    report = report_predictions(pipe, setting, noted(answers))
    print(
        f"{report.objects} objects, {report.views} views each; {setting.steps} steps of "
        f"{setting.sampler}, guidance {setting.guidance:g}, seed {setting.seed}; "
        f"{report.seconds:.0f} s, the model {report.model_seconds:.0f} s of them\n{report.table()}"
    )
    if args.out is not None:
        content = {
            "contact_sheet.png": files.png(evaluation_sheet(shown)),
            "views.csv": _csv([_VIEW_COLUMNS, *lines]),
            "report.json": files.json_text(report.to_dict(_command(setting, report.kinds, args))),
        }
        _write(args.out, content)


_VIEW_COLUMNS = [
    "object", "seed", "kind", "view", "elevation_deg", "azimuth_deg", "radius", "answer",
    "tells_azimuth", "psnr_db", "ssim", "lpips", "silhouette_iou",
    "azimuth_error_deg", "inside_psnr_db", "inside_ssim", "inside_lpips", "inside_silhouette_iou",
    "inside_azimuth_error_deg",
]  # fmt: skip


def _view_lines(answer: Prediction) -> Iterator[list[Any]]:
    """A line per view and answer; the camera is relative to the input's."""
    sample = answer.sample
    for view, target in enumerate(sample.target_poses):
        pose = target.relative_to(sample.condition_pose)
        camera = [round(v, 4) for v in (pose.elevation_deg, pose.azimuth_deg, pose.radius)]
        for name, rows in answer.scores.items():
            row = rows[view]
            scores = [*row.whole.to_dict().values(), *row.inside.to_dict().values()]
            yield [
                *(sample.index, sample.seed, sample.name, view),
                *(*camera, name, int(row.tells_azimuth), *scores),
            ]


def _sweep(
    pipe: Zero123Pipeline,
    settings: list[Setting],
    kinds: list[str] | None,
    args: argparse.Namespace,
) -> None:
    from tqdm import tqdm

    from zero123lib.evaluation import evaluated_kinds
    from zero123lib.evaluation.sheets import curves_image
    from zero123lib.evaluation.sweep import curves, sweep_scenes

    cache = None if args.out is None else args.out / _CELLS
    steps = sweep_scenes(pipe, settings, args.objects, args.views, cache, kinds)
    found = curves(tqdm(steps, total=args.objects, unit="object", disable=None))
    print(
        f"{args.objects} objects, {args.views} views each; {args.sampler}, seed {args.seed}\n"
        f"{found.table()}\nkinds of objects: {', '.join(evaluated_kinds(pipe, kinds))}"
    )
    if args.out is not None:
        content = {
            "curves.png": files.png(curves_image(found)),
            "curves.csv": found.csv().encode(),
        }
        _write(args.out, content)


def _command(setting: Setting, kinds: Sequence[str], args: argparse.Namespace) -> str:
    """The line that gives the same report, whatever the model comes to recommend."""
    words = ["zero123", "evaluate", "scenes", "--model", args.model]
    if args.encoding != "auto":
        words += ["--encoding", args.encoding]
    if args.original_config is not None:
        words += ["--original-config", str(args.original_config)]
    words += ["--objects", str(args.objects), "--views", str(args.views)]
    guidance = str(setting.guidance).removesuffix(".0")
    words += ["--steps", str(setting.steps), "--guidance", guidance]
    words += ["--sampler", setting.sampler, "--seed", str(setting.seed)]
    return shlex.join([*words, *kinds_words(kinds)])


def _csv(lines: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _write(out: Path, content: dict[str, bytes]) -> None:
    others = [name for name in files.write_folder(out, content) if name != _CELLS]
    print(f"wrote {out}/: {', '.join(content)}")
    if others:
        print(f"{out}/ also holds {', '.join(others)}, from before")
