"""The part of a request that needs the model, apart from the rest: on ZeroGPU it runs elsewhere.

There only what goes in and comes out crosses over, so it takes a model's name and gives images.
The pipeline is shared and only read: sampling is its generator of steps, whose state is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from zero123lib._choices import Upscale
from zero123lib.app import SPACES
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.settings import GPU_MOST_S, GPU_READY_S, GPU_VIEW_STEP_S, LIVE_EVERY_S
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
    """

    poses: Sequence[RelativePose]
    seeds: Sequence[int]
    steps: int
    guidance_scale: float
    sampler: str = "ddim"
    input_elevation_deg: float | None = None
    live: bool = False
    upscale: Upscale = 1


@dataclass(frozen=True, eq=False)
class Shown:
    """Says where sampling is: images seed by seed, pose by pose; None where nothing is new."""

    step: int
    total: int
    images: list[Image.Image] | None


Sampler = Callable[[str, Prepared, Sampling], Iterator[Shown]]


def make_sampler(model_cache: ModelCache) -> Sampler:
    """Make the generator of images over the models of a model_cache; the last it gives is final."""

    def sample(model: str, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        pipe = model_cache.get(model)
        # One generator per seed, shared by its poses: the numbers of a call with that seed alone.
        noise = [torch.Generator().manual_seed(seed) for seed in what.seeds]
        steps = pipe.sample(
            pipe.encode(prepared),
            list(what.poses) * len(what.seeds),
            num_inference_steps=what.steps,
            guidance_scale=what.guidance_scale,
            sampler=what.sampler,  # type: ignore[arg-type]
            generator=[source for source in noise for _ in what.poses],
            condition_elevation_deg=what.input_elevation_deg,
        )
        shown_at = time.monotonic()
        for step in steps:
            last = step.index + 1 == step.total
            if last:
                done = pipe.decode(step.latents, upscale=what.upscale)
                yield Shown(step.total, step.total, to_pils(done))
            elif what.live and time.monotonic() - shown_at >= LIVE_EVERY_S:
                images = to_pils(pipe.decode(step.predicted))
                shown_at = time.monotonic()
                yield Shown(step.index + 1, step.total, images)
            else:
                yield Shown(step.index + 1, step.total, None)

    return with_gpu(sample, lambda model, prepared, what: gpu_seconds(what))


def make_noticer(model_cache: ModelCache) -> Callable[[str, Prepared], str | None]:
    """Return what asks a model for its notice of an image, by `Zero123Pipeline.notice`."""

    def notice(model: str, prepared: Prepared) -> str | None:
        return model_cache.get(model).notice(prepared)

    return with_gpu(notice, lambda model, prepared: round(GPU_READY_S))


def gpu_seconds(what: Sampling) -> int:
    """Return what to ask ZeroGPU for: more for more views and steps, up to what it grants."""
    evaluations = len(what.poses) * len(what.seeds) * what.steps
    passes = 1 if what.guidance_scale == 1.0 else 2
    return round(min(GPU_MOST_S, GPU_READY_S + GPU_VIEW_STEP_S * passes * evaluations))


def with_gpu(function: Any, duration: Callable[..., int]) -> Any:
    """Return the function with a GPU for so long, on a ZeroGPU Space; itself elsewhere."""
    return function if SPACES is None else SPACES.GPU(duration=duration)(function)
