"""The arguments of `zero123 reconstruct`; `reconstruct_run.py` does the work."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from zero123lib.cli.arguments import add_reading, degrees, one_of, whole
from zero123lib.cli.files import check_folder
from zero123lib.cli.views import DEVICES

ENGINES = ("embedded", "threestudio")

EPILOG = """examples:
  zero123 reconstruct photo.png --out run/
  zero123 reconstruct photo.png --config zero123-sds --model zero123-xl.ckpt --out run/ seed=1
  zero123 reconstruct photo.png --config views --out run/ --max-steps 300 --resume
  zero123 reconstruct --views pictures/ --out run/
  zero123 reconstruct photo.png --config zero123-sds --engine threestudio \\
      --threestudio-root threestudio/ --out run/

CONFIG is a recipe's name (recon_configs/ has them) or a file in threestudio's YAML; KEY=VALUE, such
as trainer.max_steps=300, gives a key of it another value. The embedded engine runs on any machine,
CPU included; keys of threestudio's that it has no use for are named. Without --config, the bundled
model gets tiny-views, any other one views, and --views given-views; the mesh of --views stands in
the world of its cameras.

OUT gets mesh.ply (z-up, the input's camera at azimuth 0), mesh.glb (y-up), turntable.gif and .mp4,
depth.mp4, normals.mp4, field.safetensors, views.png and metrics.json. Ctrl-C and SIGTERM stop after
the step at hand and write all that from what is there, with exit status 130 or 143; a second Ctrl-C
stops at once. --resume goes on, also after a kill."""


def add_reconstruct(verbs: Any) -> None:
    """Add the verb `reconstruct` to a parser's verbs."""
    parser = verbs.add_parser(
        "reconstruct",
        description="From one picture to a radiance field and a mesh.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "photo", type=Path, nargs="?", metavar="PHOTO", help="a picture of one object"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument(
        "--views", type=Path, metavar="FOLDER",
        help="in place of PHOTO and a model: pictures that one has, and their cameras in a "
        "transforms.json (ours, NeRF's, nerfstudio's)",
    )  # fmt: skip
    parser.add_argument("--config", metavar="CONFIG", help="a recipe's name, or a YAML file")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--max-steps", type=whole(1, 10**9), metavar="N",
        help="stop after N steps of optimisation, with a result",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on from OUT's checkpoint, if it has one"
    )
    parser.add_argument(
        "--input-elevation", type=degrees, metavar="DEG",
        help="of the camera that took the picture (the recipe's)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), metavar="N", help="of all that is drawn (the recipe's)"
    )
    _add_model(parser.add_argument_group("the model"))
    _add_engine(parser.add_argument_group("the engine"))
    parser.set_defaults(run=run)
    # Overrides may stand anywhere among the options, as in threestudio.
    _set_parsing(parser)


def _add_model(group: Any) -> None:
    group.add_argument(
        "--model", metavar="NAME",
        help="a model's name, a folder, or a .ckpt or .safetensors file (the recipe's; tiny)",
    )  # fmt: skip
    add_reading(group)
    group.add_argument(
        "--device", type=one_of(DEVICES), default="auto", metavar="NAME",
        help=f"{', '.join(DEVICES)} (auto)",
    )  # fmt: skip


def _add_engine(group: Any) -> None:
    group.add_argument(
        "--engine", type=one_of(ENGINES), default="embedded", metavar="NAME",
        help=f"{', '.join(ENGINES)} (embedded)",
    )  # fmt: skip
    group.add_argument(
        "--threestudio-root", type=Path, metavar="CLONE",
        help="threestudio's folder; see `zero123 threestudio`",
    )  # fmt: skip


def _set_parsing(parser: Any) -> None:
    parser.parse_known_args = partial(_intermixed, parser)


def _intermixed(parser: Any, words: Any = None, namespace: Any = None) -> Any:
    """`parse_known_args` of a parser whose last positional argument may come in several places."""
    del parser.parse_known_args  # the class's own, which the intermixed one calls
    try:
        return parser.parse_known_intermixed_args(words, namespace)
    finally:
        _set_parsing(parser)


def run(args: argparse.Namespace) -> int:
    """Reconstruct, with a bar where stderr is a terminal.

    Returns:
        0; 1 where the run could not go on, and 130 or 143 where Ctrl-C or SIGTERM has ended it
        early: files so far are whole.

    Raises:
        ValueError: an argument or the picture is of no use; nothing was written.
        OSError: a file could not be written.
    """
    check_folder(args.out)
    _sort_views(args)
    if (args.engine == "threestudio") != (args.threestudio_root is not None):
        got = "none" if args.threestudio_root is None else f"{str(args.threestudio_root)!r}"
        wanted = "threestudio's folder" if args.engine == "threestudio" else "none"
        raise ValueError(
            f"--threestudio-root: expected {wanted} with --engine {args.engine}, got {got}"
        )
    from zero123lib.cli import reconstruct_run

    if args.engine == "threestudio":
        return reconstruct_run.run_threestudio(args)
    if args.views is not None:
        return reconstruct_run.run_views(args)
    return reconstruct_run.run_embedded(args)


def _sort_views(args: argparse.Namespace) -> None:
    """Hold what goes with --views to what goes with it, and the others to a photo."""
    if args.views is None:
        if args.photo is None:
            raise ValueError("PHOTO: expected a picture, or --views FOLDER, got none")
        return
    if args.photo is not None and "=" in str(args.photo):
        args.overrides, args.photo = [str(args.photo), *args.overrides], None
    others = {
        "PHOTO": args.photo, "--model": args.model, "--input-elevation": args.input_elevation,
        "--threestudio-root": args.threestudio_root,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise ValueError(f"{name}: expected none beside --views, got {str(value)!r}")
