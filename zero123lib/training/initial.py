"""Where the weights of a run start from: a pipeline, image variations, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints import sources
from zero123lib.diffusion.checkpoints.build import fill
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.loading import load_components
from zero123lib.diffusion.checkpoints.variations import read_variations
from zero123lib.diffusion.model import disable_one_token, enable_one_token
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.config import TrainConfig
from zero123lib.training.recipe import tiny_pipeline


@dataclass(frozen=True, eq=False)
class Start:
    """A pipeline with the weights that training begins from, float32 on the CPU.

    Attributes:
        averages: of the UNet's weights, by their names there; None where the running average
            starts from the weights themselves.
        updates: that went into the averages already.
    """

    pipe: Zero123Pipeline
    averages: dict[str, Tensor] | None = None
    updates: int = 0


def load_initial(config: TrainConfig) -> Start:
    """Load or make the starting weights.

    Raises:
        ValueError: there is no such model, or it has another size than ``data.size``.
    """
    initial, averages, updates = config.initial, None, 0
    if initial.image_variations is not None:
        found = _from_variations(initial.image_variations, initial.original_config)
        pipe, averages, updates = found.pipe, found.averages, found.updates
        if config.data.size is not None:
            _resize(pipe, config.data.size)
    elif initial.architecture is not None:
        pipe = tiny_pipeline(initial.architecture, config.seed)
    else:
        assert initial.source is not None
        pipe = Zero123Pipeline.from_pretrained(
            initial.source, initial.original_config, torch_dtype=torch.float32
        )
    if config.data.size not in (None, pipe.image_size):
        raise ArgumentError(
            "data.size", f"{pipe.image_size}, the initial model's", str(config.data.size)
        )
    (enable_one_token if config.trained.one_token else disable_one_token)(pipe.unet)
    return Start(pipe, averages, updates)


def _from_variations(source: str, original_config: str | None) -> Start:
    found = sources.find(source)
    checkpoint, averaged = read_variations(found.path, original_config)
    components = load_components(checkpoint, torch.float32, "cpu", {})
    pipe = Zero123Pipeline(**components, encoding="zero123", licence=found.licence)
    if averaged is None:
        return Start(pipe)
    again = Checkpoint(found.path, {"unet": averaged.part}, None, layout="original")
    return Start(pipe, dict(fill(again, "unet").state_dict()), averaged.updates)


def _resize(pipe: Zero123Pipeline, size: int) -> None:
    """Take images of another size: Stable Diffusion's networks have no size of their own."""
    unet: Any = pipe.unet
    compression = pipe.image_size // pipe.latent_shape[-1]
    if size % compression:
        raise ArgumentError("data.size", f"a multiple of {compression}", str(size))
    unet.register_to_config(sample_size=size // compression)
