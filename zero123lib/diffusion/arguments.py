"""Checks of the pipeline's arguments: each error names one, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, get_args

import torch
from torch import Tensor

from zero123lib.views.poses import RelativePose

# Poses in one batch of the UNet, where guidance doubles the rows, and of the VAE.
MAX_BATCH_SIZE = 8

# What a step's callback can ask for.
TENSOR_INPUTS = ("latents",)


def batch_size(max_batch_size: int | None) -> int:
    if max_batch_size is None:
        return MAX_BATCH_SIZE
    if not is_whole(max_batch_size) or max_batch_size < 1:
        raise ValueError(
            "max_batch_size: expected a whole number of at least 1, or None, "
            f"got {max_batch_size!r}"
        )
    return int(max_batch_size)


def is_whole(value: Any) -> bool:
    """Whether it is an integer, numpy's included, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_poses(poses: Any) -> None:
    if isinstance(poses, (str, Mapping)) or not isinstance(poses, Sequence):
        raise ValueError(f"poses: expected a list of RelativePose, got {type(poses).__name__}")
    if not poses:
        raise ValueError("poses: expected at least one RelativePose, got an empty list")
    for pose in poses:
        if not isinstance(pose, RelativePose):
            raise ValueError(
                f"poses: expected a list of RelativePose, got one of {type(pose).__name__}"
            )


def check_number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= float(value) <= high:
        bounds = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"{name}: expected a number {bounds}, got {value!r}")


def check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        names = ", ".join(map(repr, get_args(choices)))
        raise ValueError(f"{name}: expected one of {names}, got {value!r}")


def check_generator(generator: Any, count: int) -> None:
    generators = generator if isinstance(generator, list) else [generator]
    if not all(g is None or isinstance(g, torch.Generator) for g in generators):
        kinds = ", ".join(sorted({type(g).__name__ for g in generators}))
        raise ValueError(f"generator: expected a torch.Generator or a list of them, got {kinds}")
    if isinstance(generator, list) and len(generator) != count:
        raise ValueError(
            f"generator: expected one per pose ({count}), got a list of {len(generator)}"
        )


def check_tensor_inputs(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in TENSOR_INPUTS]
    if unknown:
        raise ValueError(
            f"callback_on_step_end_tensor_inputs: expected ['latents'], got {list(names)}"
        )


def checked_latents(latents: Any, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(latents, Tensor) or tuple(latents.shape) != shape:
        got = list(latents.shape) if isinstance(latents, Tensor) else type(latents).__name__
        raise ValueError(f"latents: expected a tensor {list(shape)}, got {got}")
    if not bool(torch.isfinite(latents).all()):
        raise ValueError("latents: expected finite values, got NaN or infinity")
    return latents.float()
