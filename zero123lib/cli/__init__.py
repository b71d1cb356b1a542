"""The command line: one verb per kind of work, `zero123 VERB --help` lists its options.

Parsing imports nothing heavy, so that `--help` answers at once; torch loads when there is work.
Whatever is wrong with the input is one line on stderr, `zero123 VERB: error: WHAT: expected ...,
got ...`, exit status 2, and nothing is written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

EPILOG = """verbs:
  views    the object from cameras that you name
             zero123 views photo.png --azimuth 0 45 90 --elevation 20 --out views/
  orbit    the object from cameras evenly around it, and a GIF of the turn
             zero123 orbit photo.png --count 16 --elevation 10 --out orbit/
  reconstruct  from one picture to a radiance field and a mesh
             zero123 reconstruct photo.png --out run/
  convert  a checkpoint in another layout
             zero123 convert zero123-xl.ckpt zero123-xl/ --dtype float16
  dataset  training data: look for what is wrong with it, or pack it into shards
             zero123 dataset check renders/ --workers 2
  render   training data from mesh files
             zero123 render meshes/ renders/ --views 12 --size 256
  mesh     mesh files: inspect, clean, bake, convert, render
             zero123 mesh clean scan.ply chair.glb --faces 20000
  evaluate how well a model turns objects whose other sides are known
             zero123 evaluate scenes --model tiny --out report/
  train    train or fine-tune a model on pairs of views
             zero123 train finetune --data renders/ --out runs/mine
  threestudio  our guidance in a clone of threestudio, and what keeps it from running
             zero123 threestudio doctor threestudio/

Angles are in degrees and relative to the camera that took the picture: a positive elevation raises
the camera, a positive azimuth moves it counter-clockwise seen from above, that is to its right."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: words after the program's name; None takes those of the process.

    Returns:
        The exit status: 0, 1 where a file could not be written or a check found something, 2 for
        wrong input, 130 for Ctrl-C.
    """
    verb = ""
    try:
        with _interrupts_end_imports():
            args = build_parser().parse_args(argv)
            verb = f" {args.verb}"
            # Before torch loads: its threads sleep while they wait for one another. Spinning, as
            # they do otherwise, takes a busy machine several times as long.
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
            return args.run(args) or 0
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _complain(verb, "interrupted", 130)
    except (ValueError, ImportError) as error:
        return _complain(verb, f"error: {error}", 2)
    except OSError as error:
        return _complain(verb, f"error: {error}", 1)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; each verb sets `run`, a function of the parsed arguments."""
    import argparse

    from zero123lib import __version__
    from zero123lib.cli import (
        convert,
        dataset,
        evaluate,
        mesh,
        reconstruct,
        render,
        threestudio,
        train,
        views,
    )
    from zero123lib.cli.arguments import Parser

    parser = Parser(
        prog="zero123",
        description="Novel views of one picture: the same object from any camera.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"zero123lib {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", help="see below")
    views.add_views(verbs)
    views.add_orbit(verbs)
    reconstruct.add_reconstruct(verbs)
    convert.add_convert(verbs)
    dataset.add_dataset(verbs)
    render.add_render(verbs)
    mesh.add_mesh(verbs)
    evaluate.add_evaluate(verbs)
    train.add_train(verbs)
    threestudio.add_threestudio(verbs)
    return parser


@contextmanager
def _interrupts_end_imports() -> Iterator[None]:
    """Ctrl-C ends the process at once where it meets an import, and is an exception elsewhere.

    Within an import an exception may be swallowed, or come out as a complaint about a module; and
    there is nothing yet that would have to be cleared away.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                sys.stdout.flush()
                os.write(2, b"zero123: interrupted\n")
                os._exit(130)
            frame = frame.f_back
        raise KeyboardInterrupt

    try:
        # Whoever is deaf to Ctrl-C, as a shell's background jobs are, stays so.
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        before = signal.signal(signal.SIGINT, hear) if usual else None
    except ValueError:  # not the main thread, which alone hears signals
        before = None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _complain(verb: str, text: str, status: int) -> int:
    print(f"zero123{verb}: {' '.join(text.split())}", file=sys.stderr)
    return status
