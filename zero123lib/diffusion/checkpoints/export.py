"""From an unread checkpoint to weight files: shards of a part, or one file in the original layout.

Each file is written under ``NAME.partial``, flushed to the disk and renamed, so that what has its
final name is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.build import check_names, checked
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.original import SETTINGS_KEY, original_origins


def save_part(
    checkpoint: Checkpoint,
    name: str,
    folder: Path,
    dtype: torch.dtype | None,
    max_shard_bytes: int,
) -> Generator[tuple[str, int]]:
    """Write a part's config and weights as diffusers and transformers do.

    A shard that is there already is left as it is.

    Args:
        checkpoint: read shard by shard.
        name: of the part.
        folder: that exists.
        dtype: of the weights; None keeps each as it is.
        max_shard_bytes: of one file.

    Yields:
        Each file's name and the bytes of its weights, once it is there.
    """
    check_names(checkpoint, name)
    network: Any = checkpoint.parts[name].network
    if name == "image_encoder":
        network.config.architectures = [type(network).__name__]
        network.config.save_pretrained(folder)
    else:
        network.save_config(folder)
    stem = "model" if name == "image_encoder" else "diffusion_pytorch_model"
    groups = _groups(checkpoint, name, dtype, max_shard_bytes)
    places = {}
    for index, weights in enumerate(groups, 1):
        many = f"-{index:05d}-of-{len(groups):05d}" if len(groups) > 1 else ""
        file = f"{stem}{many}.safetensors"
        if not (folder / file).exists():
            _save(_read(checkpoint, name, weights, dtype), folder / file, {"format": "pt"})
        places |= dict.fromkeys(weights, file)
        yield file, _sum(checkpoint, name, weights, dtype)
    if len(groups) > 1:
        total = _sum(checkpoint, name, places, dtype)
        index_file = folder / f"{stem}.safetensors.index.json"
        content = {"metadata": {"total_size": total}, "weight_map": places}
        index_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_original(
    checkpoint: Checkpoint, out: Path, settings: Mapping[str, Any], dtype: torch.dtype | None
) -> int:
    """Write one ``.safetensors`` file in the layout of the official code.

    The UNet's weights are written twice, as weights and as their running average: the official
    code samples with the average, and with random numbers where a file has none.

    Args:
        checkpoint: with an ``AutoencoderKL``.
        out: the file.
        settings: of the pipeline, kept in the file's metadata.
        dtype: of the weights; None keeps each as it is.

    Returns:
        The bytes of its weights.
    """
    networks = {name: part.network for name, part in checkpoint.parts.items()}
    taken: dict[str, dict[names.Take, Tensor]] = {}
    for name, origins in original_origins(networks).items():
        check_names(checkpoint, name)
        weights = _read(checkpoint, name, origins, dtype)
        for weight, origin in origins.items():
            taken.setdefault(origin.name, {})[origin.take] = weights[weight]
    tensors = {name: names.joined(parts) for name, parts in taken.items()}
    unet = [name for name in tensors if name.startswith(names.UNET)]
    # safetensors stores no memory twice under two names.
    tensors |= {names.ema_name(name): tensors[name].clone() for name in unet}
    tensors[f"{names.EMA}decay"] = torch.tensor(0.9999)
    tensors[f"{names.EMA}num_updates"] = torch.tensor(0, dtype=torch.int32)
    _save(tensors, out, {"format": "pt", SETTINGS_KEY: json.dumps(dict(settings))})
    return sum(tensor.nbytes for tensor in tensors.values())


def total_bytes(checkpoint: Checkpoint, dtype: torch.dtype | None) -> int:
    """What all weights will take on the disk."""
    return sum(
        _sum(checkpoint, name, part.weights, dtype) for name, part in checkpoint.parts.items()
    )


def _sum(checkpoint: Checkpoint, name: str, weights: Any, dtype: torch.dtype | None) -> int:
    return sum(_size(checkpoint.parts[name].weights[weight], dtype) for weight in weights)


def _size(tensor: Tensor, dtype: torch.dtype | None) -> int:
    return tensor.numel() * (dtype or tensor.dtype).itemsize


def _groups(
    checkpoint: Checkpoint, name: str, dtype: torch.dtype | None, max_shard_bytes: int
) -> list[list[str]]:
    """A part's weights in files of at most so many bytes, in the network's order."""
    groups: list[list[str]] = []
    filled = 0
    weights = checkpoint.parts[name].weights
    for weight in checkpoint.parts[name].network.state_dict():
        size = _size(weights[weight], dtype)
        if not groups or filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(weight)
        filled += size
    return groups


def _read(
    checkpoint: Checkpoint, name: str, weights: Any, dtype: torch.dtype | None
) -> dict[str, Tensor]:
    part, expected = checkpoint.parts[name], checkpoint.parts[name].network.state_dict()
    read = {}
    for weight in weights:
        tensor = checked(checkpoint, name, weight, part.weights[weight], expected[weight])
        if dtype is not None and dtype != tensor.dtype:
            tensor = checked(checkpoint, name, weight, tensor.to(dtype), expected[weight])
        read[weight] = tensor.detach().contiguous()
    return read


def _save(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.touch()
        permissions = partial.stat().st_mode  # what the user's umask makes of a new file
        save_file(tensors, partial, metadata)  # for its owner's eyes alone
        with open(partial, "rb") as file:
            os.fchmod(file.fileno(), permissions)
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:  # an OSError in Rust's words
        raise OSError(f"{path.name} could not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
