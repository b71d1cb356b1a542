"""`zero123 dataset check` and `zero123 dataset pack`: look at training data, and pack it."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from zero123lib._words import count
from zero123lib.cli.options import Flag, check_present, renaming, whole


def check(
    path: Annotated[str, Parameter(name="DATA")],
    /,
    *,
    json: Flag = False,
    workers: Annotated[int, whole(1, 256)] = 1,
) -> int:
    """Look at every view of a data set, and name what is wrong.

    A data set is a folder of objects, OBJECT/000.png with OBJECT/000.npy and so
    on, or tar shards of such folders. Exit status 0 where every view can be
    used, 1 where training would skip some. What is suspect but usable (no
    transparency, cut off by the edge, two views from one camera, a size that
    does not go with the field of view) is listed, and leaves the status at 0.

        zero123 dataset check renders/ --workers 2
        zero123 dataset check "https://host/shards/{000000..000011}.tar" --json

    Args:
        path: folder of objects, or shards.
        json: the whole report as JSON on stdout.
        workers: processes.
    """
    if not any(mark in path for mark in ":{"):  # an address or a pattern is opened to be checked
        check_present(Path(path), "path", "a folder of objects, or shards")
    from tqdm import tqdm

    from zero123lib.datasets.checking import Report, check_dataset, report_json, report_lines

    report = Report()
    with tqdm(unit="part", disable=None) as bar:
        for total, facts in check_dataset(path, workers):
            bar.total = total
            bar.update()
            for one in facts:
                report.add(one)
    if json:
        print(json_format.dumps(report_json(report), indent=2, allow_nan=False))
    else:
        print(f"{path}: " + "\n".join(report_lines(report)))
    return 1 if report.bad else 0


def pack(
    root: Annotated[Path, Parameter(name="DIR")],
    out: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    shard_size: Annotated[int, whole(1, 1_000_000, "MB")] = 256,
) -> None:
    """Write a folder of objects as tar shards, which can be streamed.

    For example:

        zero123 dataset pack renders/ shards/ --shard-size 256

    Args:
        root: folder of objects.
        out: new folder for the shards.
        shard_size: megabytes that a shard holds at most, unless one object is larger.
    """
    check_present(root, "root", "a folder of objects")
    from tqdm import tqdm

    from zero123lib.datasets.checking import findings
    from zero123lib.datasets.packing import PackProgress
    from zero123lib.datasets.packing import pack as packed

    progress = PackProgress(0)
    with renaming(path="root"), tqdm(unit="object", disable=None) as bar:
        for progress in packed(root, out, shard_size * 1_000_000):
            bar.total = progress.total
            bar.update(progress.done - bar.n)
    objects, shards = count(progress.packed, "object"), count(progress.shards, "shard")
    print(f"{root}: wrote {objects} to {out}, in {shards}")
    for line in findings("left out", progress.skipped):
        print(line)
