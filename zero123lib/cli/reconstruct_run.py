"""What goes on around a reconstruction: the bar, a clean stop, and what is told of it.

Loaded when there is something to reconstruct.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from zero123lib.diffusion.apps import check_input_elevation, load_pipeline
from zero123lib.diffusion.card import about_model
from zero123lib.reconstruction.engine import (
    Finished,
    Progress,
    ReconstructionError,
    reconstruct,
    reconstruct_views,
)
from zero123lib.reconstruction.given import given_views
from zero123lib.reconstruction.recipes import Recipe, find_recipe, read_recipe
from zero123lib.reconstruction.state import CHECKPOINT
from zero123lib.threestudio_plugin.launch import Launched, launch
from zero123lib.training.workers import StopRequest, stop_on_signals
from zero123lib.views.images import load_image

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
# The library's names for what the command line calls otherwise.
_FLAGS = {
    "config": "--config", "max_steps": "--max-steps", "resume": "--resume", "out": "--out",
    "input_elevation_deg": "--input-elevation", "seed": "--seed", "override": "KEY=VALUE",
    "model": "--model", "device": "--device", "original_config": "--original-config",
    "encoding": "--encoding", "clone": "--threestudio-root", "recipe": "--config",
    "views": "--views",
}  # fmt: skip


def run_embedded(args: argparse.Namespace) -> int:
    """By the embedded engine; see :func:`zero123lib.cli.reconstruct.run`."""
    with _flags():
        load_image(args.photo)
        recipe = read_recipe(_config(args), args.overrides)
        model = args.model or recipe.guidance.pretrained_model_name_or_path
        pipe = load_pipeline(model, args.device, args.encoding, args.original_config)
        check_input_elevation(pipe, args.input_elevation, "--input-elevation")
        pipe.set_progress_bar_config(disable=True)
        prepared = pipe.prepare(args.photo, recipe.embedded.preprocess)

        def begin(stop: StopRequest) -> Iterator[Progress | Finished]:
            return reconstruct(
                prepared,
                recipe,
                pipe=pipe,
                out=args.out,
                seed=args.seed,
                input_elevation_deg=args.input_elevation,
                max_steps=args.max_steps,
                resume=args.resume,
                stop=stop,
            )

        lines = [f"model {about_model(pipe)}", *_about(recipe, args, str(pipe.device))]
        return _run(begin, args, [*lines, pipe.notice(prepared)])


def run_views(args: argparse.Namespace) -> int:
    """Of images that are there already; see :func:`zero123lib.cli.reconstruct.run`."""
    with _flags():
        recipe = read_recipe(args.config or "given-views", args.overrides)
        views = given_views(args.views)

        def begin(stop: StopRequest) -> Iterator[Progress | Finished]:
            return reconstruct_views(
                views,
                recipe,
                out=args.out,
                seed=args.seed,
                max_steps=args.max_steps,
                resume=args.resume,
                stop=stop,
            )

        lines = [f"{len(views.images)} pictures of {args.views}", *_about(recipe, args, "cpu")]
        return _run(begin, args, lines)


def _run(
    begin: Callable[[StopRequest], Iterator[Progress | Finished]],
    args: argparse.Namespace,
    lines: Sequence[str | None],
) -> int:
    """Tell, run to the end, and report; returns the exit status."""
    with stop_on_signals() as request:
        progress = begin(request)
        for line in lines:
            if line:
                print(line)
        sys.stdout.flush()
        try:
            end = _shown(progress)
        except ReconstructionError as error:
            line = " ".join(str(error).split())
            print(f"zero123 reconstruct: error: {line}", file=sys.stderr)
            return 1
    if request.signal is not None:
        return _report_stop(end, args, request.signal)
    _report(end, args)
    return 0


def run_threestudio(args: argparse.Namespace) -> int:
    """By threestudio, in a process of its own; see :func:`zero123lib.cli.reconstruct.run`."""
    with _flags(), _terminated_as_interrupted():
        for name in ("resume", "max_steps"):
            if getattr(args, name):
                raise ValueError(
                    f"{name}: expected none with --engine threestudio, which has "
                    "resume=CHECKPOINT and trainer.max_steps=N, got it"
                )
        if args.device != "auto":
            raise ValueError(
                f"device: expected auto with --engine threestudio, got {args.device!r}"
            )
        overrides = [*args.overrides]
        named = {
            "system.guidance.pretrained_model_name_or_path": args.model,
            "data.default_elevation_deg": args.input_elevation,
            "system.guidance.encoding": None if args.encoding == "auto" else args.encoding,
            "system.guidance.pretrained_config": args.original_config
            and args.original_config.absolute(),
            "seed": args.seed,
        }
        overrides += [f"{key}={value}" for key, value in named.items() if value is not None]
        recipe = find_recipe(args.config or "zero123-sds")
        steps = launch(recipe, args.threestudio_root, args.photo, args.out, overrides=overrides)
        end = None
        with tqdm(bar_format=_BAR, disable=None) as bar:
            for step in steps:
                if isinstance(step, Launched):
                    end = step
                    continue
                bar.total = step.total
                bar.set_description(step.stage, refresh=False)
                bar.update(step.step - bar.n)
    assert end is not None, "the last item is the result"
    for notice in end.notices:
        print(notice)
    print(f"wrote {args.out}/: {', '.join(str(file.name) for file in end.files.values())}")
    return 0


def _config(args: argparse.Namespace) -> str | Path:
    if args.config is not None:
        return args.config
    return "tiny-views" if args.model in (None, "tiny") else "views"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends us as Ctrl-C does: threestudio does not go on without us."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _flags() -> Iterator[None]:
    """Complaints name the option, and not the library's argument."""
    try:
        yield
    except ValueError as error:
        argument, colon, complaint = str(error).partition(": ")
        raise ValueError(f"{_FLAGS.get(argument, argument)}{colon}{complaint}") from error


def _about(recipe: Recipe, args: argparse.Namespace, device: str) -> Iterator[str]:
    """What is about to be done, in lines."""
    yield f"recipe {recipe.name}, {recipe.steps} steps of optimisation, on {device}"
    if recipe.ignored:
        yield f"not used by the embedded engine: {', '.join(recipe.ignored)}"
    if args.resume:
        there = (args.out / CHECKPOINT).exists()
        yield f"going on from {args.out / CHECKPOINT}" if there else "no checkpoint"


def _shown(progress: Iterator[Progress | Finished]) -> Finished:
    """Run to the end with a bar per stage."""
    bar = None
    try:
        for step in progress:
            if isinstance(step, Finished):
                return step
            if bar is None or bar.desc != step.stage:
                if bar is not None:
                    bar.close()
                first = step.step - 1
                bar = tqdm(
                    total=step.total, initial=first, desc=step.stage, bar_format=_BAR, disable=None
                )
                bar.desc = step.stage  # where the bar is disabled it has none
            if "total" in step.losses:
                bar.set_postfix_str(f", loss {step.losses['total']:.4g}", refresh=False)
            bar.update(step.step - getattr(bar, "n", 0))
    finally:
        if bar is not None:
            bar.close()
    raise AssertionError("the last item is the result")


def _report_stop(end: Finished, args: argparse.Namespace, number: signal.Signals) -> int:
    """One line on stderr, and the status of a process that a signal has ended."""
    how = "interrupted" if number == signal.SIGINT else "terminated"
    there = (args.out / CHECKPOINT).exists()
    resume = f"; --resume goes on from {args.out / CHECKPOINT}" if there else ""
    files = ", ".join(end.files)
    print(f"zero123 reconstruct: {how}; wrote {args.out}/: {files}{resume}", file=sys.stderr)
    return 128 + number


def _report(end: Finished, args: argparse.Namespace) -> None:
    if end.resumed:
        print(f"finished before, nothing was written; {args.out}/ has {', '.join(end.files)}")
        return
    stages = ", ".join(f"{name} {s:.0f} s" for name, s in end.metrics["seconds"].items())
    if end.metrics["ended"] == "max_steps":
        print(f"stopped by --max-steps: --resume goes on from {args.out / CHECKPOINT}")
    for note in end.notes:
        print(note)
    print(f"{stages}; wrote {args.out}/: {', '.join(end.files)}")
