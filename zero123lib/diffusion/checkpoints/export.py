"""From an unread checkpoint to weight files: shards of a part, or one file in the original layout.

A file is written under ``NAME.partial`` and renamed when all of it is on the disk. What stops
leaves a beginning there, which the next attempt goes on with.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.build import check_names, checked
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.original import SETTINGS_KEY, original_origins
from zero123lib.diffusion.checkpoints.safe import Entry, write_safetensors


def save_part(
    checkpoint: Checkpoint,
    name: str,
    folder: Path,
    dtype: torch.dtype | None,
    max_shard_bytes: int,
) -> Generator[tuple[str, int]]:
    """Write a part's config and weights as diffusers and transformers do.

    Args:
        checkpoint: read weight by weight.
        name: of the part.
        folder: that exists; shards that are there already are left as they are.
        dtype: of the weights; None keeps each as it is.
        max_shard_bytes: of one file.

    Yields:
        The file at hand and the bytes that were written.
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
        entries = {weight: _entry(checkpoint, name, weight, dtype) for weight in weights}
        for count in _save(folder / file, entries, {"format": "pt"}):
            yield file, count
        places |= dict.fromkeys(weights, file)
    if len(groups) > 1:
        total = sum(_entry(checkpoint, name, weight, dtype).nbytes for weight in places)
        content = {"metadata": {"total_size": total}, "weight_map": places}
        index_file = folder / f"{stem}.safetensors.index.json"
        index_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_original(
    checkpoint: Checkpoint, out: Path, settings: Mapping[str, Any], dtype: torch.dtype | None
) -> Generator[tuple[str, int]]:
    """Write one ``.safetensors`` file in the layout of the official code.

    The UNet's weights are written twice, as weights and as their running average: the official
    code samples with the average, and with random numbers where a file has none.

    Args:
        checkpoint: with an ``AutoencoderKL``; read weight by weight.
        out: the file.
        settings: of the pipeline, kept in the file's metadata.
        dtype: of the weights; None keeps each as it is.

    Yields:
        The file and the bytes that were written.
    """
    metadata = {"format": "pt", SETTINGS_KEY: json.dumps(dict(settings))}
    for count in _save(out, original_entries(checkpoint, dtype), metadata):
        yield out.name, count


def original_entries(checkpoint: Checkpoint, dtype: torch.dtype | None) -> dict[str, Entry]:
    """All tensors of a file in the original layout, unread."""
    networks = {name: part.network for name, part in checkpoint.parts.items()}
    taken: dict[str, dict[names.Take, tuple[str, str]]] = {}
    for part, origins in original_origins(networks).items():
        check_names(checkpoint, part)
        for weight, origin in origins.items():
            taken.setdefault(origin.name, {})[origin.take] = part, weight
    entries = {name: _joined_entry(checkpoint, places, dtype) for name, places in taken.items()}
    unet = [name for name in entries if name.startswith(names.UNET)]
    entries |= {names.ema_name(name): entries[name] for name in unet}
    for name, constant in {
        "decay": torch.tensor(0.9999),
        "num_updates": torch.tensor(0, dtype=torch.int32),
    }.items():
        entries[f"{names.EMA}{name}"] = Entry((), constant.dtype, lambda c=constant: c)
    return entries


def part_bytes(checkpoint: Checkpoint, dtype: torch.dtype | None) -> int:
    """What the weights of all parts will take on the disk."""
    return sum(
        _entry(checkpoint, name, weight, dtype).nbytes
        for name, part in checkpoint.parts.items()
        for weight in part.weights
    )


def _entry(checkpoint: Checkpoint, name: str, weight: str, dtype: torch.dtype | None) -> Entry:
    tensor = checkpoint.parts[name].weights[weight]
    return Entry(
        tuple(tensor.shape),
        dtype or tensor.dtype,
        lambda: _read(checkpoint, name, weight, dtype),
    )


def _joined_entry(
    checkpoint: Checkpoint, places: Mapping[names.Take, tuple[str, str]], dtype: torch.dtype | None
) -> Entry:
    def read() -> Tensor:
        return names.joined(
            {take: _read(checkpoint, *place, dtype) for take, place in places.items()}
        )

    # Of the shape that joining makes, without reading anything.
    empty = names.joined(
        {
            take: checkpoint.parts[part].network.state_dict()[weight]
            for take, (part, weight) in places.items()
        }
    )
    part, weight = next(iter(places.values()))
    return Entry(tuple(empty.shape), dtype or checkpoint.parts[part].weights[weight].dtype, read)


def _groups(
    checkpoint: Checkpoint, name: str, dtype: torch.dtype | None, max_shard_bytes: int
) -> list[list[str]]:
    """A part's weights in files of at most so many bytes, in the network's order."""
    groups: list[list[str]] = []
    filled = 0
    for weight in checkpoint.parts[name].network.state_dict():
        size = _entry(checkpoint, name, weight, dtype).nbytes
        if not groups or filled + size > max_shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(weight)
        filled += size
    return groups


def _read(checkpoint: Checkpoint, name: str, weight: str, dtype: torch.dtype | None) -> Tensor:
    part = checkpoint.parts[name]
    empty = part.network.state_dict()[weight]
    tensor = checked(checkpoint, name, weight, part.weights[weight], empty)
    if dtype is None or dtype == tensor.dtype:
        return tensor
    return checked(checkpoint, name, weight, tensor.to(dtype), empty)


def _save(path: Path, entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> Iterable[int]:
    if path.exists():
        yield sum(entry.nbytes for entry in entries.values())
        return
    partial = path.with_name(f"{path.name}.partial")
    yield from write_safetensors(partial, entries, metadata)
    partial.replace(path)
