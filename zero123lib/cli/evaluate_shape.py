"""`zero123 evaluate reconstruction`: how well a recipe finds shapes that are known."""

from __future__ import annotations

import argparse
import csv
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib.cli import files
from zero123lib.cli.arguments import add_reading, one_of, whole
from zero123lib.cli.kinds import add_kinds, kinds_told, kinds_words
from zero123lib.cli.views import DEVICES

if TYPE_CHECKING:
    from zero123lib.evaluation.reconstruction import ShapeReport

EPILOG = """example:
  zero123 evaluate reconstruction --recipe tiny-views --objects 10 --out report/

It reconstructs held-out procedural objects, always the same ones, of the kinds that the model was
trained on where it says them (--kinds all: of all), each from one picture whose camera is told. It
prints volume IoU and Chamfer distance (hundredths of the longest side) to the true shape, beside
the IoU of two answers that need no model: the visual hull of the input's silhouette within the unit
box, and the ball whose silhouette has the input's area.

--out also writes report.json, objects.csv and sheet.png: input, truth and result from the side."""


def add_evaluate_reconstruction(protocols: Any) -> None:
    """Add the protocol `reconstruction` to those of `zero123 evaluate`."""
    parser = protocols.add_parser(
        "reconstruction",
        description="Measure a recipe on held-out procedural objects.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--recipe", default="tiny-views", metavar="CONFIG", help="a name or a file (tiny-views)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write; without it, only a table"
    )
    parser.add_argument(
        "--objects", type=whole(1, 10_000), default=10, metavar="N", help="how many (10)"
    )
    parser.add_argument(
        "--first", type=whole(0, 10_000), default=0, metavar="N",
        help="number of the first one: choose settings on others than those that you report (0)",
    )  # fmt: skip
    add_kinds(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="another value for a key of the recipe; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="of all draws (0)"
    )
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--model", default="tiny", metavar="NAME", help="name, folder or file (tiny)"
    )
    add_reading(group)
    group.add_argument(
        "--device", type=one_of(DEVICES), default="auto", metavar="NAME",
        help=f"{', '.join(DEVICES)} (auto)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Evaluate, with a bar of the objects where stderr is a terminal.

    Raises:
        ValueError: an argument or the checkpoint is of no use; nothing was written.
        OSError: a file could not be written.
    """
    if args.out is not None:
        files.check_folder(args.out)
    from tqdm import tqdm

    from zero123lib.diffusion.apps import load_pipeline
    from zero123lib.diffusion.card import about_model
    from zero123lib.evaluation import evaluated_kinds
    from zero123lib.evaluation.reconstruction import Scored, ShapeReport, score_recipe

    told = kinds_told(args)
    pipe = load_pipeline(args.model, args.device, args.encoding, args.original_config)
    kinds = evaluated_kinds(pipe, told)
    print(f"model {about_model(pipe)}; recipe {args.recipe}", flush=True)
    scored = []
    steps = score_recipe(
        pipe,
        args.recipe,
        args.objects,
        first=args.first,
        overrides=args.set,
        seed=args.seed,
        kinds=kinds,
    )
    with tqdm(total=args.objects, unit="object", disable=None) as bar:
        for step in steps:
            if isinstance(step, Scored):
                scored.append(step)
                bar.update()
            else:
                bar.set_postfix_str(f"{step.stage} {step.step}/{step.total}")
    report = ShapeReport(pipe.model_name, args.recipe, args.seed, kinds, scored)
    print(report.table())
    if args.out is not None:
        command = _command(args, kinds)
        content = {
            "sheet.png": files.png(_sheet(scored)),
            "objects.csv": _csv(report),
            "report.json": files.json_text(report.to_dict(command)),
        }
        files.write_folder(args.out, content)
        print(f"wrote {args.out}/: {', '.join(content)}")


def _sheet(scored: list) -> Any:
    from zero123lib.views.images import contact_sheet, to_pils

    pictures, labels = [], []
    for one in scored:
        for name in ("input", "truth", "found"):
            pictures += to_pils(getattr(one, name).permute(2, 0, 1)[None] * 2 - 1)
        labels += [one.kind, "truth", f"IoU {one.iou:.2f}"]
    return contact_sheet(pictures, labels=labels, columns=6)


def _csv(report: ShapeReport) -> bytes:
    text = io.StringIO()
    rows = report.to_dict()["objects"]
    lines = [{**row, "seconds": sum(row["seconds"].values())} for row in rows]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue().encode()


def _command(args: argparse.Namespace, kinds: Sequence[str]) -> str:
    words = ["zero123", "evaluate", "reconstruction", "--model", args.model]
    words += ["--recipe", args.recipe, "--objects", str(args.objects), "--first", str(args.first)]
    words += ["--seed", str(args.seed), *kinds_words(kinds)]
    return shlex.join([*words, *(word for one in args.set for word in ("--set", one))])
