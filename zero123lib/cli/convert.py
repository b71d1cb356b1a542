"""`zero123 convert`: a checkpoint in another layout, with progress."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zero123lib.cli.arguments import add_reading, one_of

DTYPES = ("float32", "float16", "bfloat16")

EPILOG = """examples:
  zero123 convert zero123-xl.ckpt zero123-xl/ --dtype float16
  zero123 convert zero123-xl/ zero123-xl.safetensors

A folder is written as sharded safetensors that diffusers and zero123lib read; a name that ends in
.safetensors as one file in the layout of the official code. Nothing has its final name before it
is whole. After a full disk the same command goes on where it stopped."""


def add_convert(verbs: Any) -> None:
    """Add the verb `convert` to a parser's verbs."""
    parser = verbs.add_parser(
        "convert",
        description="Write a checkpoint anew: an original .ckpt as a diffusers folder, and back.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a .ckpt or .safetensors file, a folder, or a model's name"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder, or file.safetensors")
    parser.add_argument(
        "--dtype", type=one_of(DTYPES), metavar="NAME",
        help=f"precision of the weights: {', '.join(DTYPES)} (as they are)",
    )  # fmt: skip
    add_reading(parser)
    parser.add_argument(
        "--no-ema", action="store_true", help="take the weights, not their running average"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Convert, with a bar of the bytes written where stderr is a terminal.

    Raises:
        ValueError: an argument or the checkpoint is of no use.
        OSError: a file could not be written.
    """
    import torch
    from tqdm import tqdm

    from zero123lib.diffusion.convert import convert

    steps = convert(
        args.source,
        args.out,
        original_config=args.original_config,
        encoding=args.encoding,
        use_ema=not args.no_ema,
        torch_dtype=getattr(torch, args.dtype) if args.dtype else None,
    )
    step = None
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        try:
            for step in steps:
                bar.total = step.total
                bar.set_description(step.file, refresh=False)
                bar.update(step.done - bar.n)
        except ValueError as error:
            argument, colon, complaint = str(error).partition(": ")
            flag = {"original_config": "--original-config", "encoding": "--encoding"}
            raise ValueError(f"{flag.get(argument, argument)}{colon}{complaint}") from error
    if step is not None:
        print(f"{args.source}: wrote {step.done / 1e9:.2f} GB of weights to {args.out}")
