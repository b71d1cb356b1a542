"""`zero123 train`: a run by its config, with a bar, TensorBoard, checkpoints and a clean stop."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zero123lib.cli.arguments import positive, whole
from zero123lib.cli.files import check_folder

EPILOG = """examples:
  zero123 train finetune --data renders/ --out runs/mine
  zero123 train lora --data renders/ --initial zero123-xl.ckpt --out runs/lora
  zero123 train my.yaml --out runs/mine --set optimizer.learning_rate=1e-5 --resume
  torchrun --nproc-per-node 8 -m zero123lib.cli train zero123 --data renders/ --out runs/paper

CONFIG is a preset (finetune, lora, tiny, zero123) or a YAML file, which may begin from one by
"preset: NAME". OUT/model is the result, a pipeline that `zero123 views --model OUT/model` takes,
of the averaged weights with the lowest validation loss; OUT/checkpoints is what --resume goes on
from, OUT/logs is for TensorBoard. Ctrl-C and SIGTERM finish the step, save and stop."""


def add_train(verbs: Any) -> None:
    """Add the verb `train` to a parser's verbs."""
    parser = verbs.add_parser(
        "train",
        description="Train or fine-tune a model on pairs of views.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", metavar="CONFIG", help="a preset's name, or a YAML file")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--data", metavar="PATH", help="folder of renders, or shards (data.path)")
    parser.add_argument(
        "--initial", metavar="MODEL", help="a model's name, folder or file to start from (initial)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE",
        help="another value for a key of the config; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--resume", action="store_true", help="go on from OUT's newest checkpoint, if it has one"
    )
    parser.add_argument(
        "--max-steps", type=whole(1, 10**9), metavar="N", help="stop after N steps (budget.steps)"
    )
    parser.add_argument(
        "--minutes", type=positive, metavar="M", help="stop after M minutes (budget.minutes)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train until the budget is spent or a signal comes.

    Returns:
        0, and 1 where the loss is no longer finite or a file could not be written: the last
        checkpoint is then whole.

    Raises:
        ValueError: an argument, the config, the data or a checkpoint is of no use.
    """
    from zero123lib.cli.training_run import run_training
    from zero123lib.training.config_files import parse_override, read_config

    check_folder(args.out)
    named = {
        "data.path": args.data,
        "initial": args.initial,
        "budget.steps": args.max_steps,
        "budget.minutes": args.minutes,
    }
    overrides = [parse_override(text) for text in args.set]
    overrides += [(key, value) for key, value in named.items() if value is not None]
    return run_training(args.out, read_config(args.config, overrides), args.resume)
