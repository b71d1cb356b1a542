"""Checks of the pipeline's arguments: each error names one, what was expected and what came."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import RelativePose

# Poses in one batch of the UNet, where guidance doubles the rows, and of the VAE.
MAX_BATCH_SIZE = 8

# What a step's callback can ask for.
TENSOR_INPUTS = ("latents",)


def batch_size(max_batch_size: int | None) -> int:
    """Return the bound on a batch; None means :data:`MAX_BATCH_SIZE`."""
    if max_batch_size is None:
        return MAX_BATCH_SIZE
    if not is_whole(max_batch_size) or max_batch_size < 1:
        expected = "a whole number of at least 1, or None"
        raise ArgumentError("max_batch_size", expected, repr(max_batch_size))
    return int(max_batch_size)


def is_whole(value: Any) -> bool:
    """Tell whether it is an integer, numpy's included, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_poses(poses: Any, name: str = "poses") -> None:
    """Raise ArgumentError unless it is a list of poses that is not empty."""
    expected = "a list of RelativePose"
    if isinstance(poses, (str, Mapping)) or not isinstance(poses, Sequence):
        raise ArgumentError(name, expected, type(poses).__name__)
    if not poses:
        raise ArgumentError(name, "at least one RelativePose", "an empty list")
    for pose in poses:
        if not isinstance(pose, RelativePose):
            raise ArgumentError(name, expected, f"one of {type(pose).__name__}")


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raise ArgumentError unless it is a finite number from low to high."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= float(value) <= high:
        bounds = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ArgumentError(name, f"a number {bounds}", repr(value))


def check_whole(name: str, value: Any, least: int = 0) -> None:
    """Raise ArgumentError unless it is a whole number, of 64 bits as seeds are, and not below."""
    if not is_whole(value) or not least <= value < 2**63:
        raise ArgumentError(name, f"a whole number of at least {least}", repr(value))


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise ArgumentError unless it is one of the words of a ``Literal``."""
    if value not in get_args(choices):
        names = ", ".join(map(repr, get_args(choices)))
        raise ArgumentError(name, f"one of {names}", repr(value))


def check_generator(generator: Any, count: int) -> None:
    """Raise ArgumentError unless it is None, a generator, or a list of one per pose."""
    generators = generator if isinstance(generator, list) else [generator]
    if not all(g is None or isinstance(g, torch.Generator) for g in generators):
        kinds = ", ".join(sorted({type(g).__name__ for g in generators}))
        raise ArgumentError("generator", "a torch.Generator or a list of them", kinds)
    if isinstance(generator, list) and len(generator) != count:
        got = f"a list of {len(generator)}"
        raise ArgumentError("generator", f"one per pose ({count})", got)


def check_tensor_inputs(names: Sequence[str]) -> None:
    """Raise ArgumentError unless a step has all tensors that a callback asks for."""
    if any(name not in TENSOR_INPUTS for name in names):
        expected = str(list(TENSOR_INPUTS))
        raise ArgumentError("callback_on_step_end_tensor_inputs", expected, str(list(names)))


def checked_latents(latents: Any, shape: tuple[int, ...]) -> Tensor:
    """Return latents in float32 if they are finite and of a shape, else raise ArgumentError."""
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        got = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ArgumentError("latents", f"a tensor {list(shape)}", str(got))
    if not bool(torch.isfinite(latents).all()):
        raise ArgumentError("latents", "finite values", "NaN or infinity")
    return latents.float()


def checked_timesteps(timesteps: Any, total: int) -> list[int]:
    """Return timesteps as numbers if they fall within 0 and T - 1, else raise ArgumentError."""
    found = timesteps.tolist() if isinstance(timesteps, (Tensor, np.ndarray)) else timesteps
    falls = isinstance(found, Sequence) and bool(found) and all(map(is_whole, found))
    falls = falls and all(a > b for a, b in itertools.pairwise([total, *found, -1]))
    if not falls:
        expected = f"whole numbers from {total - 1} down to 0, each below the one before"
        raise ArgumentError("timesteps", expected, reprlib.repr(timesteps))
    return [int(t) for t in found]
