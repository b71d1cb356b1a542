"""Stable Diffusion image variations as what Zero123's training begins from.

The UNet takes 4 channels there and is given no camera. Its first convolution is widened by zeros
for the concatenated latent, and the camera projection is the identity on CLIP's embedding, so the
model that training begins with does what the image variations do, whatever the pose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.canonical import (
    Checkpoint,
    Part,
    check_fit,
    empty_network,
    make_scheduler,
)
from zero123lib.diffusion.checkpoints.errors import MismatchedCheckpointError
from zero123lib.diffusion.checkpoints.folders import read_part, read_scheduler
from zero123lib.diffusion.checkpoints.original import clip_config, read_parts
from zero123lib.diffusion.checkpoints.original_config import read_configs
from zero123lib.diffusion.checkpoints.parts import PARTS
from zero123lib.diffusion.checkpoints.weights import open_tensors
from zero123lib.diffusion.model import CameraProjection

_CONV_IN = "conv_in.weight"
_UPDATES = f"{names.EMA}num_updates"


@dataclass(frozen=True, eq=False)
class Averaged:
    """The running average that a file has of its UNet's weights.

    Attributes:
        part: the UNet with them.
        updates: of the average so far; the official code counts on from there, so that its decay
            does not warm up again and the average is not forgotten at once.
    """

    part: Part
    updates: int


def read_variations(
    path: Path, original_config: str | Path | Mapping[str, Any] | None = None
) -> tuple[Checkpoint, Averaged | None]:
    """Read image variations, in either layout, as a Zero123 model before its training.

    Args:
        path: a diffusers folder, or an original file.
        original_config: the official YAML, as a path or parsed, of an original file of other
            sizes than the published ones.

    Returns:
        The model, and the running average of the UNet's weights, where the file has one.

    Raises:
        CheckpointError: see :mod:`zero123lib.diffusion.checkpoints.errors`.
        ValueError: ``original_config`` is no such config.
    """
    if path.is_dir():
        parts = {name: read_part(name, path / name, None, path) for name in PARTS[:-1]}
        scheduler, average, updates = read_scheduler(path), None, 0
    else:
        tensors, configs = open_tensors(path), read_configs(original_config)
        configs["unet"] |= {"in_channels": configs["unet"]["out_channels"]}
        configs["image_encoder"] = clip_config(tensors, path)
        parts, average = read_parts(tensors, configs, path, averages=True)
        scheduler = make_scheduler(configs["scheduler"], path)
        updates = max(0, int(tensors[_UPDATES])) if _UPDATES in tensors else 0
    layout = "diffusers" if path.is_dir() else "original"
    clip: Any = parts["image_encoder"].network
    width = clip.config.projection_dim
    projection = {"embedding_dim": width, "additional_embeddings": 4}
    parts["camera_projection"] = Part(
        empty_network("camera_projection", projection, path),
        CameraProjection(**projection).state_dict(),
    )
    parts["unet"] = _widened(parts["unet"], path)
    check_fit(parts, path)
    averaged = None if average is None else Averaged(_widened(average, path), updates)
    return Checkpoint(path, parts, scheduler, layout=layout), averaged


def _widened(part: Part, source: Path) -> Part:
    """Return the UNet with twice the input channels, the second half of no effect."""
    network: Any = part.network
    channels, latents = network.config["in_channels"], network.config["out_channels"]
    if channels != latents:
        raise MismatchedCheckpointError(
            "source",
            f"image variations, whose UNet takes the {latents} channels that come out",
            f"{channels} in {str(source)!r}",
        )
    config = {**network.config, "in_channels": 2 * latents}
    weights = dict(part.weights)
    # A weight of a shape that cannot be widened stays one that fits no network.
    if _CONV_IN in weights and weights[_CONV_IN].ndim == 4:
        first = weights[_CONV_IN]
        weights[_CONV_IN] = torch.cat([first, torch.zeros_like(first)], 1)
    return Part(empty_network("unet", config, source), weights)
