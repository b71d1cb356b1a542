"""What runs: a sampler by its name, or any diffusers scheduler, as diffusers' pipelines run theirs.

The samplers of :mod:`zero123lib.diffusion.samplers` take a checkpoint's noise levels alone; here
all of a scheduler's config counts: its spacing, its solver, its own noise.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from inspect import signature
from typing import Any

import torch
from diffusers import SchedulerMixin
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion import arguments, samplers
from zero123lib.diffusion.samplers import Model, Noise, SampleStep, Steps
from zero123lib.diffusion.schedule import Schedule


def prepared(
    scheduler: Any,
    schedule: Schedule,
    num_inference_steps: int,
    timesteps: Sequence[int] | None = None,
    sigmas: Sequence[float] | None = None,
    device: torch.device | None = None,
) -> Any:
    """Return a copy of a scheduler, set to the steps that are asked for.

    A scheduler remembers its last steps; runs side by side need one each.

    Args:
        schedule: the scheduler's.
        num_inference_steps: of no effect beside ``timesteps`` or ``sigmas``.
        timesteps, sigmas: for schedulers whose ``set_timesteps`` takes them.

    Raises:
        ArgumentError: the scheduler has no such steps.
    """
    own = copy.deepcopy(scheduler)
    kind, known = type(scheduler).__name__, signature(own.set_timesteps).parameters
    custom = {"timesteps": timesteps, "sigmas": sigmas}
    custom = {name: list(values) for name, values in custom.items() if values is not None}
    for name, values in custom.items():
        if name not in known:
            raise ArgumentError(name, f"None, as a {kind} takes none", repr(values))
    steps: dict[str, Any] = custom
    if not custom:
        steps = {"num_inference_steps": len(schedule.timesteps(num_inference_steps))}
    try:
        own.set_timesteps(**steps, device=device)
    except (TypeError, ValueError, NotImplementedError) as error:
        (name, value), *_ = steps.items()
        reason = " ".join(str(error).split())
        raise ArgumentError(name, f"what a {kind} can be set to ({reason})", repr(value)) from error
    return own


def planned(
    what: Any,
    schedule: Schedule,
    num_inference_steps: int,
    eta: float = 0.0,
    *,
    timesteps: Sequence[int] | None = None,
    sigmas: Sequence[float] | None = None,
    generator: torch.Generator | list[torch.Generator] | None = None,
    device: torch.device | None = None,
) -> Callable[[Model, Tensor, Noise], Steps]:
    """Check what is asked of a sampler by its name or of a scheduler; nothing is drawn yet.

    Args:
        what: a :data:`zero123lib.diffusion.samplers.Sampler`, or a scheduler of diffusers.
        schedule: the model's.
        timesteps, sigmas: see :func:`prepared`; named samplers take no sigmas.
        generator: of the noise that a scheduler adds.

    Returns:
        What starts it, given a model, unit noise, and a source of noise for the named samplers.

    Raises:
        ArgumentError: there is no such sampler, or it has no such steps or no such noise.
    """
    if isinstance(what, SchedulerMixin):
        scheduler = prepared(what, schedule, num_inference_steps, timesteps, sigmas, device)
        options = _options(scheduler, eta, generator)
        return lambda model, x, _: Steps(
            run(scheduler, model, x, schedule, options), scheduler.timesteps
        )
    samplers.check_sampler(what, eta)
    if sigmas is not None:
        expected = f"None with the sampler {what!r}; put a scheduler that takes sigmas in place of "
        expected += "pipe.scheduler, and name no sampler"
        raise ArgumentError("sigmas", expected, repr(sigmas))
    samplers.timesteps_of(what, schedule, num_inference_steps, timesteps)
    return lambda model, x, noise: samplers.start(
        what, model, x, schedule, num_inference_steps, float(eta), noise, timesteps
    )


def _options(scheduler: Any, eta: float, generator: Any) -> dict[str, Any]:
    arguments.check_number("eta", eta, 0.0, 1.0)
    known = signature(scheduler.step).parameters
    if eta and "eta" not in known:
        raise ArgumentError("eta", f"0, as a {type(scheduler).__name__} takes none", repr(eta))
    options = {"eta": float(eta), "generator": generator}
    return {name: value for name, value in options.items() if name in known}


def run(
    scheduler: Any, model: Model, x: Tensor, schedule: Schedule, options: dict[str, Any]
) -> Generator[SampleStep, Tensor | None, None]:
    """Sample as a scheduler that is :func:`prepared` does.

    Args:
        model: see :mod:`zero123lib.diffusion.samplers`.
        x: unit noise ``[N, C, h, w]``.
        schedule: the model's, for what it sees in the noise where the scheduler does not tell.
        options: of the scheduler's ``step``.

    Yields:
        A :class:`SampleStep` per evaluation; its latents are in the scheduler's own scale, which
        for Euler's and others is ``x / alpha``.
    """
    x = x * scheduler.init_noise_sigma
    total = len(scheduler.timesteps)
    for index, t in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(x, t)
        output = model(seen, t)
        done = _stepped(scheduler, output, t, x, options)
        nearest = max(round(float(t)), 0)  # Karras's sigmas lie between timesteps
        predicted = getattr(done, "pred_original_sample", None)
        if predicted is None:
            predicted, _ = schedule.x0_and_eps(output, seen, nearest)
        x = done.prev_sample
        replaced = yield SampleStep(index, total, nearest, x, predicted)
        x = x if replaced is None else replaced


def _stepped(scheduler: Any, output: Tensor, t: Tensor, x: Tensor, options: dict[str, Any]) -> Any:
    try:
        return scheduler.step(output, t, x, **options)
    except (NotImplementedError, ValueError) as error:
        reason = " ".join(str(error).split())
        got = f"a {type(scheduler).__name__}, which says: {reason}"
        raise ArgumentError("scheduler", "one that can run this model", got) from error
