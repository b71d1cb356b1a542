"""The embedded engine: an image and a recipe in, typed progress out, a field and files at last.

    for progress in reconstruct("photo.png", read_recipe("tiny-views"), pipe=pipe, out="run"):
        print(progress.stage, progress.step, progress.total)

:func:`reconstruct_views` does the same with images from all sides in the model's place.

The caller owns bars and stopping. Whatever stops a run between two steps, what was there is written
as a result; what kills it costs the steps since the last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._files import clear_scratch, held_folder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.load import load_mesh
from zero123lib.reconstruction import outputs
from zero123lib.reconstruction.distilled import Distilling
from zero123lib.reconstruction.faults import ReconstructionError, Stage, check_filled, check_losses
from zero123lib.reconstruction.fitted import FittingViews, MakingViews
from zero123lib.reconstruction.input_view import check_photos, input_views
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.progress import Finished, Progress
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.state import (
    CHECKPOINT,
    METRICS,
    State,
    belongs_to,
    finished_files,
    read_state,
    write_state,
)
from zero123lib.reconstruction.subject import Photo, Posed, Subject
from zero123lib.views.images import ImageSource, Prepared
from zero123lib.views.poses import RelativePose

_PREVIEW_PX = 96
_EMPTY_CHECK_STEPS = 25
# Views take seconds each or a fraction of one; they are saved this often at most.
_SAVE_VIEWS_S = 10.0


def reconstruct(
    image: ImageSource | Tensor | Prepared | Sequence[ImageSource | Tensor | Prepared],
    recipe: Recipe,
    *,
    pipe: Zero123Pipeline,
    input_poses: Sequence[RelativePose] | None = None,
    out: str | Path | None = None,
    seed: int | None = None,
    input_elevation_deg: float | None = None,
    max_steps: int | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Progress | Finished]:
    """Make a field of the object in the image, step by step.

    Arguments are checked at once; work is done as the iterator is advanced. The world is z-up, the
    input's camera at azimuth 0 and ``input_elevation_deg``.

    Args:
        image: as :meth:`Zero123Pipeline.prepare` takes it, or what that returned; or a list of
            several photos of the object, for a recipe that begins with views.
        recipe: from :func:`zero123lib.reconstruction.recipes.read_recipe`.
        pipe: the model, on the device to work on.
        input_poses: of several photos, relative to the first, as
            :func:`zero123lib.inversion.poses.estimate_poses` finds them.
        out: folder to write; None keeps all in memory.
        seed: of all that is drawn; None is the recipe's.
        input_elevation_deg: of the camera that took the image; None is the recipe's.
        max_steps: of optimisation in all stages together; the result is that of a stopped run.
        resume: go on from the checkpoint in ``out``, if there is one.
        stop: asked between steps; True ends the run with what is there, its mesh unrefined.

    Returns:
        An iterator of :class:`Progress`, whose last item is :class:`Finished`.

    Raises:
        ValueError: an argument is out of range or the image is of no use; nothing was written.
        ReconstructionError: while advancing: the loss diverged, or the field turned empty.
        OSError: a file could not be written.
    """
    seed = _checked_seed(recipe, seed)
    elevation = recipe.data.default_elevation_deg
    elevation = elevation if input_elevation_deg is None else input_elevation_deg
    if not -90 <= elevation <= 90:
        raise ArgumentError("input_elevation_deg", "degrees in [-90, 90]", f"{elevation:g}")
    _check_run(out, max_steps, resume)
    photos: Any = list(image) if isinstance(image, (list, tuple)) else [image]
    places = check_photos(recipe, photos, input_poses)
    view, *others = input_views(photos, recipe, pipe, elevation, places)
    subject = Photo(view, pipe, tuple(others))
    return _begun(subject, recipe, out, seed, max_steps, resume, stop)


def reconstruct_views(
    views: PosedViews,
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    seed: int | None = None,
    max_steps: int | None = None,
    resume: bool = False,
    stop: Callable[[], bool] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Progress | Finished]:
    """Make a field of an object that images show from all sides, step by step.

    As :func:`reconstruct` where its stage ``views`` has been taken: no model is asked.

    Args:
        views: see :func:`zero123lib.reconstruction.given.given_views`.
        recipe: whose stages are ``[views]``, such as ``given-views``.
        out, seed, max_steps, resume, stop: as for :func:`reconstruct`.
        device: where the field is fitted.

    Returns:
        An iterator of :class:`Progress`, whose last item is :class:`Finished`.

    Raises:
        ValueError: an argument is out of range; nothing was written.
        ReconstructionError: while advancing: the loss diverged, or the field turned empty.
        OSError: a file could not be written.
    """
    if tuple(recipe.embedded.stages) != ("views",):
        stages = list(recipe.embedded.stages)
        raise ArgumentError("recipe", "one whose stages are [views]", f"{recipe.name}: {stages}")
    seed = _checked_seed(recipe, seed)
    _check_run(out, max_steps, resume)
    subject = Posed(views, torch.device(device))
    return _begun(subject, recipe, out, seed, max_steps, resume, stop)


def _checked_seed(recipe: Recipe, seed: int | None) -> int:
    seed = recipe.seed if seed is None else seed
    if seed < 0:
        raise ArgumentError("seed", "at least 0", str(seed))
    return seed


def _check_run(out: str | Path | None, max_steps: int | None, resume: bool) -> None:
    """Raise ArgumentError for what is wrong with how a run is to go."""
    if max_steps is not None and max_steps < 1:
        raise ArgumentError("max_steps", "at least 1", str(max_steps))
    if resume and out is None:
        raise ArgumentError("resume", "a folder out to go on in", "none")
    folder = None if out is None else Path(out)
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ArgumentError("out", "a folder", f"{str(folder)!r}, which is a file")
    if folder is not None and not resume and (folder / CHECKPOINT).exists():
        raise ArgumentError("out", f"a folder without a {CHECKPOINT}, or resume", repr(str(folder)))


def _begun(
    subject: Subject,
    recipe: Recipe,
    out: str | Path | None,
    seed: int,
    max_steps: int | None,
    resume: bool,
    stop: Callable[[], bool] | None,
) -> Iterator[Progress | Finished]:
    folder = None if out is None else Path(out)
    wanted = belongs_to(recipe, subject, seed)
    kind = subject.device.type
    state = State(wanted, device=kind)
    if resume and folder is not None:
        files = finished_files(folder, wanted)
        if files is not None:
            # Left behind where a run was killed after its last file.
            (folder / CHECKPOINT).unlink(missing_ok=True)
            return _there_already(folder, files)
        state = read_state(folder, wanted) or state
        if state.device not in ("", kind):
            # Its generators' states mean nothing to those of another kind.
            expected = f"a run that began on the same kind of device, {kind}"
            raise ArgumentError("resume", expected, f"one on {state.device}")
    return _Run(recipe, subject, seed, folder, state, max_steps, stop).go()


def _there_already(folder: Path, files: Mapping[str, Path]) -> Iterator[Finished]:
    """Yield the result of a run that has finished, as its files have it."""
    metrics = json.loads(files[METRICS].read_text())
    meshes = {
        name: load_mesh(files[name], normalise=False) if name in files else None
        for name in ("mesh.ply", "mesh.glb")
    }
    textured = meshes["mesh.glb"]
    if textured is not None and textured.materials[0].texture is None:
        textured = None
    field, notes = outputs.load_field(folder), tuple(metrics["notes"])
    yield Finished(files, metrics, field, meshes["mesh.ply"], textured, notes, resumed=True)


class _Run:
    """One run, from its first step in this process to its files."""

    def __init__(
        self,
        recipe: Recipe,
        subject: Subject,
        seed: int,
        out: Path | None,
        state: State,
        max_steps: int | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        self.recipe, self.subject, self.seed = recipe, subject, seed
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
        held.enter_context(held_folder(out))
        clear_scratch(out)

    def _names(self) -> list[str]:
        given = isinstance(self.subject, Posed)
        parts = {"views": ["fit"] if given else ["views", "fit"], "sds": ["sds"]}
        return [name for stage in self.recipe.embedded.stages for name in parts[stage]]

    def _make(self, name: str) -> Stage:
        """Return a stage as it was left, or at its beginning."""
        stage = self._new(name)
        saved = self.state.done.get(name)
        if saved is None and self.state.stage == name:
            saved = self.state.at_hand
        if saved is not None:
            stage.load_state_dict(saved)
        return stage

    def _new(self, name: str) -> Stage:
        recipe, subject = self.recipe, self.subject
        if isinstance(subject, Posed):
            return self._fitting(subject.views)
        if name == "views":
            return MakingViews(recipe, subject, self.seed)
        before = self.stages[-1] if self.stages else None
        if isinstance(before, MakingViews):
            views = PosedViews.of_input(recipe, subject.photos, before.images, before.poses)
            return self._fitting(views)
        field = None if before is None else before.field
        return Distilling(recipe, subject.view, subject.pipe, self.seed, field)

    def _fitting(self, views: PosedViews) -> FittingViews:
        silhouette = self.subject.silhouette(self.recipe)
        try:
            return FittingViews(self.recipe, views, self.seed, silhouette, self.subject.device)
        except ValueError as error:
            raise ReconstructionError(
                f"fit: {error}; system.guidance.embedded.fit.hull_tolerance is "
                f"{self.recipe.embedded.fit.hull_tolerance:g} now"
            ) from error

    def _take(self, stage: Stage) -> Iterator[Any]:
        """Take all steps of a stage; return how it ended."""
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
            every = self.recipe.checkpoint.every_n_train_steps
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
        check_filled(stage, self._kept())
        state.done[name] = stage.state_dict()
        state.at_hand = None
        self._write()
        return "finished"

    def _steps(self) -> int:
        """Count the steps of optimisation so far."""
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
        check_losses(stage, losses, self.recipe, self._kept())
        if stage.step % _EMPTY_CHECK_STEPS == 0:
            check_filled(stage, self._kept())

    def _kept(self) -> str:
        if self.out is None or not (self.out / CHECKPOINT).exists():
            return ""
        return f"; the last checkpoint is {self.out / CHECKPOINT}"

    def _preview(self, stage: Stage) -> Tensor | None:
        every = self.recipe.embedded.preview_every
        if stage.field is None or not every or stage.step % every:
            return None
        return outputs.preview(stage.field, self.subject.camera, _PREVIEW_PX, self.subject.pipe)

    def _finish(self, ended: str) -> Iterator[Progress | Finished]:
        """Make the result and its files."""
        started = time.perf_counter()
        field = self.stages[-1].field
        assert field is not None, "the last stage of a recipe has a field"
        first = self.stages[0]
        made = (first.images, first.poses) if isinstance(first, MakingViews) else None
        writing = outputs.Outputs(
            self.recipe, self.subject, field, made, seed=self.seed, stop=self.stop
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
            dict(writing.files),
            metrics,
            writing.field,
            writing.mesh,
            writing.textured,
            tuple(writing.notes),
        )


def result(progress: Iterator[Progress | Finished]) -> Finished:
    """Run what :func:`reconstruct` returned to its end."""
    end = deque(progress, maxlen=1).pop()
    assert isinstance(end, Finished)
    return end
