"""Stable Diffusion image variations as what Zero123's training begins from.

The UNet takes 4 channels there and is given no camera. Its first convolution is widened by zeros
for the concatenated latent, and the camera projection is the identity on CLIP's embedding, so the
model that training begins with does what the image variations do, whatever the pose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
from zero123lib.diffusion.checkpoints.original import (
    averaged_origins,
    clip_config,
    original_origins,
    refuse_leftovers,
)
from zero123lib.diffusion.checkpoints.original_config import read_configs
from zero123lib.diffusion.checkpoints.weights import open_tensors
from zero123lib.diffusion.model import CameraProjection

_PARTS = ("unet", "vae", "image_encoder")
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
        parts = {name: read_part(name, path / name, None, path) for name in _PARTS}
        scheduler, averaged = read_scheduler(path), None
    else:
        parts, averaged = _read_original(path, original_config)
        scheduler = make_scheduler(read_configs(original_config)["scheduler"], path)
    layout = "diffusers" if path.is_dir() else "original"
    clip: Any = parts["image_encoder"].network.config
    projection = {"embedding_dim": clip.projection_dim, "additional_embeddings": 4}
    parts["camera_projection"] = Part(
        empty_network("camera_projection", projection, path),
        CameraProjection(**projection).state_dict(),
    )
    parts["unet"] = _widened(parts["unet"], path)
    check_fit(parts, path)
    return Checkpoint(path, parts, scheduler, layout=layout), averaged


def _read_original(
    path: Path, original_config: str | Path | Mapping[str, Any] | None
) -> tuple[dict[str, Part], Averaged | None]:
    tensors = open_tensors(path)
    configs = read_configs(original_config)
    configs["unet"] |= {"in_channels": configs["unet"]["out_channels"]}
    configs["image_encoder"] = clip_config(tensors, path)
    networks = {name: empty_network(name, configs[name], path) for name in _PARTS}
    origins = original_origins(networks)
    refuse_leftovers(tensors, origins, path)
    averaged = averaged_origins(origins["unet"], tensors, path)
    parts = {
        name: Part(network, names.Renamed(tensors, origins[name]))
        for name, network in networks.items()
    }
    if averaged is None:
        return parts, None
    again = empty_network("unet", configs["unet"], path)
    part = _widened(Part(again, names.Renamed(tensors, averaged)), path)
    updates = int(tensors[_UPDATES]) if _UPDATES in tensors else 0
    return parts, Averaged(part, max(0, updates))


def _widened(part: Part, source: Path) -> Part:
    """The UNet with twice the input channels, the second half of no effect."""
    network: Any = part.network
    channels, latents = network.config["in_channels"], network.config["out_channels"]
    if channels != latents:
        raise MismatchedCheckpointError(
            "source",
            f"image variations, whose UNet takes the {latents} channels that come out",
            f"{channels} in {str(source)!r}",
        )
    config = {**network.config, "in_channels": 2 * latents}
    return Part(empty_network("unet", config, source), _Widened(part.weights))


class _Widened(Mapping[str, Tensor]):
    """A UNet's weights, the first convolution's with as many channels again, zeros."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Tensor:
        weight = self._weights[name]
        # A weight of a shape that cannot be widened stays one that fits no network.
        if name == _CONV_IN and weight.ndim == 4:
            return torch.cat([weight, torch.zeros_like(weight)], 1)
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)
