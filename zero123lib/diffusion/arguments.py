"""Checks of the pipeline's arguments: each error names one, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.views.poses import RelativePose

# Poses in one batch of the UNet, where guidance doubles the rows, and of the VAE.
MAX_BATCH_SIZE = 8

# What a step's callback can ask for.
TENSOR_INPUTS = ("latents",)


def batch_size(max_batch_size: int | None) -> int:
    if max_batch_size is None:
        return MAX_BATCH_SIZE
    if not is_whole(max_batch_size) or max_batch_size < 1:
        raise ArgumentError(
            "max_batch_size", "a whole number of at least 1, or None", repr(max_batch_size)
        )
    return int(max_batch_size)


def is_whole(value: Any) -> bool:
    """Whether it is an integer, numpy's included, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_poses(poses: Any) -> None:
    if isinstance(poses, (str, Mapping)) or not isinstance(poses, Sequence):
        raise ArgumentError("poses", "a list of RelativePose", str(type(poses).__name__))
    if not poses:
        raise ArgumentError("poses", "at least one RelativePose", "an empty list")
    for pose in poses:
        if not isinstance(pose, RelativePose):
            raise ArgumentError("poses", "a list of RelativePose", f"one of {type(pose).__name__}")


def check_number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= float(value) <= high:
        bounds = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ArgumentError(name, f"a number {bounds}", repr(value))


def check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        names = ", ".join(map(repr, get_args(choices)))
        raise ArgumentError(name, f"one of {names}", repr(value))


def check_generator(generator: Any, count: int) -> None:
    generators = generator if isinstance(generator, list) else [generator]
    if not all(g is None or isinstance(g, torch.Generator) for g in generators):
        kinds = ", ".join(sorted({type(g).__name__ for g in generators}))
        raise ArgumentError("generator", "a torch.Generator or a list of them", str(kinds))
    if isinstance(generator, list) and len(generator) != count:
        raise ArgumentError("generator", f"one per pose ({count})", f"a list of {len(generator)}")


def check_tensor_inputs(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in TENSOR_INPUTS]
    if unknown:
        raise ArgumentError("callback_on_step_end_tensor_inputs", "['latents']", str(list(names)))


def checked_latents(latents: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        got = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ArgumentError("latents", f"a tensor {list(shape)}", str(got))
    if not bool(torch.isfinite(latents).all()):
        raise ArgumentError("latents", "finite values", "NaN or infinity")
    return latents.float()
