"""A model's views of held-out samples, beside three baselines that need no model."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import Sampler
from zero123lib.evaluation.samples import Sample, scene_samples
from zero123lib.evaluation.scores import ViewScore, score_predictions
from zero123lib.scenes import KINDS, check_kinds
from zero123lib.views.poses import Pose

# input: the input unchanged;  blank: a white image;  mean: the mean of training images
BASELINES = ("input", "blank", "mean")


@dataclass(frozen=True)
class Setting:
    """Says how a model is asked.

    Attributes:
        steps: ``num_inference_steps``.
        guidance: ``guidance_scale``.
        sampler: see :data:`zero123lib.diffusion.samplers.Sampler`.
        seed: of the noise, 0 and above; each object has its own noise, whatever others are asked.
    """

    steps: int
    guidance: float
    sampler: Sampler = "ddim"
    seed: int = 0

    @classmethod
    def of(
        cls,
        pipe: Zero123Pipeline,
        steps: int | None = None,
        guidance: float | None = None,
        sampler: Sampler = "ddim",
        seed: int = 0,
    ) -> Setting:
        """Make a setting; what is None is as the model recommends."""
        return cls(*pipe.recommended(steps, guidance), sampler, seed)


@dataclass(frozen=True, eq=False)
class Prediction:
    """A sample with a model's views of it.

    Attributes:
        views: the model's, ``[N, 3, S, S]`` in [0, 1].
        scores: of ``"model"`` and of each of :data:`BASELINES`, view by view.
        seconds: that the model took.
    """

    sample: Sample
    views: Tensor
    scores: Mapping[str, Sequence[ViewScore]]
    seconds: float


def evaluated_kinds(pipe: Zero123Pipeline, kinds: Collection[str] | None = None) -> list[str]:
    """Choose the kinds of scenes that a model is measured on: those given, else its own, else all.

    Raises:
        ValueError: one of them is unknown, or none is given.
    """
    own = list(pipe.trained_on.get("scene_kinds") or KINDS)
    asked = own if kinds is None else list(kinds)
    try:
        check_kinds(asked)
    except ArgumentError as error:
        if kinds is not None:
            raise
        raise error.renamed(f"scene_kinds of {pipe.model_name}") from error
    return [kind for kind in KINDS if kind in asked]


def predict_scenes(
    pipe: Zero123Pipeline,
    setting: Setting,
    objects: int,
    views: int,
    kinds: Collection[str] | None = None,
) -> Iterator[Prediction]:
    """Predict views of one held-out scene after the other.

    Args:
        objects, views: how many held-out objects, and target views of each.
        kinds: of the objects; None takes what :func:`evaluated_kinds` says.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """
    samples = scene_samples(objects, views, pipe.image_size, evaluated_kinds(pipe, kinds))
    return predict(pipe, setting, samples)


def predict(
    pipe: Zero123Pipeline, setting: Setting, samples: Iterable[Sample]
) -> Iterator[Prediction]:
    """Predict and score the views of one sample after the other."""
    for sample in samples:
        started = time.perf_counter()
        views = predict_views(pipe, setting, sample)
        seconds = time.perf_counter() - started
        scores = score_predictions(sample, {"model": views, **baseline_predictions(sample)})
        yield Prediction(sample, views, scores, seconds)


def predict_views(pipe: Zero123Pipeline, setting: Setting, sample: Sample) -> Tensor:
    """Make the model's views of all targets, ``[N, 3, S, S]`` in [0, 1], on the CPU."""
    source, poses = sample.condition_pose, sample.target_poses
    return predicted_views(pipe, setting, sample.condition, source, poses, sample.seed)


def predicted_views(
    pipe: Zero123Pipeline,
    setting: Setting,
    condition: Tensor,
    source: Pose,
    poses: Sequence[Pose],
    seed: int,
) -> Tensor:
    """Make a model's views from some cameras, ``[N, 3, S, S]`` in [0, 1], on the CPU.

    Args:
        condition: the input ``[3, S, S]`` in [-1, 1] on white.
        source: its camera.
        poses: of the views.
        seed: of the object; its noise follows from this and the setting's.
    """
    noise = np.random.SeedSequence([setting.seed, seed]).generate_state(1)
    made: Any = pipe(
        condition,
        [pose.relative_to(source) for pose in poses],
        num_inference_steps=setting.steps,
        guidance_scale=setting.guidance,
        sampler=setting.sampler,
        generator=torch.Generator().manual_seed(int(noise[0])),
        condition_elevation_deg=source.elevation_deg,
        output_type="pt",
        return_dict=False,
    )[0]
    return made.cpu()


def baseline_predictions(sample: Sample) -> dict[str, Tensor]:
    """Give each of :data:`BASELINES`, one image ``[3, S, S]`` in [0, 1] for all views."""
    same = (sample.condition + 1) / 2
    return dict(zip(BASELINES, (same, torch.ones_like(same), sample.mean), strict=True))
