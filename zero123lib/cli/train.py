"""`zero123 train`: a run by its config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from zero123lib._files import check_folder
from zero123lib.cli.options import Assignments, Flag, Positive, check_present, whole


def train(
    config: Annotated[str, Parameter(name="CONFIG")],
    /,
    *,
    out: Annotated[Path, Parameter(metavar="DIR")],
    data: Annotated[str | None, Parameter(metavar="PATH")] = None,
    initial: Annotated[str | None, Parameter(metavar="MODEL")] = None,
    override: Assignments = None,
    resume: Flag = False,
    max_steps: Annotated[int | None, whole(1, 10**9)] = None,
    minutes: Annotated[Positive | None, Parameter(metavar="M")] = None,
) -> None:
    """Train or fine-tune a model on pairs of views.

    CONFIG is a preset (distil, finetune, lora, tiny, zero123) or a YAML file,
    which may begin from one by "preset: NAME". DIR/model is the result, a pipeline that
    `zero123 views --model DIR/model` takes, of the averaged weights with the
    lowest validation loss; DIR/checkpoints is what --resume goes on from,
    DIR/logs is for TensorBoard. Ctrl-C and SIGTERM finish the step, save and
    stop.

        zero123 train finetune --data renders/ --out runs/mine
        zero123 train lora --data renders/ --initial zero123-xl.ckpt --out runs/a
        zero123 train distil --data renders/ --initial zero123-xl --out runs/fast
        zero123 train my.yaml --out runs/b --set optimizer.learning_rate=1e-5

    On several GPUs: torchrun --nproc-per-node 8 -m zero123lib train zero123 ...

    Args:
        config: a preset's name, or a YAML file.
        out: the run's folder.
        data: folder of renders, or shards (data.path).
        initial: a model's name, folder or file to start from (initial).
        override: another value for a key of the config; may be repeated.
        resume: go on from the newest checkpoint, if there is one.
        max_steps: stop after N steps (budget.steps).
        minutes: stop after M minutes (budget.minutes).
    """
    from zero123lib.training.config_files import parse_override, read_config

    check_folder(out)
    if data is not None and not any(mark in data for mark in ":{"):
        check_present(Path(data), "data", "a folder of renders, or shards")
    named = {
        "data.path": data,
        "initial": initial,
        "budget.steps": max_steps,
        "budget.minutes": minutes,
    }
    overrides = [parse_override(text) for text in override or ()]
    overrides += [(key, value) for key, value in named.items() if value is not None]
    settings = read_config(config, overrides)
    from zero123lib.training.run import run_training

    run_training(out, settings, resume)
