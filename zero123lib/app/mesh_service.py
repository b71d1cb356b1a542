"""The object as a mesh: a recipe run by the engine, shown as it grows, stopped when asked."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from zero123lib._optional import MissingExtraError
from zero123lib.app import inputs, settings
from zero123lib.app.callbacks import one_line_errors
from zero123lib.app.line import Line
from zero123lib.app.looks import write_looks
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.outputs import GAUSSIANS, write_zip
from zero123lib.app.sampling import lease_s, with_gpu
from zero123lib.app.sessions import WANTED, Session
from zero123lib.app.view_service import Asked, ViewService, waiting
from zero123lib.app.words import shown
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.gaussians import gaussians_of, write_gaussians
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.reconstruction.engine import (
    Finished,
    Progress,
    ReconstructionError,
    reconstruct,
)
from zero123lib.reconstruction.outputs import preview
from zero123lib.reconstruction.recipes import Recipe, read_recipe
from zero123lib.reconstruction.videos import around, look, occupied, write_gif, write_mp4
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.images import Prepared
from zero123lib.views.poses import Pose

# What visitors choose from: what it is called, and what it means for the packaged recipe.
CHOICES = {
    "quick": ("Quick: a rough shape", ["system.guidance.embedded.fit.steps=120"]),
    "views": ("Views: fitted to many of them", []),
    "sds": ("Distillation: slow, in small steps", []),
}
STAGES = {
    "views": "Making views",
    "fit": "Fitting",
    "sds": "Distilling",
    "outputs": "Writing",
    "video": "Video",
}
FORMATS = ("glb", "obj", "ply")
# What the page offers besides.
OBJ_ZIP, STL = "mesh-obj.zip", "mesh.stl"

# The turning image is made here; and whatever a run is stopped at has a surface.
_OVERRIDES = (
    "system.guidance.embedded.preview_every=0",
    "system.guidance.embedded.outputs.mesh_level=null",
)
# The mesh is what people wait for: the video is made after it, and can be skipped.
_NO_FILM = "system.guidance.embedded.outputs.frames=0"
_LIVE_PX, _LIVE_TURN_DEG, _LIVE_ELEVATION_DEG, _LIVE_EVERY_S = 96, 30.0, 15.0, 1.5


@dataclass(frozen=True)
class Job:
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

    @property
    def wanted(self) -> bool:
        """Tell whether nobody has stopped it."""
        return (Path(self.folder) / WANTED).exists()


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


def surface(max_faces: Any, texture_size: Any) -> list[str]:
    """Return the recipe keys that a request sets for its mesh; none where it says nothing."""
    asked = {
        "max_faces": (max_faces, settings.FACES),
        "texture_size": (texture_size, settings.TEXTURE_SIZES),
    }
    return [
        f"system.guidance.embedded.outputs.{name}={inputs.whole(name, value, *bounds)}"
        for name, (value, bounds) in asked.items()
        if value is not None
    ]


class MeshService:
    """The endpoints that make a mesh."""

    def __init__(
        self,
        view_service: ViewService,
        overrides: Sequence[str] = (),
        places: int = settings.MAX_WAITING,
    ) -> None:
        self.view_service = view_service
        self.overrides = tuple(overrides)
        self.line = Line(places)
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
        max_faces: int | None = None,
        texture_size: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Make a mesh of the pictured object; `/stop` ends it early and keeps what is there.

        The mesh comes before the video, which `/stop` then skips.

        Args:
            image: file that shows one object, best on a transparent background.
            recipe: quick, views or sds.
            seed: of all that is drawn.
            input_elevation: of the image's camera, degrees.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            model: which model; the app's own.
            max_faces: thin the mesh to so many, from 1,000 to 100,000; all of them.
            texture_size: texels along its side, from 256 to 2,048; the recipe's own.

        Returns:
            The latest image of it; how long what took; the mesh as GLB, OBJ and PLY; a video of
            a turn around it.
        """
        with one_line_errors(), session.run() as folder:
            recipe = inputs.one_of("recipe", recipe, CHOICES)
            wanted = surface(max_faces, texture_size)
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
            job = Job(
                recipe_for(recipe, asked.pipe),
                (*CHOICES[recipe][1], *_OVERRIDES, *wanted, *self.overrides),
                asked.seed,
                asked.input_elevation_deg or 0.0,
                str(folder),
            )
            try:
                yield from self._made(asked, job)
                if (folder / GAUSSIANS).exists():
                    session.mesh = (asked.object, folder / GAUSSIANS)
            except ReconstructionError as error:
                raise ValueError(f"recipe: {error}".replace(str(folder), "")) from error

    def _made(self, asked: Asked, job: Job) -> Iterator[tuple[Any, ...]]:
        """Yield the answers of a job: its place while it waits, then as the mesh grows."""
        files: dict[str, str] = {}
        yield None, "Waiting for the first step", *[None] * 4
        with self.line.join() as order:
            for ahead in order.wait():
                if not job.wanted:
                    break
                yield None, f"{waiting(ahead)}. Stop takes yours out of the line.", *[None] * 4
            if not job.wanted:
                yield None, "Stopped before it began: nothing was made.", *[None] * 4
                return
            try:
                for grown in order.slices(self.grow(asked.model, asked.prepared, job)):
                    image = gr.skip() if grown.image is None else grown.image
                    files = files if grown.files is None else grown.files
                    found = [files.get(kind) for kind in (*FORMATS, "video")]
                    yield image, shown(grown.words), *found
            except Exception:  # ZeroGPU's, when its time is over
                if lease_s() == math.inf or not files:
                    raise
                words = "**Finished**, but for the video: the GPU's time was over."
                yield gr.skip(), words, *[files.get(kind) for kind in (*FORMATS, "video")]

    def latest(self, session: Session, name: str) -> str | None:
        """Return a file of the visitor's latest mesh, for the page."""
        found = [] if session.folder is None else list(session.folder.glob("mesh-*/mesh.glb"))
        folders = [max(found, key=lambda file: file.stat().st_mtime).parent] if found else []
        return next((str(one / name) for one in folders if (one / name).exists()), None)

    def stop(self, session: Session) -> str:
        """End this visitor's reconstruction after the step at hand; it keeps what is there.

        One that waits for its turn is not begun; of one whose mesh is there, the video is skipped.

        Returns:
            Whether there was one.
        """
        return "Stopping after this step…" if session.halt() else "Nothing is being made."


def make_grower(model_cache: ModelCache) -> Any:
    """Return the generator of `MeshProgress` over the models of a model_cache."""

    def grow(model: str, prepared: Prepared, job: Job) -> Iterator[MeshProgress]:
        pipe, folder = model_cache.get(model), Path(job.folder)
        recipe = read_recipe(job.recipe, list(job.overrides))
        started = shown_at = time.monotonic()
        # What a lease leaves after this is for the mesh's surface, its texture and the files.
        enough = started + lease_s() * settings.GPU_GROWING
        turn = 0
        for progress in reconstruct(
            prepared,
            read_recipe(job.recipe, [*job.overrides, _NO_FILM]),
            pipe=pipe,
            out=folder,
            seed=job.seed,
            input_elevation_deg=job.input_elevation_deg,
            stop=lambda: not job.wanted or time.monotonic() > enough,
        ):
            if isinstance(progress, Finished):
                yield from finished(progress, recipe, job, started)
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

    return with_gpu(grow, lambda model, prepared, job: settings.GPU_MOST_S)


def words(progress: Progress, seconds: float) -> str:
    """Return one line on a step."""
    stage = STAGES.get(progress.stage, progress.stage)
    loss = progress.losses.get("total")
    loss_text = "" if loss is None else f" · loss {loss:.3f}"
    return f"**{stage}** · {progress.step} of {progress.total} · {seconds:.0f} s{loss_text}"


def finished(end: Finished, recipe: Recipe, job: Job, started: float) -> Iterator[MeshProgress]:
    """Yield the mesh's files; then the video, unless it is stopped; a table of how it went."""
    folder = Path(job.folder)
    files = {
        kind: str(end.files[f"mesh.{kind}"]) for kind in FORMATS if f"mesh.{kind}" in end.files
    }
    if end.mesh is not None and "glb" in files:
        write_mesh(folder / "mesh.obj", end.mesh)
        files["obj"] = str(folder / "mesh.obj")
        # For the page: an OBJ without what lies beside it has no texture.
        textured = write_mesh(folder / "textured.obj", end.textured or end.mesh)
        write_zip(folder / OBJ_ZIP, {}, textured.files)
        write_mesh(folder / STL, end.mesh)
        write_looks(folder, end.mesh)
        write_gaussians(folder / GAUSSIANS, gaussians_of(end.mesh))
    there = "The mesh is there" if "glb" in files else "No surface was found"
    frames: list[torch.Tensor] = []
    begun = time.monotonic()
    if job.wanted:
        yield MeshProgress(f"**{there}** · a video of a turn follows; Stop skips it", None, files)
        for frame in turning(end, recipe):
            frames.append(frame)
            if not job.wanted:
                break
            count = f"{len(frames)} of {recipe.embedded.outputs.frames}"
            yield MeshProgress(f"**{there}** · video {count}; Stop skips it")
    image = to_image(frames[0]) if frames else None
    if job.wanted and frames:
        files["video"] = str(write_video(folder / "turntable", frames))
        end.metrics["seconds"]["video"] = time.monotonic() - begun
    yield MeshProgress(stats(end, job, time.monotonic() - started), image, files)


def turning(end: Finished, recipe: Recipe) -> Iterator[torch.Tensor]:
    """Render a turn around what a run made, frame by frame, ``[H, W, 3]`` in [0, 1]."""
    wanted, seen_from = recipe.embedded.outputs, end.metrics["input_camera"]
    camera = OrbitCamera(Pose(radius=seen_from["radius"]), seen_from["fov_deg"])
    occupancy = occupied(end.field)
    for one in around(camera, wanted):
        yield look(end.field, one, wanted.even_size, normals=False, occupancy=occupancy).rgb


def write_video(path: Path, frames: list[torch.Tensor]) -> Path:
    """Write an MP4, or a GIF where the extra `video` is missing; its path."""
    try:
        write_mp4(path.with_suffix(".mp4"), frames)
        return path.with_suffix(".mp4")
    except MissingExtraError:
        write_gif(path.with_suffix(".gif"), frames)
        return path.with_suffix(".gif")


def stats(end: Finished, job: Job, seconds: float) -> str:
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
    ended = "Finished"
    if metrics["ended"] == "stopped":
        why = "Stopped early" if not job.wanted else "Ended early, with the GPU's time"
        ended = f"{why}; this is what was there"
    elif not job.wanted:
        ended = "Finished, without a video"
    head = f"**{ended}** · {surface} · {memory()}"
    model = f"{metrics['model']} ({metrics['model_licence'] or 'licence not stated'})"
    made = f"Made by {', '.join([model, *metrics['networks']])}."
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
