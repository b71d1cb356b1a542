"""`zero123 convert`: a checkpoint in another layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from zero123lib._files import check_folder
from zero123lib.cli.options import Flag, Reading


def convert(
    source: Annotated[str, Parameter(name="SOURCE")],
    out: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] | None = None,
    no_ema: Flag = False,
    reading: Reading = Reading(),
) -> None:
    """Write a checkpoint anew: an original .ckpt as a diffusers folder, and back.

    A folder is written as sharded safetensors that diffusers and zero123lib
    read; a name that ends in .safetensors as one file in the layout of the
    official code. Nothing has its final name before it is whole. After a full
    disk the same command goes on where it stopped.

        zero123 convert zero123-xl.ckpt zero123-xl/ --dtype float16
        zero123 convert zero123-xl/ zero123-xl.safetensors

    Args:
        source: a .ckpt or .safetensors file, a folder, or a model's name.
        out: folder, or file.safetensors.
        dtype: precision of the weights (as they are).
        no_ema: take the weights, not their running average.
    """
    reading.check(source)
    check_folder(out.absolute().parent)
    import torch
    from tqdm import tqdm

    from zero123lib.diffusion.convert import convert as converted

    steps = converted(
        source,
        out,
        original_config=reading.original_config,
        encoding=reading.encoding,
        use_ema=not no_ema,
        torch_dtype=getattr(torch, dtype) if dtype else None,
    )
    written = 0
    with tqdm(unit="B", unit_scale=True, disable=None) as bar:
        for step in steps:
            bar.total = step.total
            bar.set_description(step.file, refresh=False)
            bar.update(step.done - bar.n)
            written = step.done
    print(f"{source}: wrote {written / 1e9:.2f} GB of weights to {out}")
