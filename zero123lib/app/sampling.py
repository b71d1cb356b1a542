"""The part of a request that needs the model, apart from the rest: on ZeroGPU it runs elsewhere.

There only what goes in and comes out crosses over, so it takes a model's name and gives images.
The pipeline is shared and only read: sampling is its generator of steps, whose state is its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from zero123lib._choices import Speed, Upscale
from zero123lib.app import SPACES
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.settings import (
    GPU_MOST_S,
    GPU_READY_S,
    GPU_UPSCALE_S,
    GPU_VIEW_STEP_S,
    LIVE_EVERY_S,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.images import Prepared, to_pils
from zero123lib.views.poses import RelativePose


@dataclass(frozen=True)
class Sampling:
    """Holds what to sample, besides the image.

    Attributes:
        poses: of one seed's views.
        seeds: of the noise, one set of views each.
        steps, guidance_scale, sampler: of `Zero123Pipeline.sample`.
        input_elevation_deg: of the image's camera; None where the model does not ask.
        live: show images of the work in progress.
        upscale: how many times larger the finished images are made.
        same_noise: every view begins at the noise of the first, as one that is asked for alone
            does: a frame of a film is the view from there, and what is not seen flickers less.
        speed: see `zero123lib.diffusion.speed`.
    """

    poses: Sequence[RelativePose]
    seeds: Sequence[int]
    steps: int
    guidance_scale: float
    sampler: str = "ddim"
    input_elevation_deg: float | None = None
    live: bool = False
    upscale: Upscale = 1
    same_noise: bool = False
    speed: Speed = "exact"


@dataclass(frozen=True, eq=False)
class Shown:
    """Says where sampling is: images so far, seed by seed, pose by pose; None if none is new."""

    step: int
    total: int
    images: list[Image.Image] | None


Sampler = Callable[[str, Prepared, Sampling], Iterator[Shown]]


@dataclass(frozen=True)
class Elsewhere:
    """Says that views are made by other processes.

    Attributes:
        sample: has them made.
        at_once: how many requests they work at together.
    """

    sample: Sampler
    at_once: int


def make_sampler(model_cache: ModelCache) -> Sampler:
    """Make the generator of images over the models of a model_cache; the last it gives is final."""

    def sample(model: str, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        pipe = model_cache.get(model)
        condition = pipe.encode(prepared)
        views = list(zip(list(what.poses) * len(what.seeds), generators(what), strict=True))
        most = views_at_once(pipe)
        parts = [views[first : first + most] for first in range(0, len(views), most)]
        done: list[Image.Image] = []
        shown_at = time.monotonic()
        for number, part in enumerate(parts):
            poses = [pose for pose, _ in part]
            steps = pipe.sample(
                condition,
                poses,
                num_inference_steps=what.steps,
                guidance_scale=what.guidance_scale,
                sampler=what.sampler,  # type: ignore[arg-type]
                generator=[source for _, source in part],
                condition_elevation_deg=what.input_elevation_deg,
                speed=what.speed,
            )
            for step in steps:
                taken, total = number * step.total + step.index + 1, len(parts) * step.total
                if step.index + 1 == step.total:
                    # Enlarging a view takes as long as a step does.
                    few = len(part) if what.upscale == 1 else 1
                    for first in range(0, len(part), few):
                        some = slice(first, first + few)
                        finished = pipe.finish(
                            step.latents[some],
                            condition,
                            poses[some],
                            upscale=what.upscale,
                            speed=what.speed,
                        )
                        done += to_pils(finished)
                        yield Shown(taken - 1, total, None)
                    yield Shown(taken, total, list(done))
                elif what.live and time.monotonic() - shown_at >= LIVE_EVERY_S:
                    images = done + to_pils(pipe.decode(step.predicted, speed=what.speed))
                    shown_at = time.monotonic()
                    yield Shown(taken, total, images)
                else:
                    yield Shown(taken, total, None)

    return with_gpu(sample, lambda model, prepared, what: gpu_seconds(what))


def make_noticer(model_cache: ModelCache) -> Callable[[str, Prepared], str | None]:
    """Return what asks a model for its notice of an image, by `Zero123Pipeline.notice`."""

    def notice(model: str, prepared: Prepared) -> str | None:
        return model_cache.get(model).notice(prepared)

    return with_gpu(notice, lambda model, prepared: round(GPU_READY_S))


def generators(what: Sampling) -> list[torch.Generator]:
    """Return where each view takes its noise from, seed by seed.

    One generator per seed is shared by its poses, which are the numbers of a call with that seed
    alone; of the same noise, each pose has its own.
    """
    count = len(what.poses)
    if what.same_noise:
        return [torch.Generator().manual_seed(seed) for seed in what.seeds for _ in range(count)]
    shared = [torch.Generator().manual_seed(seed) for seed in what.seeds]
    return [source for source in shared for _ in range(count)]


def views_at_once(pipe: Zero123Pipeline) -> int:
    """Return how many views go through the model together: what others wait for is one step.

    A GPU takes several as fast as one; a CPU hardly does, and a large model is slow there.
    """
    return 1 if pipe.device.type == "cpu" and pipe.image_size > 128 else 8


def gpu_seconds(what: Sampling) -> int:
    """Return what to ask ZeroGPU for: more for more of everything, up to what it grants."""
    views = len(what.poses) * len(what.seeds)
    passes = 1 if what.guidance_scale == 1.0 else 2
    view_s = GPU_VIEW_STEP_S * passes * what.steps + GPU_UPSCALE_S * (what.upscale > 1)
    return round(min(GPU_MOST_S, GPU_READY_S + views * view_s))


def lease_s() -> float:
    """Return for how long the GPU is lent to what may take its time: for ever but on ZeroGPU."""
    return math.inf if SPACES is None else GPU_MOST_S


def with_gpu(function: Any, duration: Callable[..., int]) -> Any:
    """Return the function with a GPU for so long, on a ZeroGPU Space; itself elsewhere."""
    return function if SPACES is None else SPACES.GPU(duration=duration)(function)
