"""The object as a mesh: a recipe run by the engine, shown as it grows, stopped when asked."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from zero123lib.app import settings
from zero123lib.app.callbacks import one_line_errors
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sampling import with_gpu
from zero123lib.app.sessions import WANTED, Session
from zero123lib.app.view_service import ViewService
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.export import write_mesh
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.reconstruction.engine import (
    Finished,
    Progress,
    ReconstructionError,
    reconstruct,
)
from zero123lib.reconstruction.outputs import preview
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.images import Prepared
from zero123lib.views.poses import Pose

# What visitors choose from: what it is called, and what it means for the packaged recipe.
CHOICES = {
    "quick": ("Quick: a rough shape", ["system.guidance.embedded.fit.steps=120"]),
    "views": ("Views: fitted to many of them", []),
    "sds": ("Distillation: slow, in small steps", []),
}
STAGES = {"views": "Making views", "fit": "Fitting", "sds": "Distilling", "outputs": "Writing"}
FORMATS = ("glb", "obj", "ply")

# The turning image is made here; and whatever a run is stopped at has a surface.
_OVERRIDES = (
    "system.guidance.embedded.preview_every=0",
    "system.guidance.embedded.outputs.mesh_level=null",
)
_LIVE_PX, _LIVE_TURN_DEG, _LIVE_ELEVATION_DEG, _LIVE_EVERY_S = 96, 30.0, 15.0, 1.5


@dataclass(frozen=True)
class Order:
    """Holds what to make.

    Attributes:
        recipe: a packaged recipe's name.
        overrides: of its keys.
        seed: of all that is drawn.
        input_elevation_deg: of the camera that took the image.
        folder: to write; the run ends when the file `WANTED` is no longer in it.
    """

    recipe: str
    overrides: tuple[str, ...]
    seed: int
    input_elevation_deg: float
    folder: str


@dataclass(frozen=True, eq=False)
class MeshProgress:
    """Says how far it is, in words; an image from all around in turn; files once it is done."""

    words: str
    image: Image.Image | None = None
    files: dict[str, str] | None = None


def recipe_for(choice: str, pipe: Zero123Pipeline) -> str:
    """Return the packaged recipe of a choice, for a model."""
    if choice == "sds":
        return "stable-zero123-sds" if needs_input_elevation(pipe) else "zero123-sds"
    return "tiny-views" if pipe.image_size < 256 else "views"


class MeshService:
    """The endpoints that make a mesh."""

    def __init__(self, view_service: ViewService, overrides: Sequence[str] = ()) -> None:
        self.view_service = view_service
        self.overrides = tuple(overrides)
        self.grow = make_grower(view_service.model_cache)

    def reconstruct(
        self,
        session: Session,
        image: dict[str, Any] | None,
        recipe: str = "quick",
        seed: int = 0,
        input_elevation: float | None = None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        model: str | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Make a mesh of the pictured object; `/stop` ends it early and keeps what is there.

        Args:
            image: file that shows one object, best on a transparent background.
            recipe: quick, views or sds.
            seed: of all that is drawn.
            input_elevation: of the image's camera, degrees.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            model: which model; the app's own.

        Returns:
            The latest image of it; how long what took; the mesh as GLB, OBJ and PLY; a video of
            a turn around it.
        """
        with one_line_errors():
            if recipe not in CHOICES:
                raise ValueError(f"recipe: expected one of {', '.join(CHOICES)}, got {recipe!r}")
            asked = self.view_service.asked(
                session,
                image,
                None,
                None,
                seed,
                input_elevation,
                (foreground_ratio, recentre, method),
                model,
            )
            session.halt()
            folder = session.new_folder("mesh")
            (folder / WANTED).touch()
            order = Order(
                recipe_for(recipe, asked.pipe),
                (*CHOICES[recipe][1], *_OVERRIDES, *self.overrides),
                asked.seed,
                asked.input_elevation_deg or 0.0,
                str(folder),
            )
            nothing = [gr.skip()] * 4
            try:
                yield None, "Waiting for the first step", *[None] * 4
                for grown in self.grow(asked.model, asked.prepared, order):
                    picture = gr.skip() if grown.image is None else grown.image
                    if grown.files is None:
                        yield picture, grown.words, *nothing
                    else:
                        kinds = ("glb", "obj", "ply", "video")
                        yield picture, grown.words, *[grown.files.get(kind) for kind in kinds]
            except ReconstructionError as error:
                raise ValueError(f"recipe: {error}".replace(str(folder), "")) from error
            finally:
                (folder / WANTED).unlink(missing_ok=True)
                if session.folder is None:  # the visitor is gone, and so was the folder
                    shutil.rmtree(folder.parent, ignore_errors=True)

    def stop(self, session: Session) -> str:
        """End this visitor's reconstruction after the step at hand; it keeps what is there.

        Returns:
            Whether there was one.
        """
        return "Stopping after this step…" if session.halt() else "Nothing is being made."


def make_grower(model_cache: ModelCache) -> Any:
    """Return the generator of `MeshProgress` over the models of a model_cache."""

    def grow(model: str, prepared: Prepared, order: Order) -> Iterator[MeshProgress]:
        pipe, folder = model_cache.get(model), Path(order.folder)
        started = shown_at = time.monotonic()
        turn = 0
        for progress in reconstruct(
            prepared,
            read_recipe(order.recipe, list(order.overrides)),
            pipe=pipe,
            out=folder,
            seed=order.seed,
            input_elevation_deg=order.input_elevation_deg,
            stop=lambda: not (folder / WANTED).exists(),
        ):
            if isinstance(progress, Finished):
                yield finished(progress, folder, time.monotonic() - started)
                return
            if time.monotonic() - shown_at < _LIVE_EVERY_S and progress.step < progress.total:
                continue
            image = None
            if progress.field is not None and progress.stage != "outputs":
                pose = Pose(_LIVE_ELEVATION_DEG, turn * _LIVE_TURN_DEG)
                image = to_image(preview(progress.field, OrbitCamera(pose), _LIVE_PX, pipe))
                turn += 1
            shown_at = time.monotonic()
            yield MeshProgress(words(progress, shown_at - started), image)

    return with_gpu(grow, lambda model, prepared, order: settings.GPU_MOST_S)


def words(progress: Progress, seconds: float) -> str:
    """Return one line on a step."""
    stage = STAGES.get(progress.stage, progress.stage)
    loss = progress.losses.get("total")
    loss_text = "" if loss is None else f" · loss {loss:.3f}"
    return f"**{stage}** · {progress.step} of {progress.total} · {seconds:.0f} s{loss_text}"


def finished(end: Finished, folder: Path, seconds: float) -> MeshProgress:
    """Return the files of a run, and a table of how it went."""
    files = {
        kind: str(end.files[f"mesh.{kind}"]) for kind in FORMATS if f"mesh.{kind}" in end.files
    }
    if end.mesh is not None and "glb" in files:
        write_mesh(folder / "mesh.obj", end.mesh)
        files["obj"] = str(folder / "mesh.obj")
    for name in ("turntable.mp4", "turntable.gif"):
        if name in end.files:
            files.setdefault("video", str(end.files[name]))
    image = None
    if "turntable.gif" in end.files:
        with Image.open(end.files["turntable.gif"]) as first:
            image = first.convert("RGB")
    return MeshProgress(stats(end, seconds), image, files)


def stats(end: Finished, seconds: float) -> str:
    """Tell in Markdown how it ended, how long each stage took and how much memory was used."""
    metrics, lines = end.metrics, ["| stage | steps | seconds |", "| --- | ---: | ---: |"]
    steps = metrics["stages"]
    for name, spent in metrics["seconds"].items():
        count = f"{steps[name]['steps']} of {steps[name]['of']}" if name in steps else ""
        lines.append(f"| {STAGES.get(name, name)} | {count} | {spent:.1f} |")
    lines.append(f"| all | | {seconds:.1f} |")
    mesh = metrics["mesh"]
    surface = "no mesh"
    if mesh is not None:
        surface = f"{mesh['vertices']:,} vertices, {mesh['faces']:,} faces"
    ended = {"finished": "Finished", "stopped": "Stopped early; this is what was there"}
    head = f"**{ended.get(metrics['ended'], metrics['ended'])}** · {surface} · {memory()}"
    made = f"Made by {metrics['model']} ({metrics['model_licence'] or 'licence not stated'})."
    return "\n\n".join([head, "\n".join(lines), *end.notes, made])


def memory() -> str:
    """Return the most memory that this process has used so far, and the most of the GPU's."""
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    text = f"memory at most {most / 2**30:.1f} GB"
    if torch.cuda.is_available():
        text += f", GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GB"
    return text


def to_image(image: torch.Tensor) -> Image.Image:
    """Convert `[H, W, 3]` in [0, 1] to an image."""
    return Image.fromarray(to_uint8(image).numpy(force=True))
