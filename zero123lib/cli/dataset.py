"""`zero123 dataset check` and `zero123 dataset pack`: look at training data, and pack it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zero123lib.cli.arguments import whole

if TYPE_CHECKING:
    from zero123lib.datasets.checking import Report

# Of each kind of findings, unless --json asks for all.
SHOWN = 20

EPILOG = """examples:
  zero123 dataset check renders/ --workers 2
  zero123 dataset pack renders/ shards/ --shard-size 256
  zero123 dataset check "https://host/shards/{000000..000011}.tar" --json

A data set is a folder of objects, OBJECT/000.png with OBJECT/000.npy and so on, or tar shards of
such folders; docs/datasets.md describes both."""

CHECK_EPILOG = """Exit status 0 where every view can be used, 1 where training would skip some.
What is suspect but usable (no transparency, cut off by the edge, two views from one camera, a size
that does not go with the field of view) is listed, and leaves the status at 0."""


def add_dataset(verbs: Any) -> None:
    """Add the verb `dataset` and its own verbs to a parser's verbs."""
    parser = verbs.add_parser(
        "dataset",
        description="Training data: views of objects with their cameras.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    inner = parser.add_subparsers(dest="dataset_verb", required=True, metavar="check|pack")
    _add_check(inner)
    _add_pack(inner)


def _add_check(verbs: Any) -> None:
    parser = verbs.add_parser(
        "check",
        description="Look at every view of a data set, and name what is wrong.",
        epilog=CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("data", metavar="DATA", help="folder of objects, or shards")
    parser.add_argument("--json", action="store_true", help="the whole report as JSON on stdout")
    parser.add_argument(
        "--workers", type=whole(1, 256), default=1, metavar="N", help="processes (1)"
    )
    parser.set_defaults(run=run_check)


def _add_pack(verbs: Any) -> None:
    parser = verbs.add_parser(
        "pack",
        description="Write a folder of objects as tar shards, which can be streamed.",
        allow_abbrev=False,
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="folder of objects")
    parser.add_argument("out", type=Path, metavar="OUT", help="new folder for the shards")
    parser.add_argument(
        "--shard-size", type=whole(1, 1_000_000), default=256, metavar="MB",
        help="megabytes that a shard holds at most, unless one object is larger (256)",
    )  # fmt: skip
    parser.set_defaults(run=run_pack)


def run_check(args: argparse.Namespace) -> int:
    """Check a data set, with a bar where stderr is a terminal; the exit status is returned.

    Raises:
        ValueError: there is no data set.
    """
    from tqdm import tqdm

    from zero123lib.datasets.checking import Report, check_dataset, report_json

    report = Report()
    with tqdm(unit="part", disable=None) as bar:
        for total, facts in check_dataset(args.data, args.workers):
            bar.total = total
            bar.update()
            for one in facts:
                report.add(one)
    if args.json:
        print(json.dumps(report_json(report), indent=2, allow_nan=False))
    else:
        print("\n".join(_lines(args.data, report)))
    return 1 if report.bad else 0


def run_pack(args: argparse.Namespace) -> None:
    """Pack a folder, with a bar where stderr is a terminal.

    Raises:
        ValueError: an argument is of no use.
        OSError: a file could not be read or written.
    """
    from tqdm import tqdm

    from zero123lib.datasets.packing import PackProgress, pack

    progress = PackProgress(0)
    with tqdm(unit="object", disable=None) as bar:
        for progress in pack(args.data, args.out, args.shard_size * 1_000_000):
            bar.total = progress.total
            bar.update(progress.done - bar.n)
    objects, shards = _count(progress.packed, "object"), _count(progress.shards, "shard")
    print(f"{args.data}: wrote {objects} to {args.out}, in {shards}")
    for line in _findings("left out", progress.skipped):
        print(line)


def _lines(data: str, report: Report) -> list[str]:
    """The report for people."""
    sizes = ", ".join(f"{count} of {size} px" for size, count in sorted(report.sizes.items()))
    lines = [
        f"{data}: {_count(report.objects, 'object')} with {_count(report.views, 'usable view')}"
        + (f" ({sizes})" if sizes else "")
    ]
    units = {
        "elevation_deg": ("elevation", " degrees"),
        "radius": ("radius", ""),
        "foreground": ("foreground", " of the picture"),
        "reach": ("reach from the middle", f" at a field of view of {_fov_deg():g} degrees"),
    }
    for name, (title, unit) in units.items():
        if name in report.ranges:
            low, high = report.ranges[name]
            lines.append(f"  {title}: {low:.3g} to {high:.3g}{unit}")
    if report.views:
        lines.append(f"  transparency: {report.with_alpha} of {report.views} views")
    lines += _findings("suspect", report.suspect)
    good = "none that training would skip" if report.suspect else "all good"
    return lines + (_findings("bad", report.bad) or [good])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _findings(title: str, found: dict[str, str]) -> list[str]:
    """A headline and the first findings; nothing where there are none."""
    if not found:
        return []
    lines = [f"{title}: {len(found)}"]
    lines += [f"  {name}: {reason}" for name, reason in list(found.items())[:SHOWN]]
    return lines + (["  ..."] if len(found) > SHOWN else [])


def _fov_deg() -> float:
    from zero123lib.views.cameras import FOV_DEG

    return FOV_DEG
