"""A model's answers to held-out questions, beside three that need no model."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import Sampler
from zero123lib.evaluation.questions import Question, held_out_questions, mean_training_picture
from zero123lib.evaluation.scores import ViewScore, score_answers
from zero123lib.scenes import KINDS, check_kinds

# input: the input unchanged;  blank: a white picture;  mean: the mean of training pictures
TRIVIAL = ("input", "blank", "mean")


@dataclass(frozen=True)
class Setting:
    """How a model is asked.

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
        """What is None is as the model recommends."""
        return cls(
            pipe.config["num_inference_steps"] if steps is None else steps,
            pipe.config["guidance_scale"] if guidance is None else guidance,
            sampler,
            seed,
        )


@dataclass(frozen=True, eq=False)
class Answered:
    """A question with its answers.

    Attributes:
        made: the model's views, ``[N, 3, S, S]`` in [0, 1].
        scores: of ``"model"`` and of each of :data:`TRIVIAL`, view by view.
        seconds: that the model took.
    """

    question: Question
    made: Tensor
    scores: Mapping[str, Sequence[ViewScore]]
    seconds: float


def kinds_asked(pipe: Zero123Pipeline, kinds: Collection[str] | None = None) -> list[str]:
    """The kinds of objects that a model is asked about: those given, else its own, else all.

    Raises:
        ValueError: one of them is unknown, or none is given.
    """
    own = list(pipe.config["scene_kinds"] or KINDS)
    asked = own if kinds is None else list(kinds)
    try:
        check_kinds(asked)
    except ArgumentError as error:
        if kinds is not None:
            raise
        raise error.renamed(f"scene_kinds of {pipe.model_name}") from error
    return [kind for kind in KINDS if kind in asked]


def answer_scenes(
    pipe: Zero123Pipeline,
    setting: Setting,
    objects: int,
    views: int,
    kinds: Collection[str] | None = None,
) -> Iterator[Answered]:
    """Ask about one object after the other.

    Args:
        objects, views: how many held-out objects, and target views of each.
        kinds: of the objects; None takes what :func:`kinds_asked` says.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """
    questions = held_out_questions(objects, views, pipe.image_size, kinds_asked(pipe, kinds))
    return (_answered(pipe, setting, question) for question in questions)


def _answered(pipe: Zero123Pipeline, setting: Setting, question: Question) -> Answered:
    started = time.perf_counter()
    made = make_views(pipe, setting, question)
    seconds = time.perf_counter() - started
    scores = score_answers(question, {"model": made, **trivial_answers(question)})
    return Answered(question, made, scores, seconds)


def make_views(pipe: Zero123Pipeline, setting: Setting, question: Question) -> Tensor:
    """The model's views of all targets, ``[N, 3, S, S]`` in [0, 1], on the CPU."""
    noise = np.random.SeedSequence([setting.seed, question.seed]).generate_state(1)
    made: Any = pipe(
        question.condition,
        [pose.relative_to(question.condition_pose) for pose in question.target_poses],
        num_inference_steps=setting.steps,
        guidance_scale=setting.guidance,
        sampler=setting.sampler,
        generator=torch.Generator().manual_seed(int(noise[0])),
        condition_elevation_deg=question.condition_pose.elevation_deg,
        output_type="pt",
        return_dict=False,
    )[0]
    return made.cpu()


def trivial_answers(question: Question) -> dict[str, Tensor]:
    """The answers of :data:`TRIVIAL`, each one picture ``[3, S, S]`` in [0, 1] for all views."""
    same = (question.condition + 1) / 2
    mean = mean_training_picture(same.shape[-1], question.kinds)
    return dict(zip(TRIVIAL, (same, torch.ones_like(same), mean), strict=True))
