"""How the verbs of `zero123 evaluate` ask a model: once, or in several ways."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from zero123lib._choices import Sampler
from zero123lib._errors import ArgumentError
from zero123lib.cli.options import Guidance, Model, Seed, Steps, renaming

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.evaluation import Setting

ITS_VIEWS = Group("Its views", sort_key=2)


@Parameter(name="*", group=ITS_VIEWS)
@dataclass(frozen=True)
class Asking:
    """How the model is asked.

    Attributes:
        num_inference_steps: denoising steps (the model's own).
        guidance_scale: 1 is no guidance (the model's own).
        sampler: how noise becomes views.
        seed: of the noise.
    """

    num_inference_steps: Annotated[Steps | None, Parameter(name="--steps")] = None
    guidance_scale: Annotated[Guidance | None, Parameter(name="--guidance")] = None
    sampler: Sampler = "ddim"
    seed: Seed = 0

    def grid(
        self, pipe: Zero123Pipeline, steps: Sequence[int | None], guidances: Sequence[float | None]
    ) -> list[Setting]:
        """Pair each number of steps with each guidance; None is what the model recommends."""
        from zero123lib.diffusion.samplers import step_count
        from zero123lib.diffusion.schedule import Schedule
        from zero123lib.evaluation import Setting

        schedule = Schedule.from_scheduler(pipe.scheduler)
        pairs = itertools.product(steps, guidances)
        found = [Setting.of(pipe, *pair, self.sampler, self.seed) for pair in pairs]
        for setting in found:
            step_count(setting.sampler, schedule, setting.steps)
        return list(dict.fromkeys(found))

    def setting(self, pipe: Zero123Pipeline) -> Setting:
        """Say how the model is asked; what is not given is as it recommends."""
        return self.grid(pipe, [self.num_inference_steps], [self.guidance_scale])[0]


@Parameter(name="*", group=ITS_VIEWS)
@dataclass(frozen=True)
class Sweeping(Asking):
    """How the model is asked, in one way or in several.

    Attributes:
        sweep_steps: curves against these numbers of steps.
        sweep_guidance: curves against these guidance scales.
    """

    sweep_steps: list[Steps] | None = None
    sweep_guidance: list[Guidance] | None = None

    @property
    def sweeps(self) -> bool:
        """Tell whether curves are asked for."""
        return bool(self.sweep_steps or self.sweep_guidance)

    def check(self) -> None:
        """Raise ArgumentError where one number and several of a kind are given."""
        if self.num_inference_steps is not None and self.sweep_steps is not None:
            raise ArgumentError("sweep_steps", "no --steps beside it", "one")
        if self.guidance_scale is not None and self.sweep_guidance is not None:
            raise ArgumentError("sweep_guidance", "no --guidance beside it", "one")

    def settings(self, pipe: Zero123Pipeline) -> list[Setting]:
        """Return one, or the grid of a sweep; what is not given is as the model recommends."""
        swept = "sweep_steps" if self.sweep_steps else "num_inference_steps"
        with renaming(num_inference_steps=swept):
            return self.grid(
                pipe,
                self.sweep_steps or [self.num_inference_steps],
                self.sweep_guidance or [self.guidance_scale],
            )


def loaded(model: Model) -> Zero123Pipeline:
    """Load the model, and say which it is."""
    from zero123lib.diffusion.card import about_model

    pipe = model.load()
    pipe.set_progress_bar_config(disable=True)
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    print(f"model {about_model(pipe)}", flush=True)
    return pipe


def model_words(model: Model) -> list[str]:
    """Return the options that name a model, as they are written on the command line."""
    words = ["--model", model.model or "tiny"]
    if model.reading.encoding != "auto":
        words += ["--encoding", model.reading.encoding]
    if model.reading.original_config is not None:
        words += ["--original-config", str(model.reading.original_config)]
    return words
