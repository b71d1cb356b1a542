"""From an unread checkpoint to weight files: shards of a part, or one file in the original layout.

A file is written under ``NAME.partial`` and renamed when all of it is on the disk. What stops
leaves a beginning there, which the next attempt goes on with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zero123lib.diffusion.checkpoints import names
from zero123lib.diffusion.checkpoints.build import checked_names, read_weight
from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.original import SETTINGS_KEY, original_origins
from zero123lib.diffusion.checkpoints.safetensors_files import Entry, write_safetensors


@dataclass(frozen=True)
class WeightsFile:
    """A safetensors file to write: its tensors are made one by one, when their turns come."""

    name: str
    entries: dict[str, Entry]
    metadata: dict[str, str] = field(default_factory=lambda: {"format": "pt"})

    @property
    def nbytes(self) -> int:
        """Count the bytes of all tensors."""
        return sum(entry.nbytes for entry in self.entries.values())

    def write(self, folder: Path) -> Iterator[int]:
        """Write it, unless it is there; yields the bytes of tensors that are done since."""
        path = folder / self.name
        if path.exists():
            yield self.nbytes
            return
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        yield from write_safetensors(partial, self.entries, self.metadata)
        partial.replace(path)


def part_files(
    checkpoint: Checkpoint, part: str, dtype: torch.dtype | None, max_shard_bytes: int
) -> list[WeightsFile]:
    """Return the weights of a part as diffusers and transformers name them, in the network's order.

    Args:
        checkpoint: read weight by weight, while files are written.
        part: its name.
        dtype: of the weights; None keeps each as it is.
        max_shard_bytes: of one file.
    """
    shards: list[dict[str, Entry]] = [{}]
    filled = 0
    for weight in checked_names(checkpoint, part):
        entry = _entry(checkpoint, {"whole": (part, weight)}, dtype)
        if shards[-1] and filled + entry.nbytes > max_shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][weight] = entry
        filled += entry.nbytes
    stem, count = f"{part}/{_stem(part)}", len(shards)
    if count == 1:
        return [WeightsFile(f"{stem}.safetensors", shards[0])] if shards[0] else []
    return [
        WeightsFile(f"{stem}-{index:05d}-of-{count:05d}.safetensors", shard)
        for index, shard in enumerate(shards, 1)
    ]


def save_config(checkpoint: Checkpoint, part: str, files: list[WeightsFile], folder: Path) -> None:
    """Write what a part's subfolder holds beside its weights: a config, and an index of shards."""
    network: Any = checkpoint.parts[part].network
    if part == "image_encoder":
        network.config.architectures = [type(network).__name__]
        network.config.save_pretrained(folder / part)
    else:
        network.save_config(folder / part)
    if len(files) > 1:
        total = sum(file.nbytes for file in files)
        places = {weight: Path(file.name).name for file in files for weight in file.entries}
        content = {"metadata": {"total_size": total}, "weight_map": places}
        index = folder / part / f"{_stem(part)}.safetensors.index.json"
        index.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _stem(part: str) -> str:
    return "model" if part == "image_encoder" else "diffusion_pytorch_model"


def original_file(
    checkpoint: Checkpoint, name: str, settings: Mapping[str, Any], dtype: torch.dtype | None
) -> WeightsFile:
    """Return one file in the layout of the official code.

    The UNet's weights are there twice, as weights and as their running average: the official
    code samples with the average, and with random numbers where a file has none.

    Args:
        checkpoint: with an ``AutoencoderKL``; read weight by weight, while the file is written.
        name: of the file.
        settings: of the pipeline, kept in the file's metadata.
        dtype: of the weights; None keeps each as it is.
    """
    networks = {name: part.network for name, part in checkpoint.parts.items()}
    taken: dict[str, dict[names.Take, tuple[str, str]]] = {}
    for part, origins in original_origins(networks).items():
        for weight in checked_names(checkpoint, part):
            origin = origins[weight]
            taken.setdefault(origin.name, {})[origin.take] = part, weight
    entries = {name: _entry(checkpoint, places, dtype) for name, places in taken.items()}
    unet = [name for name in entries if name.startswith(names.UNET)]
    entries |= {names.ema_name(name): entries[name] for name in unet}
    decay, updates = torch.tensor(0.9999), torch.tensor(0, dtype=torch.int32)
    entries[f"{names.EMA}decay"] = Entry((), decay.dtype, lambda: decay)
    entries[f"{names.EMA}num_updates"] = Entry((), updates.dtype, lambda: updates)
    metadata = {"format": "pt", SETTINGS_KEY: json.dumps(dict(settings))}
    return WeightsFile(name, entries, metadata)


def _entry(
    checkpoint: Checkpoint, places: Mapping[names.Take, tuple[str, str]], dtype: torch.dtype | None
) -> Entry:
    """Return a tensor that is joined of weights, each given by its part and its name there."""
    part, weight = next(iter(places.values()))
    dtype = dtype or checkpoint.parts[part].weights[weight].dtype
    # Of the shape that joining makes, without reading anything.
    empty = names.joined(
        {
            take: torch.empty(checkpoint.parts[part].shapes[weight], device="meta")
            for take, (part, weight) in places.items()
        }
    )
    return Entry(
        tuple(empty.shape),
        dtype,
        lambda: names.joined(
            {take: read_weight(checkpoint, *place, dtype) for take, place in places.items()}
        ),
    )
