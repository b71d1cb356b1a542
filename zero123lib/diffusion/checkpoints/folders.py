"""Reader of diffusers folders: our own, and every published port of Zero123.

The ports differ in what they call the camera projection, in its weights' names, in the format of
the weights (safetensors or pickles, whole or in shards, half precision under a variant's name), and
in the age of the diffusers that saved them. Their custom classes are not needed: every part is
read by itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from zero123lib.diffusion.checkpoints.canonical import (
    Checkpoint,
    Part,
    check_fit,
    empty_network,
    make_scheduler,
)
from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from zero123lib.diffusion.checkpoints.foreign import refuse_foreign_folder
from zero123lib.diffusion.checkpoints.limits import checked_settings
from zero123lib.diffusion.checkpoints.names import as_linear
from zero123lib.diffusion.checkpoints.parts import PARTS, PROJECTIONS, weight_files
from zero123lib.diffusion.checkpoints.weights import open_tensors

# AutoencoderKL as diffusers saved it before 0.18 (2023).
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

_LONGEST_JSON = 16 << 20  # bytes; an index of a thousand shards has far less


def read_folder(
    folder: Path, variant: str | None = None, use_safetensors: bool | None = None
) -> Checkpoint:
    """Read a diffusers folder.

    Args:
        folder: holds ``model_index.json`` and one subfolder per part.
        variant: of the weights, such as "fp16": taken where a part has it. Where a part has only
            a variant, that is taken in any case.
        use_safetensors: True reads no pickles; else they are read where there is nothing else.

    Raises:
        CheckpointError: see :mod:`zero123lib.diffusion.checkpoints.errors`.
    """
    index = _json(folder / "model_index.json")
    refuse_foreign_folder(index, folder)
    projection = next((name for name in PROJECTIONS if (folder / name).is_dir()), None)
    if projection is None:
        raise MismatchedCheckpointError(
            "source",
            f"a camera projection in one of {', '.join(PROJECTIONS)}",
            f"none in {str(folder)!r}",
        )
    parts = {
        name: read_part(name, folder / place, variant, folder, use_safetensors)
        for name, place in zip(PARTS, (*PARTS[:-1], projection), strict=True)
    }
    check_fit(parts, folder)
    scheduler = read_scheduler(folder)
    settings = checked_settings(index, folder / "model_index.json")
    # The layer that takes the encoded pose says its encoding where the index does not.
    layer: Any = parts["camera_projection"].network
    if layer.config["encoding"] is not None:
        settings.setdefault("encoding", layer.config["encoding"])
    return Checkpoint(folder, parts, scheduler, settings)


def read_part(
    name: str,
    place: Path,
    variant: str | None,
    folder: Path,
    use_safetensors: bool | None = None,
) -> Part:
    """Read one part of a folder.

    Args:
        name: of the part.
        place: its subfolder.
        variant, use_safetensors: see :func:`read_folder`.
        folder: what error messages name.
    """
    # The kxic ports save no config with the projection; its sizes are then the published ones.
    config = _json(place / "config.json", absent={} if name == "camera_projection" else None)
    network = empty_network(name, config, folder)
    if not network.state_dict():
        return Part(network, {})
    try:
        names = [path.name for path in place.iterdir()]
    except OSError as error:
        raise DamagedCheckpointError(
            "source", "a readable folder", f"{str(place)!r}: {error.strerror}"
        ) from error
    names = [one for one in names if not (use_safetensors and one.endswith(".bin"))]
    weights: dict[str, Tensor] = {}
    for file in weight_files(name, names, variant, folder):
        for saved, tensor in open_tensors(place / file).items():
            # A buffer that transformers saved before 4.31, and that is no weight.
            if saved.endswith("embeddings.position_ids"):
                continue
            current = _current_name(saved, name)
            if current in weights:
                raise MismatchedCheckpointError(
                    "source", f"each weight of {name} once", f"{current} twice in {str(folder)!r}"
                )
            # The old attention of the VAE could be saved as a convolution of width 1.
            weights[current] = tensor if saved == current else as_linear(tensor)
    return Part(network, weights)


def read_scheduler(folder: Path) -> Any:
    """Return the scheduler of a folder."""
    return make_scheduler(_json(folder / "scheduler" / "scheduler_config.json"), folder)


def _current_name(name: str, part: str) -> str:
    """Return what today's classes call a weight."""
    if part == "camera_projection":
        return name.replace("projection.", "proj.", 1) if name.startswith("projection.") else name
    if part == "vae" and "mid_block.attentions." in name:
        stem, _, leaf = name.rpartition(".")
        place, _, old = stem.rpartition(".")
        return f"{place}.{_OLD_ATTENTION.get(old, old)}.{leaf}"
    return name


def _json(path: Path, absent: dict[str, Any] | None = None) -> dict[str, Any]:
    """Content of a JSON file; ``absent`` stands for a missing one, if given."""
    try:
        # Before it is opened, which would wait for a pipe's writer.
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        if path.stat().st_size > _LONGEST_JSON:
            raise ValueError("it is too long")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise DamagedCheckpointError(
            "source", f"a diffusers folder with {path.parent.name}/{path.name}", "none of that name"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedCheckpointError(
            "source", f"a readable {path.name}", f"{str(path)!r}: {' '.join(str(error).split())}"
        ) from error
    return content
