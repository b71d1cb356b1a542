"""`zero123 models`: what models there are by name, and how one comes to this disk."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from zero123lib.cli.options import Flag, renaming

if TYPE_CHECKING:
    from zero123lib.diffusion.checkpoints.available import Available

_SIZES = {"measured": "", "stated": "", "computed": "about "}


def listed(*, json: Flag = False) -> None:
    """List the models that have a name, what they take, and what is on this disk.

    A model may have several sources: the original file, and ports of it in half
    precision. Naming the model takes the smallest that gives the precision
    wanted; each source can be named itself, too. Nothing is asked of the network.
    `zero123 models` alone does the same.

        zero123 models list
        zero123 models list --json

    Args:
        json: as JSON on stdout.
    """
    from zero123lib.diffusion.checkpoints.available import available_models

    found = available_models()
    if json:
        rows = [{**asdict(one), "path": one.path and str(one.path)} for one in found]
        print(json_format.dumps(rows, indent=2))
        return
    name = None
    for one in found:
        if one.model != name:
            name = one.model
            print(f"{name}: {one.licence}")
        print(f"  {_line(one)}")


def fetch(
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    precision: Literal["float16", "float32"] | None = None,
    original: Flag = False,
) -> None:
    """Bring a model to this disk, for later use without a connection.

    Before a download it says whose files they are, their licence, their size and
    how much room there is. A download that broke off is gone on with.

        zero123 models fetch zero123-xl
        zero123 models fetch stable-zero123 --original

    Args:
        name: a model, one of its sources, or of the Hugging Face Hub owner/name.
        precision: of the weights, at least (the smallest source's).
        original: the original file, which has the weights and their running average.
    """
    from zero123lib.diffusion.checkpoints.sources import check_source

    with renaming(source="name"):
        check_source(name)
        from zero123lib.diffusion.checkpoints.available import fetch_model

        found = fetch_model(name, precision, original)
    print(f"{found.name} is at {found.path}\nlicence: {found.licence or 'not stated'}")


def _line(one: Available) -> str:
    from zero123lib.diffusion.checkpoints.downloads import readable

    size = f"{_SIZES[one.size]}{readable(one.nbytes)}"
    where = "not on this disk"
    if one.path is not None:
        where = f"at {one.path}"
    elif one.partial:
        where = f"{readable(one.partial)} of it are on this disk"
    return f"{one.source}: {size}, {one.precision}, by {one.publisher}; {where}"
