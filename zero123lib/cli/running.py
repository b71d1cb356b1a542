"""How a reconstruction is run, here or by threestudio, and what is told of it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._signals import StopRequest, stop_on_signals
from zero123lib._words import count
from zero123lib.cli.options import Degrees, Flag, Model, Seed, renaming, whole
from zero123lib.cli.telling import Telling, stage_bars

if TYPE_CHECKING:
    from PIL.Image import Image

    from zero123lib.reconstruction.engine import Finished, Progress
    from zero123lib.reconstruction.recipes import Recipe

    Begin = Callable[[StopRequest], Iterator[Progress | Finished]]


@Parameter(name="*")
@dataclass(frozen=True)
class Run:
    """How a run goes.

    Attributes:
        out: folder to write.
        max_steps: stop after N steps of optimisation, with a result.
        resume: go on from the checkpoint in DIR, if there is one.
        input_elevation_deg: of the camera that took the image (the recipe's).
        seed: of all that is drawn (the recipe's).
    """

    out: Annotated[Path, Parameter(metavar="DIR")]
    max_steps: Annotated[int | None, whole(1, 10**9)] = None
    resume: Flag = False
    input_elevation_deg: Annotated[Degrees | None, Parameter(name="--input-elevation")] = None
    seed: Seed | None = None


def carried_out(
    begin: Begin, lines: Sequence[str], notice: str | None, run: Run, telling: Telling
) -> int:
    """Tell what is about to be done, run to the end, and report; returns the exit status."""
    from zero123lib.reconstruction.engine import Finished

    with stop_on_signals(second_interrupts=True) as request, stage_bars(telling) as show:
        steps = begin(request)
        for line in lines:
            telling.line(line)
        end = None
        for step in steps:
            if isinstance(step, Finished):
                end = step
            else:
                loss = step.losses.get("total")
                note = "" if loss is None else f", loss {loss:.4g}"
                show(step.stage, step.step, step.total, note)
    assert end is not None, "the last item is the result"
    _tell_end(end, run, notice, telling)
    if request.signal is None:
        return 0
    return _tell_stop(end, run, request.signal)


def in_threestudio(
    image: Image,
    recipe: Path,
    clone: Path,
    overrides: Sequence[str],
    run: Run,
    model: Model,
    telling: Telling,
) -> None:
    """Reconstruct by threestudio, in a process of its own."""
    from zero123lib.threestudio_plugin.launch import Launched, launch

    for name in ("resume", "max_steps"):
        if getattr(run, name):
            instead = "resume=CHECKPOINT and trainer.max_steps=N"
            expected = f"none with --engine threestudio, which has {instead}"
            raise ArgumentError(name, expected, "it")
    if model.device != "auto":
        raise ArgumentError("device", "auto with --engine threestudio", repr(model.device))
    encoding, original = model.reading.encoding, model.reading.original_config
    named = {
        "system.guidance.pretrained_model_name_or_path": model.model,
        "data.default_elevation_deg": run.input_elevation_deg,
        "system.guidance.encoding": None if encoding == "auto" else encoding,
        "system.guidance.pretrained_config": original and original.absolute(),
        "seed": run.seed,
    }
    more = [f"{key}={value}" for key, value in named.items() if value is not None]
    started, end = time.perf_counter(), None
    with renaming(clone="threestudio_root", recipe="config", overrides="override"):
        steps = launch(recipe, clone, image, run.out, overrides=[*overrides, *more])
        with _terminated_as_interrupted(), stage_bars(telling) as show:
            for step in steps:
                if isinstance(step, Launched):
                    end = step
                else:
                    show(step.stage, step.step, step.total, "")
    assert end is not None, "the last item is the result"
    telling.line(end.how)
    for notice in end.notices:
        telling.line(notice)
    telling.line(f"wrote {run.out}/: {', '.join(file.name for file in end.files.values())}")
    seconds = time.perf_counter() - started
    found = _result(end.files, end.metrics, seconds, end.notices)
    telling.result({**found, "ended": "finished"})


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: threestudio does not go on without us."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_lines(recipe: Recipe, run: Run, device: str) -> Iterator[str]:
    """Say what is about to be done, in lines."""
    from zero123lib.reconstruction.state import CHECKPOINT, METRICS

    steps = min(recipe.steps, run.max_steps or recipe.steps)
    yield f"recipe {recipe.name}, {count(steps, 'step')} of optimisation, on {device}"
    if recipe.ignored:
        yield f"not used by the embedded engine: {', '.join(recipe.ignored)}"
    if run.resume and (run.out / CHECKPOINT).exists():
        yield f"going on from {run.out / CHECKPOINT}"
    elif run.resume and not (run.out / METRICS).exists():
        yield f"no checkpoint in {run.out}, so it begins anew"


def _tell_end(end: Finished, run: Run, notice: str | None, telling: Telling) -> None:
    from zero123lib.reconstruction.state import CHECKPOINT

    metrics = end.metrics
    stages = ", ".join(f"{name} {s:.0f} s" for name, s in metrics["seconds"].items())
    if end.resumed:
        telling.line(f"finished before, nothing was written; {run.out}/ has {', '.join(end.files)}")
    else:
        if metrics["ended"] == "max_steps":
            goes_on = f"--resume goes on from {run.out / CHECKPOINT}"
            telling.line(f"stopped by --max-steps: {goes_on}")
        for note in end.notes:
            telling.line(note)
        telling.line(f"{stages}; wrote {run.out}/: {', '.join(end.files)}")
    seconds, notices = sum(metrics["seconds"].values()), [notice, *end.notes]
    found = _result(end.files, metrics, seconds, notices)
    telling.result({**found, "ended": metrics["ended"]})


def _tell_stop(end: Finished, run: Run, number: signal.Signals) -> int:
    """Tell on stderr what a signal has ended, and return the status of such a process."""
    from zero123lib.reconstruction.state import CHECKPOINT

    how = "interrupted" if number == signal.SIGINT else "terminated"
    there = (run.out / CHECKPOINT).exists()
    goes_on = f"; --resume goes on from {run.out / CHECKPOINT}" if there else ""
    wrote = f"wrote {run.out}/: {', '.join(end.files)}"
    print(f"zero123 reconstruct: {how}; {wrote}{goes_on}", file=sys.stderr)
    return 128 + number


def _result(
    files: Mapping[str, Path],
    metrics: Mapping[str, Any],
    seconds: float,
    notices: Sequence[str | None],
) -> dict[str, Any]:
    return {
        "files": [str(file) for file in files.values()],
        "model": metrics["model"],
        "licence": metrics["model_licence"],
        "networks": metrics["networks"],
        "seconds": seconds,
        "notices": [one for one in notices if one],
    }
