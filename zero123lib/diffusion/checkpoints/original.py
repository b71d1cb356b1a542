"""Reader of the original files: `.ckpt` and `.safetensors` in the layout of the official code.

Sizes of the UNet and of the VAE come from the official YAML, or are the published ones; those of
CLIP's image tower and of the camera projection follow from their tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.canonical import (
    Checkpoint,
    Part,
    check_fit,
    empty_network,
    make_scheduler,
)
from zero123lib.diffusion.checkpoints.errors import MismatchedCheckpointError
from zero123lib.diffusion.checkpoints.foreign import refuse_foreign_tensors
from zero123lib.diffusion.checkpoints.limits import checked_settings
from zero123lib.diffusion.checkpoints.original_config import read_configs
from zero123lib.diffusion.checkpoints.parts import PARTS
from zero123lib.diffusion.checkpoints.weights import open_tensors

# Under these keys our own files say in their metadata what the tensors alone cannot tell.
SETTINGS_KEY = "zero123lib"


def read_original(
    path: Path, original_config: str | Path | Mapping[str, Any] | None, use_ema: bool
) -> Checkpoint:
    """Read an original file.

    Args:
        path: the file.
        original_config: the official YAML, as a path or parsed; None for the published sizes.
        use_ema: take the running average of the UNet's weights, as the official demo does; where
            the file has none, the weights themselves, and a notice.

    Raises:
        CheckpointError: see :mod:`zero123lib.diffusion.checkpoints.errors`.
        ValueError: ``original_config`` is no such config.
    """
    tensors = open_tensors(path)
    refuse_foreign_tensors(tensors, path)
    configs = read_configs(original_config)
    configs["image_encoder"] = clip_config(tensors, path)
    width, joined = _shape(tensors, f"{names.PROJECTION}weight", 2, path)
    configs["camera_projection"] = {
        "embedding_dim": width,
        "additional_embeddings": joined - width,
    }
    parts, averaged = read_parts(tensors, configs, path, use_ema)
    notices: tuple[str, ...] = ()
    if averaged is not None:
        parts["unet"] = averaged
    elif use_ema:
        notices = (
            f"{path.name} has no running average (EMA) of the UNet's weights; "
            "the weights themselves are used",
        )
    check_fit(parts, path)
    scheduler = make_scheduler(configs["scheduler"], path)
    return Checkpoint(path, parts, scheduler, _settings(path), notices, "original")


def read_parts(
    tensors: Mapping[str, Tensor], configs: Mapping[str, Any], path: Path, averages: bool
) -> tuple[dict[str, Part], Part | None]:
    """Return parts of an original file, and the UNet with its running average, where the file has
    one.

    Args:
        tensors: of the file.
        configs: of the parts to take, and of others.
        path: what error messages name.
        averages: whether to look for averages.

    Raises:
        CheckpointError: the sizes are others, or some averages are missing.
    """
    networks = {name: empty_network(name, configs[name], path) for name in PARTS if name in configs}
    origins = original_origins(networks)
    _refuse_leftovers(tensors, origins, path)
    parts = {
        name: Part(network, names.renamed(tensors, origins[name]))
        for name, network in networks.items()
    }
    weights = _averages(origins["unet"], tensors, path) if averages else None
    return parts, None if weights is None else Part(networks["unet"], weights)


def original_origins(networks: Mapping[str, nn.Module]) -> dict[str, dict[str, names.Origin]]:
    """Return where each weight of each network lies in an original file; of UNet and VAE at
    least."""
    unet: Any = networks["unet"]
    vae: Any = networks["vae"]
    attended = {i for i, block in enumerate(unet.up_blocks) if hasattr(block, "attentions")}
    layers, blocks = int(unet.config["layers_per_block"]), len(vae.config["block_out_channels"])
    origins: dict[str, Callable[[str], names.Origin]] = {
        "unet": lambda name: names.unet_origin(name, layers, attended),
        "vae": lambda name: names.vae_origin(name, blocks),
        "image_encoder": names.clip_origin,
        "camera_projection": names.projection_origin,
    }
    return {
        part: {name: origins[part](name) for name in network.state_dict()}
        for part, network in networks.items()
    }


def _averages(
    origins: Mapping[str, names.Origin], tensors: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor] | None:
    """Return the UNet's weights among the averages; None where the file has none."""
    averaged = {name: names.Origin(names.ema_name(o.name)) for name, o in origins.items()}
    missing = [o.name for o in averaged.values() if o.name not in tensors]
    if len(missing) == len(averaged):
        return None
    if missing:
        raise MismatchedCheckpointError(
            "source",
            "a running average of every UNet weight",
            f"{str(path)!r}, which lacks {len(missing)} of {len(averaged)}, such as "
            f"{missing[0]}; use_ema=False reads the weights themselves",
        )
    return names.renamed(tensors, averaged)


def _refuse_leftovers(
    tensors: Mapping[str, Tensor], origins: Mapping[str, Mapping[str, names.Origin]], path: Path
) -> None:
    """Refuse a weight of these networks that none takes: the sizes are wrong."""
    known = {origin.name for part in origins.values() for origin in part.values()}
    prefixes = (names.UNET, names.VAE, names.CLIP, names.PROJECTION)
    # The discriminator and the perceptual network that the autoencoder was trained with.
    unused = f"{names.VAE}loss."
    left = [
        name
        for name in tensors
        if name.startswith(prefixes) and name not in known and not name.startswith(unused)
    ]
    if left:
        raise MismatchedCheckpointError(
            "source",
            "a model of the published sizes or of original_config's",
            f"{str(path)!r} with {len(left)} weights beyond them, such as {left[0]}",
        )


def _settings(path: Path) -> dict[str, Any]:
    """Return the pipeline's settings that a file of our own carries in its metadata."""
    try:
        with safe_open(path, framework="numpy") as file:  # "pt" would map it all at once
            metadata = file.metadata() or {}
        settings = json.loads(metadata.get(SETTINGS_KEY, "{}"))
    except (SafetensorError, ValueError, RecursionError):  # a pickle, or somebody else's metadata
        return {}
    return checked_settings(settings, path) if isinstance(settings, dict) else {}


def _shape(tensors: Mapping[str, Tensor], name: str, ndim: int, path: Path) -> tuple[int, ...]:
    tensor = tensors.get(name)
    if tensor is None or tensor.ndim != ndim:
        got = "none" if tensor is None else list(tensor.shape)
        raise MismatchedCheckpointError(
            "source", f"{name} with {ndim} axes", f"{got} in {str(path)!r}"
        )
    return tuple(tensor.shape)


def clip_config(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return sizes of OpenAI's CLIP image tower, which has heads of 64 and a fourfold hidden
    layer."""
    width, channels, patch, _ = _shape(tensors, f"{names.CLIP}conv1.weight", 4, path)
    positions, _ = _shape(tensors, f"{names.CLIP}positional_embedding", 2, path)
    _, projected = _shape(tensors, f"{names.CLIP}proj", 2, path)
    hidden, _ = _shape(tensors, f"{names.CLIP}transformer.resblocks.0.mlp.c_fc.weight", 2, path)
    start = f"{names.CLIP}transformer.resblocks."
    layers = {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}
    return {
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // 64),
        "num_channels": channels,
        "image_size": patch * math.isqrt(max(0, positions - 1)),
        "patch_size": patch,
        "projection_dim": projected,
        "hidden_act": "quick_gelu",
    }
