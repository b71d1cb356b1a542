"""Reader of diffusers folders: our own, and every published port of Zero123.

The ports differ in what they call the camera projection, in its weights' names, in the format of
the weights (safetensors or pickles, whole or in shards, half precision under a variant's name), and
in the age of the diffusers that saved them. Their custom classes are not needed: every part is
read by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from zero123lib.diffusion.checkpoints.canonical import (
    NETWORKS,
    Checkpoint,
    Part,
    empty_network,
    make_scheduler,
)
from zero123lib.diffusion.checkpoints.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from zero123lib.diffusion.checkpoints.foreign import PROJECTIONS, refuse_foreign_folder
from zero123lib.diffusion.checkpoints.weights import open_tensors

# How the weights of a part are called, without variant: diffusers' networks, transformers' ones.
_STEMS = {"image_encoder": ("model", "pytorch_model")}
_STEM = ("diffusion_pytorch_model", "diffusion_pytorch_model")

# AutoencoderKL as diffusers saved it before 0.18 (2023).
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

# Of model_index.json: what is the pipeline's own, and neither a part nor a note of diffusers.
_SETTINGS = (
    "encoding",
    "model_name",
    "num_inference_steps",
    "guidance_scale",
    "domain",
    "domain_statistics",
)


def read_folder(folder: Path, variant: str | None = None) -> Checkpoint:
    """Read a diffusers folder.

    Args:
        folder: holds ``model_index.json`` and one subfolder per part.
        variant: of the weights, such as "fp16": taken where a part has it. Where a part has only
            a variant, that is taken in any case.

    Raises:
        CheckpointError: see :mod:`zero123lib.diffusion.checkpoints.errors`.
    """
    index = _json(folder / "model_index.json")
    refuse_foreign_folder(index, folder)
    parts = {}
    for name in NETWORKS:
        place = _projection(folder) if name == "camera_projection" else folder / name
        # The kxic ports save no config with the projection; its sizes are then the published ones.
        config = _json(place / "config.json", absent={} if name == "camera_projection" else None)
        network = empty_network(name, config, folder)
        weights: Mapping[str, Tensor] = {}
        if network.state_dict():
            found = sorted(path.name for path in place.iterdir())
            files = weight_files(name, found, variant, folder)
            weights = _Shards([place / file for file in files], name)
        parts[name] = Part(network, weights)
    scheduler = make_scheduler(_json(folder / "scheduler" / "scheduler_config.json"), folder)
    settings = {name: index[name] for name in _SETTINGS if index.get(name) is not None}
    return Checkpoint(folder, parts, scheduler, settings)


def weight_files(name: str, found: Iterable[str], variant: str | None, folder: Path) -> list[str]:
    """Which of the files in a part's subfolder hold its weights.

    Safetensors come before pickles and the wanted variant before others; shards come all together.

    Args:
        name: of the part.
        found: names of the files that are there.
        variant: see :func:`read_folder`.
        folder: what error messages name.

    Raises:
        DamagedCheckpointError: none does.
    """
    safe, pickled = _STEMS.get(name, _STEM)
    present = {file for file in found if file.endswith((".safetensors", ".bin"))}
    variants = [variant, None] if variant else [None]
    # "model.fp16.safetensors" is a variant; "model-00001-of-00002.safetensors" a shard.
    for stem in (safe, pickled):
        variants += sorted(
            {f.split(".")[1].split("-")[0] for f in present if f.startswith(f"{stem}.")}
            - {"safetensors", "bin", *filter(None, variants)}
        )
    for wanted in variants:
        for stem, ending in ((safe, "safetensors"), (pickled, "bin")):
            full = f"{stem}.{wanted}" if wanted else stem
            if f"{full}.{ending}" in present:
                return [f"{full}.{ending}"]
            shards = sorted(
                f for f in present if f.startswith(f"{full}-") and f.endswith(f".{ending}")
            )
            if shards:
                total = int(shards[0].split("-of-")[-1].split(".")[0])
                if len(shards) == total:
                    return shards
                raise DamagedCheckpointError(
                    f"source: expected all {total} shards of {name}, got {len(shards)} "
                    f"in {str(folder)!r}"
                )
    raise DamagedCheckpointError(
        f"source: expected weights of {name}, such as {safe}.safetensors, "
        f"got none in {str(folder)!r}"
    )


class _Shards(Mapping[str, Tensor]):
    """The tensors of several files as one mapping, under today's names."""

    def __init__(self, paths: Iterable[Path], part: str) -> None:
        self._places = {
            _current_name(name, part): (tensors, name)
            for tensors in map(open_tensors, paths)
            for name in tensors
            # A buffer that transformers saved before 4.31, and that is no weight.
            if not name.endswith("embeddings.position_ids")
        }

    def __getitem__(self, name: str) -> Tensor:
        tensors, saved = self._places[name]
        tensor = tensors[saved]
        # The old attention of the VAE could be saved as a convolution of width 1.
        return tensor[:, :, 0, 0] if saved != name and tensor.ndim == 4 else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _current_name(name: str, part: str) -> str:
    """What today's classes call a weight."""
    if part == "camera_projection":
        return name.replace("projection.", "proj.", 1) if name.startswith("projection.") else name
    if part == "vae" and "mid_block.attentions." in name:
        stem, _, leaf = name.rpartition(".")
        place, _, old = stem.rpartition(".")
        return f"{place}.{_OLD_ATTENTION.get(old, old)}.{leaf}"
    return name


def _projection(folder: Path) -> Path:
    for name in PROJECTIONS:
        if (folder / name).is_dir():
            return folder / name
    raise MismatchedCheckpointError(
        f"source: expected a camera projection in one of {', '.join(PROJECTIONS)}, "
        f"got none in {str(folder)!r}"
    )


def _json(path: Path, absent: dict[str, Any] | None = None) -> dict[str, Any]:
    """Content of a JSON file; ``absent`` stands for a missing one, if given."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        if absent is not None:
            return absent
        raise DamagedCheckpointError(
            f"source: expected a diffusers folder with {path.parent.name}/{path.name}, "
            "got none of that name"
        ) from None
    except (OSError, ValueError) as error:
        raise DamagedCheckpointError(
            f"source: expected a readable {path.name}, got {str(path)!r}: "
            f"{' '.join(str(error).split())}"
        ) from error
    return content
