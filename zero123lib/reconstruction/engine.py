"""The embedded engine: one picture and a recipe in, typed progress out, a field and files at last.

    for progress in reconstruct("photo.png", read_recipe("tiny-views"), pipe=pipe, out="run"):
        print(progress.stage, progress.step, progress.total)

The caller owns bars and stopping. Whatever stops a run between two steps, what was there is written
as a result; what kills it costs the steps since the last checkpoint.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from zero123lib._errors import ArgumentError, RunError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.voxels import VoxelField
from zero123lib.meshes.mesh import Mesh
from zero123lib.reconstruction import outputs
from zero123lib.reconstruction.distilled import LEAST_DENSITY, Distilling
from zero123lib.reconstruction.fitted import FittingViews, MakingViews
from zero123lib.reconstruction.pictures import InputView, input_view
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.state import (
    CHECKPOINT,
    State,
    belongs_to,
    read_state,
    write_state,
)
from zero123lib.views.images import ImageSource, Prepared

Stage = MakingViews | FittingViews | Distilling

_PREVIEW_PX = 96
_EMPTY_CHECK_STEPS = 25
# Views take seconds each or a fraction of one; they are saved this often at most.
_SAVE_VIEWS_S = 10.0


class ReconstructionError(RunError):
    """A reconstruction that cannot go on."""


@dataclass(frozen=True, eq=False)
class Progress:
    """One step that was taken.

    Attributes:
        stage: ``"views"`` (steps are views), ``"fit"``, ``"sds"`` or ``"outputs"``.
        step, total: of the stage, from 1.
        losses: of the step, unweighted, and their weighted ``"total"``; empty where there are none.
        preview: ``[H, W, 3]`` in [0, 1], from the input's camera; None in most steps.
        field: as it stands; None before there is one.
        seconds: spent on the stage so far, in this process and those before.
    """

    stage: str
    step: int
    total: int
    losses: Mapping[str, float]
    preview: Tensor | None
    field: VoxelField | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Finished:
    """The end of a run.

    Attributes:
        files: by name, such as ``"mesh.ply"``; empty without a folder.
        metrics: content of ``metrics.json``.
        field: with colours in [0, 1].
        mesh: its surface; None where the recipe wants none, or there is no surface.
        notes: what to tell the user.
    """

    files: Mapping[str, Path]
    metrics: Mapping[str, Any]
    field: VoxelField
    mesh: Mesh | None
    notes: tuple[str, ...] = ()


def reconstruct(
    image: ImageSource | Tensor | Prepared,
    recipe: Recipe,
    *,
    pipe: Zero123Pipeline,
    out: str | Path | None = None,
    seed: int | None = None,
    input_elevation_deg: float | None = None,
    max_steps: int | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Progress | Finished]:
    """Make a field of the pictured object, step by step.

    Arguments are checked at once; work is done as the iterator is advanced. The world is z-up, the
    input's camera at azimuth 0 and ``input_elevation_deg``.

    Args:
        image: as :meth:`Zero123Pipeline.prepare` takes it, or what that returned.
        recipe: from :func:`zero123lib.reconstruction.recipes.read_recipe`.
        pipe: the model, on the device to work on.
        out: folder to write; None keeps all in memory.
        seed: of all that is drawn; None is the recipe's.
        input_elevation_deg: of the camera that took the picture; None is the recipe's.
        max_steps: of optimisation in all stages together; the result is that of a stopped run.
        resume: go on from the checkpoint in ``out``, if there is one.
        stop: asked between steps; True ends the run with what is there, its mesh unrefined.

    Returns:
        An iterator of :class:`Progress`, whose last item is :class:`Finished`.

    Raises:
        ValueError: an argument is out of range or the picture is of no use; nothing was written.
        ReconstructionError: while advancing: the loss diverged, or the field turned empty.
        OSError: a file could not be written.
    """
    if max_steps is not None and max_steps < 1:
        raise ArgumentError("max_steps", "at least 1", str(max_steps))
    if resume and out is None:
        raise ArgumentError("resume", "a folder out to go on in", "none")
    seed = recipe.content.seed if seed is None else seed
    if seed < 0:
        raise ArgumentError("seed", "at least 0", str(seed))
    elevation = recipe.data.default_elevation_deg
    elevation = elevation if input_elevation_deg is None else input_elevation_deg
    if not -90 <= elevation <= 90:
        raise ArgumentError("input_elevation_deg", "degrees in [-90, 90]", f"{elevation:g}")
    view = input_view(image, recipe, pipe, elevation)
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ArgumentError("out", "a folder", f"{str(folder)!r}, which is a file")
    if folder is not None and not resume and (folder / CHECKPOINT).exists():
        raise ArgumentError("out", f"a folder without a {CHECKPOINT}, or resume", repr(str(folder)))
    wanted = belongs_to(recipe, view, pipe, seed)
    state = read_state(folder, wanted) if resume and folder is not None else None
    run = _Run(recipe, view, pipe, seed, folder, state or State(wanted), max_steps, stop)
    return run.go()


class _Run:
    """One run, from its first step in this process to its files."""

    def __init__(
        self,
        recipe: Recipe,
        view: InputView,
        pipe: Zero123Pipeline,
        seed: int,
        out: Path | None,
        state: State,
        max_steps: int | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.recipe, self.view, self.pipe, self.seed = recipe, view, pipe, seed
        self.out, self.state, self.max_steps = out, state, max_steps
        self.stop = stop or (lambda: False)
        self.stages: list[Stage] = []
        self._saved_at = time.perf_counter()

    def go(self) -> Iterator[Progress | Finished]:
        with ExitStack() as held:
            if self.out is not None:
                self._hold(self.out, held)
            ended = "finished"
            for name in self._names():
                stage = self._make(name)
                self.stages.append(stage)
                if ended == "finished":
                    ended = yield from self._take(stage)
            yield from self._finish(ended)

    def _hold(self, out: Path, held: ExitStack) -> None:
        """Make the folder and keep other runs out of it."""
        out.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(FileLock(out / ".lock", timeout=0))
        except Timeout as error:
            raise ArgumentError("out", f"one run at a time in {str(out)!r}", "a second") from error
        for left in out.glob(".making-*"):  # by a run that was killed while it wrote
            left.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        parts = {"views": ["views", "fit"], "sds": ["sds"]}
        return [name for stage in self.recipe.embedded.stages for name in parts[stage]]

    def _make(self, name: str) -> Stage:
        """A stage as it was left, or at its beginning."""
        stage = self._new(name)
        saved = self.state.done.get(name)
        if saved is None and self.state.stage == name:
            saved = self.state.at_hand
        if saved is not None:
            stage.load_state_dict(saved)
        return stage

    def _new(self, name: str) -> Stage:
        recipe, view = self.recipe, self.view
        if name == "views":
            return MakingViews(recipe, view, self.pipe, self.seed)
        before = self.stages[-1] if self.stages else None
        if isinstance(before, MakingViews):
            try:
                return FittingViews(recipe, view, before, self.seed)
            except ValueError as error:
                raise ReconstructionError(
                    f"fit: {error}; system.guidance.embedded.fit.hull_tolerance is "
                    f"{recipe.embedded.fit.hull_tolerance:g} now"
                ) from error
        field = None if before is None else before.field
        return Distilling(recipe, view, self.pipe, self.seed, field)

    def _take(self, stage: Stage) -> Iterator[Any]:
        """All steps of a stage; returns how it ended."""
        name, state = stage.name, self.state
        if name in state.done:
            return "finished"
        state.stage = name
        before, started = state.seconds.get(name, 0.0), time.perf_counter()
        while stage.step < stage.total:
            if self.stop():
                self._save(stage)
                return "stopped"
            if self.max_steps is not None and self._steps() >= self.max_steps:
                self._save(stage)
                return "max_steps"
            losses = dict(stage.advance())
            self._check(stage, losses)
            state.losses[name] = losses
            state.seconds[name] = before + time.perf_counter() - started
            last = stage.step == stage.total
            every = self.recipe.content.checkpoint.every_n_train_steps
            if isinstance(stage, MakingViews):
                due = time.perf_counter() - self._saved_at > _SAVE_VIEWS_S
            else:
                due = stage.step % every == 0
            if due and not last:
                self._save(stage)
            yield Progress(
                name, stage.step, stage.total, losses,
                self._preview(stage), stage.field, state.seconds[name],
            )  # fmt: skip
        self._check_filled(stage)
        state.done[name] = stage.state_dict()
        state.at_hand = None
        self._write()
        return "finished"

    def _steps(self) -> int:
        """Of optimisation, so far."""
        return sum(one.step for one in self.stages if not isinstance(one, MakingViews))

    def _save(self, stage: Stage) -> None:
        self.state.at_hand = stage.state_dict()
        self._write()

    def _write(self) -> None:
        if self.out is not None:
            write_state(self.out, self.state)
        self._saved_at = time.perf_counter()

    def _check(self, stage: Stage, losses: Mapping[str, float]) -> None:
        """Raise ReconstructionError where a step has gone wrong."""
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            named = next((name for name in bad if name != "total"), "total")
            if isinstance(stage, FittingViews):
                fit = self.recipe.embedded.fit
                change = f"system.guidance.embedded.fit.density_rate ({fit.density_rate:g} now)"
            else:
                key, rate = "system.optimizer.args.lr", self.recipe.optimizer.args.lr
                if (own := self.recipe.embedded.field.learning_rate) is not None:
                    key, rate = "system.guidance.embedded.field.learning_rate", own
                change = f"{key} ({rate:g} now) or system.loss.lambda_{named}"
            raise ReconstructionError(
                f"{stage.name}: expected finite losses, got {named} = {losses[named]} at step "
                f"{stage.step + 1} of {stage.total}; lower {change}{self._kept()}"
            )
        if stage.step % _EMPTY_CHECK_STEPS == 0:
            self._check_filled(stage)

    def _check_filled(self, stage: Stage) -> None:
        """Raise ReconstructionError where the field holds nothing that can be seen."""
        if stage.field is None:
            return
        nodes = stage.field.nodes().reshape(-1, 3)
        with torch.no_grad():
            most = max(float(stage.field.density(part).max()) for part in nodes.split(1 << 18))
        if most <= LEAST_DENSITY:
            hint = (
                "raise system.guidance.embedded.fit.mask"
                if isinstance(stage, FittingViews)
                else "lower system.loss.lambda_sparsity or raise lambda_mask and lambda_rgb"
            )
            raise ReconstructionError(
                f"{stage.name}: expected an object in the field, got an empty one after step "
                f"{stage.step} of {stage.total}; {hint}{self._kept()}"
            )

    def _kept(self) -> str:
        if self.out is None or not (self.out / CHECKPOINT).exists():
            return ""
        return f"; the last checkpoint is {self.out / CHECKPOINT}"

    def _preview(self, stage: Stage) -> Tensor | None:
        every = self.recipe.embedded.preview_every
        if stage.field is None or not every or stage.step % every:
            return None
        return outputs.preview(stage.field, self.view.shot, _PREVIEW_PX, self.pipe)

    def _finish(self, ended: str) -> Iterator[Progress | Finished]:
        """The result and its files."""
        started = time.perf_counter()
        field = self.stages[-1].field
        assert field is not None, "the last stage of a recipe has a field"
        first = self.stages[0]
        made = (first.pictures, first.poses) if isinstance(first, MakingViews) else None
        writing = outputs.Outputs(
            self.recipe, self.view, self.pipe, field, made, seed=self.seed, stop=self.stop
        )
        for step, total in writing.make(self.out):
            seconds = time.perf_counter() - started
            yield Progress("outputs", step, total, {}, None, writing.field, seconds)
        seconds = {**self.state.seconds, "outputs": time.perf_counter() - started}
        metrics = writing.metrics(
            ended,
            {stage.name: (stage.step, stage.total) for stage in self.stages},
            seconds,
            self.state.losses,
            self.seed,
        )
        if self.out is not None:
            writing.write_metrics(self.out, metrics)
            if ended == "finished":
                (self.out / CHECKPOINT).unlink(missing_ok=True)
        yield Finished(
            dict(writing.files), metrics, writing.field, writing.mesh, tuple(writing.notes)
        )


def result(progress: Iterator[Progress | Finished]) -> Finished:
    """Run what :func:`reconstruct` returned to its end."""
    end = deque(progress, maxlen=1).pop()
    assert isinstance(end, Finished)
    return end
