"""What every request for views goes through: checks, the model's part, the answer as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from PIL import Image

from zero123lib._choices import Sampler, Speed, Upscale
from zero123lib.app import inputs, outputs, preparing, settings
from zero123lib.app.line import Line
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sampling import Elsewhere, Sampling, make_noticer, make_sampler
from zero123lib.app.sessions import Session
from zero123lib.app.words import shown
from zero123lib.diffusion.apps import (
    check_input_elevation,
    made_by,
    needs_input_elevation,
    view_labels,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.speed import tier_of
from zero123lib.views.images import Prepared
from zero123lib.views.paths import CameraPath
from zero123lib.views.poses import Pose, RelativePose, absolute_poses, camera_label


@dataclass(frozen=True, eq=False)
class Asked:
    """A request's image and settings, checked; `of` is which upload, and how it is framed."""

    model: str
    pipe: Zero123Pipeline
    prepared: Prepared
    steps: int
    guidance_scale: float
    seed: int
    input_elevation_deg: float | None
    of: tuple = ()
    speed: Speed = "exact"

    @property
    def object(self) -> tuple:
        """Return what a mesh and views have in common if they are of one object in one world."""
        return self.of, self.model, self.source.elevation_deg

    @property
    def source(self) -> Pose:
        """Return the image's own camera; its elevation counts as 0 where none is given."""
        return Pose(self.input_elevation_deg or 0.0)


class ViewService:
    """Views of checked requests, over the models of a model_cache.

    Args:
        model_cache: the models.
        places: requests that may wait.
        elsewhere: samples in place of the models here, so many requests at once.
    """

    def __init__(
        self,
        model_cache: ModelCache,
        places: int = settings.MAX_WAITING,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.model_cache = model_cache
        self.sample = make_sampler(model_cache) if elsewhere is None else elsewhere.sample
        self.line = Line(places, 1 if elsewhere is None else elsewhere.at_once)
        self._ask_notice = make_noticer(model_cache)
        self._notices: WeakKeyDictionary[Prepared, dict[str, str | None]] = WeakKeyDictionary()

    def notice(self, model: str | None, prepared: Prepared) -> str | None:
        """Return what the model says of an image that is far from what it knows; ask it once."""
        name = model or self.model_cache.default_name
        notices = self._notices.setdefault(prepared, {})
        if name not in notices:
            notices[name] = self._ask_notice(name, prepared)
        return notices[name]

    def prepared(
        self, session: Session, pipe: Zero123Pipeline, image: Any, framing: tuple
    ) -> tuple[preparing.Cut, Prepared]:
        """Cut the object out, and make what the model is given."""
        prepared = self.condition(session, pipe, image, framing)
        return self.cut(session, image, framing[2]), prepared

    def condition(
        self, session: Session, pipe: Zero123Pipeline, image: Any, framing: tuple
    ) -> Prepared:
        """Make what the model is given, unless it is there."""
        key = inputs.upload_path(image)
        return conditioned(session, pipe, lambda: inputs.uploaded_image(image), key, framing)

    def cut(self, session: Session, image: Any, method: str) -> preparing.Cut:
        """Cut the object out of an uploaded image."""
        key = inputs.upload_path(image)
        return preparing.cut(session, lambda: inputs.uploaded_image(image), key, method)

    def asked(
        self,
        session: Session,
        image: Any,
        guidance_scale: Any,
        steps: Any,
        seed: Any,
        input_elevation: Any,
        framing: tuple,
        model: str | None,
        speed: Any = "exact",
    ) -> Asked:
        """Check what all views have in common; numbers before the image, which takes longer."""
        pipe = self.model_cache.get(model)
        return settled(
            model or self.model_cache.default_name,
            pipe,
            lambda: self.condition(session, pipe, image, framing),
            lambda: (inputs.upload_path(image), framing),
            guidance_scale=guidance_scale,
            steps=steps,
            seed=seed,
            input_elevation=input_elevation,
            speed=speed,
        )

    def one(self, asked: Asked, pose: RelativePose, live: bool) -> Iterator[tuple[Any, str]]:
        """Yield one view, with its caption; on the way too, and how many go first, if live."""
        absolute_poses(asked.source, [pose])
        work = self.sample(asked.model, asked.prepared, sampling(asked, [pose], 1, live))
        with self.line.join(interactive=True) as order:
            for ahead in order.wait():
                if live:
                    yield gr.skip(), f"{camera_label(pose)} · {waiting(ahead)}"
            started = time.perf_counter()
            for made in order.slices(work):
                if made.images is not None:
                    done = made.step == made.total
                    seconds = f"{time.perf_counter() - started:.1f} s" if done else "…"
                    steps = f"{made.total} step{'s' if made.total > 1 else ''}"
                    steps += "" if asked.speed == "exact" else f", {asked.speed}"
                    progress = steps if done else f"step {made.step} of {made.total}"
                    by = f"{asked.pipe.model_name} ({asked.pipe.licence or 'licence not stated'})"
                    caption = f"{camera_label(pose)} · {progress}, {seconds} · {by}"
                    yield made.images[0], shown(caption)

    def many(
        self,
        session: Session,
        asked: Asked,
        poses: Sequence[RelativePose],
        seeds: int,
        transparent: bool,
        upscale: Upscale,
        progress: gr.Progress,
        path: CameraPath | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Yield views as they come, then their files; `path` is the one that the poses are on."""
        check_number_of_images(len(poses), seeds)
        cameras = absolute_poses(asked.source, poses)
        notice = self.notice(asked.model, asked.prepared)
        if notice:
            gr.Warning(shown(notice))
        labels = view_labels(asked.prepared, poses, upscale)
        what = sampling(asked, poses, seeds, True)
        what = replace(what, upscale=upscale, same_noise=path is not None)
        images: list[Image.Image] = []
        captions = outputs.captions(labels, what.seeds)
        with self.line.join() as order:
            for ahead in order.wait():
                progress(None, desc=waiting(ahead))
                yield (gr.skip(),) * 6  # where Stop, or a page that is closed, ends it
            for now in order.slices(self.sample(asked.model, asked.prepared, what)):
                progress((now.step, now.total), desc="Denoising", unit="steps")
                if now.images is None:
                    continue
                images = now.images
                if now.step < now.total:  # of the first of them, maybe
                    yield (list(zip(images, captions, strict=False)), *[gr.skip()] * 5)
        if transparent:
            progress(None, desc="Taking the background away")
            images = [outputs.without_background(view) for view in images]
        made = outputs.Made(
            asked.prepared.image,
            images,
            cameras,
            labels,
            what.seeds,
            origin(asked, what),
            path,
            session.gaussians(asked.object),
        )
        progress(None, desc="Writing the files")
        files = outputs.write(made, session.new_folder("views"))
        given = [
            str(files[kind]) if kind in files else None
            for kind in ("uncertainty", "sheet", "gif", "mp4", "zip")
        ]
        yield (list(zip(images, captions, strict=True)), *given)


def conditioned(
    session: Session,
    pipe: Zero123Pipeline,
    read: Callable[[], Image.Image],
    key: Hashable,
    framing: tuple,
) -> Prepared:
    """Make what the model is given of an image, unless the session remembers it.

    Args:
        session: remembers the image that it was asked for last.
        pipe: the model.
        read: brings the image.
        key: which image it is.
        framing: ratio of the object or None for the model's own, whether to recentre it, and how it
            is cut out; unchecked.
    """
    ratio, recentre, method = framing
    ratio = pipe.config["foreground_ratio"] if ratio is None else ratio
    checked = inputs.framing(ratio, recentre, method)

    def make() -> Prepared:
        found = preparing.cut(session, read, key, checked.method)
        return preparing.condition(pipe, found, checked)

    return session.remember("prepared", (key, pipe.image_size, checked), make)


def settled(
    name: str,
    pipe: Zero123Pipeline,
    condition: Callable[[], Prepared],
    of: Callable[[], tuple],
    *,
    guidance_scale: Any,
    steps: Any,
    seed: Any,
    input_elevation: Any,
    speed: Any,
) -> Asked:
    """Check a request's numbers, fill in the model's own, and only then look at the image.

    Args:
        name: of the model.
        pipe: the model.
        condition: makes what the model is given.
        of: tells which image it is, and how it is framed.
        guidance_scale, steps, seed, input_elevation, speed: as they came.

    Raises:
        ValueError: one of them cannot be used.
    """
    input_up = inputs.number_or_none("input_elevation", input_elevation, -90.0, 90.0)
    check_input_elevation(pipe, input_up, "input_elevation")
    own, tier = pipe.config, inputs.choice("speed", speed, Speed)
    steps = inputs.whole_or("steps", steps, 1, settings.MAX_STEPS, planned(pipe, tier)[0])
    guidance = inputs.number_or(
        "guidance_scale", guidance_scale, 0.0, settings.MAX_GUIDANCE, own["guidance_scale"]
    )
    seed = inputs.whole("seed", seed, 0, settings.MAX_SEED)
    return Asked(name, pipe, condition(), steps, guidance, seed, input_up, of(), tier)


def check_number_of_images(views: int, seeds: int) -> None:
    """Raise ValueError for more images than one request may ask for."""
    if views * seeds > settings.MAX_IMAGES:
        raise ValueError(
            f"seeds: expected at most {settings.MAX_IMAGES} pictures in all, "
            f"got {views} views x {seeds} seeds"
        )


def waiting(ahead: int) -> str:
    """Tell how many go first."""
    return f"Waiting: {ahead} request{'s go' if ahead > 1 else ' goes'} first"


def sampling(asked: Asked, poses: Sequence[RelativePose], seeds: int, live: bool) -> Sampling:
    """Return what to sample for a request."""
    _, sampler = planned(asked.pipe, asked.speed)
    few = asked.steps <= settings.PREVIEW_STEPS and asked.steps > 2 and not live
    return Sampling(
        poses,
        [asked.seed + i for i in range(seeds)],
        asked.steps,
        asked.guidance_scale,
        "unipc" if few else sampler,
        asked.input_elevation_deg if needs_input_elevation(asked.pipe) else None,
        live,
        speed=asked.speed,
    )


def planned(pipe: Zero123Pipeline, speed: Speed) -> tuple[int, Sampler]:
    """Return the steps that a model takes at a tier of speed, and the tier's sampler.

    The sampler is the tier's whatever number of steps a request names.
    """
    return tier_of(speed).planned(pipe.config["num_inference_steps"], "ddim")


def preview_steps(pipe: Zero123Pipeline) -> int:
    """Return the number of steps of a quick preview: half of what the model wants, and few."""
    return max(1, min(settings.PREVIEW_STEPS, pipe.config["num_inference_steps"] // 2))


def origin(asked: Asked, what: Sampling) -> dict[str, Any]:
    """Tell how views came about, for transforms.json."""
    return made_by(
        asked.pipe,
        asked.prepared,
        asked.source,
        num_inference_steps=what.steps,
        guidance_scale=what.guidance_scale,
        sampler=what.sampler,
        seeds=list(what.seeds),
        upscale=what.upscale,
        speed=what.speed,
    )


def checked_pose(elevation: Any, azimuth: Any, zoom: Any) -> RelativePose:
    """Return a target camera."""
    return RelativePose(
        inputs.number("elevation", elevation, -90.0, 90.0),
        inputs.azimuth("azimuth", azimuth),
        inputs.number("zoom", zoom, -settings.MAX_ZOOM, settings.MAX_ZOOM),
    )
