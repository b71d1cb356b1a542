"""The one form that every checkpoint is read into: empty networks, and where their weights lie.

A *part* is one network of the pipeline. It is made on torch's meta device, without memory, from
its config; its weights are named as the network names them, and read from their file one by one
when something asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import diffusers
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.checkpoints.errors import (
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.model import CameraProjection
from zero123lib.diffusion.patches import PatchAutoencoder

# The networks of a pipeline, and the classes that each may be.
NETWORKS: dict[str, tuple[type[Any], ...]] = {
    "unet": (UNet2DConditionModel,),
    "vae": (AutoencoderKL, PatchAutoencoder),
    "image_encoder": (CLIPVisionModelWithProjection,),
    "camera_projection": (CameraProjection,),
}


# diffusers: a folder with one subfolder per part;  original: one file, as the official code has it
Layout = Literal["diffusers", "original"]


@dataclass(frozen=True, eq=False)
class Part:
    """One network without memory, and its weights by the network's own names for them."""

    network: nn.Module
    weights: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A whole model, unread.

    Attributes:
        source: the file or folder.
        parts: one per name of :data:`NETWORKS`.
        scheduler: a diffusers scheduler.
        settings: what the file says of the pipeline's own settings, such as ``encoding``.
        notices: what the user should know of how it was read.
        layout: of the files.
    """

    source: Path
    parts: dict[str, Part]
    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    layout: Layout = "diffusers"


def empty_network(name: str, config: Mapping[str, Any], source: Path) -> nn.Module:
    """The network of a part, on the meta device, in evaluation mode.

    Args:
        name: one of :data:`NETWORKS`.
        config: as its folder's ``config.json`` has it; ``_class_name`` picks the class where
            there is a choice.
        source: what error messages name.

    Raises:
        UnsupportedCheckpointError: the config is of a class that no Zero123 model has.
        MismatchedCheckpointError: the config makes no network.
    """
    classes = {kind.__name__: kind for kind in NETWORKS[name]}
    wanted = config.get("_class_name", next(iter(classes)))
    # A projection's class has another name in every published port; its layer is the same.
    kind = NETWORKS[name][0] if len(classes) == 1 else classes.get(wanted)
    if kind is None or (name == "unet" and wanted != kind.__name__):
        raise UnsupportedCheckpointError(
            f"source: expected {name} to be {' or '.join(classes)}, got {wanted} in {str(source)!r}"
        )
    try:
        with init_empty_weights(include_buffers=False):
            if kind is CLIPVisionModelWithProjection:
                return kind(CLIPVisionConfig.from_dict(dict(config))).eval()
            return kind.from_config(dict(config)).eval()
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
    ) as error:
        raise MismatchedCheckpointError(
            f"source: expected a config that makes {name}, got {str(source)!r}: "
            f"{' '.join(str(error).split())}"
        ) from error


def make_scheduler(config: Mapping[str, Any], source: Path) -> Any:
    """A diffusers scheduler from its config, which names its class.

    Raises:
        UnsupportedCheckpointError: diffusers has no scheduler of that name.
    """
    name = config.get("_class_name", "DDIMScheduler")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise UnsupportedCheckpointError(
            f"source: expected one of diffusers' schedulers, got {name!r} in {str(source)!r}"
        )
    return kind.from_config(dict(config))  # pyright: ignore[reportAttributeAccessIssue]
