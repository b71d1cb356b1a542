"""Which files of a diffusers folder hold which part of a model, told by their names alone.

A *part* is one network of the pipeline. Nothing is read here and nothing heavy is imported, so that
a repository can be asked about before there is a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from zero123lib.diffusion.checkpoints.errors import DamagedCheckpointError

PARTS = ("unet", "vae", "image_encoder", "camera_projection")
# What a folder calls the last one, ours first; huggingface/diffusers,
# examples/community/pipeline_zero1to3.py, has the last of these names.
PROJECTIONS = ("camera_projection", "clip_camera_projection", "cc_projection")

# How the weights of a part are called, without variant: diffusers' networks, transformers' ones.
_STEMS = {"image_encoder": ("model", "pytorch_model")}
_STEM = ("diffusion_pytorch_model", "diffusion_pytorch_model")

# A weights file: its stem, and perhaps a variant and its place among shards, in either order, as
# "model.fp16-00001-of-00002.safetensors"; "model-backup.safetensors" is none.
_WEIGHTS = re.compile(
    r"(?P<stem>\w+)(?:\.(?P<variant>[^.]+?))?(?:-(?P<shard>\d{5})-of-(?P<count>\d{5}))?"
    r"(?:\.(?P<late>[^.]+))?\.(?P<ending>safetensors|bin)"
)


def wanted_files(found: Iterable[str], variant: str | None = None) -> list[str]:
    """Choose the files of a repository that a pipeline is loaded from, without their duplicates.

    Args:
        found: paths inside the repository.
        variant: of the weights; see :func:`weight_files`.

    Returns:
        Configs, the model card, and one set of weights of each part that has any.
    """
    names = sorted(found)
    configs = r"model_index\.json|README\.md|[^/]+/config\.json|scheduler/[^/]+\.json"
    wanted = [name for name in names if re.fullmatch(configs, name)]
    for folder in (*PARTS, *PROJECTIONS[1:]):
        part = PARTS[-1] if folder in PROJECTIONS else folder
        inside = [name.split("/")[1] for name in names if re.fullmatch(f"{folder}/[^/]+", name)]
        try:
            wanted += [f"{folder}/{n}" for n in weight_files(part, inside, variant, Path(folder))]
        except DamagedCheckpointError:
            continue  # a part without weights; the reader says so if it needs some
    return wanted


def has_weights(folder: Path) -> bool:
    """Tell whether a diffusers folder holds its index and the weights of all four parts."""
    if not (folder / "model_index.json").is_file():
        return False
    found = [str(path.relative_to(folder)) for path in folder.glob("*/*") if path.is_file()]
    held = {
        name.split("/")[0] for name in wanted_files(found) if _WEIGHTS.fullmatch(Path(name).name)
    }
    return held.issuperset(PARTS[:-1]) and not held.isdisjoint(PROJECTIONS)


def weight_files(name: str, found: Iterable[str], variant: str | None, folder: Path) -> list[str]:
    """Choose those files in a part's subfolder that hold its weights.

    Safetensors come before pickles and the wanted variant before others; shards come all together.

    Args:
        name: of the part.
        found: names of the files that are there.
        variant: see :func:`~zero123lib.diffusion.checkpoints.folders.read_folder`.
        folder: what error messages name.

    Raises:
        DamagedCheckpointError: none does.
    """
    safe, pickled = _STEMS.get(name, _STEM)
    stems = ((safe, "safetensors"), (pickled, "bin"))
    # By variant, stem and ending: the files, and of each shard its place and their number.
    groups: dict[tuple[str | None, str, str], dict[str, tuple[int, int] | None]] = {}
    for file in sorted(found):
        match = _WEIGHTS.fullmatch(file)
        if match and (match["stem"], match["ending"]) in stems:
            if match["variant"] and match["late"]:
                continue
            group = (match["variant"] or match["late"], match["stem"], match["ending"])
            place = (int(match["shard"]), int(match["count"])) if match["shard"] else None
            groups.setdefault(group, {})[file] = place
    variants = [variant or None, None, *sorted(group[0] for group in groups if group[0])]
    for wanted in variants:
        for stem, ending in stems:
            places = groups.get((wanted, stem, ending))
            if places:
                return _one_set(places, name, folder)
    raise DamagedCheckpointError(
        "source", f"weights of {name}, such as {safe}.safetensors", f"none in {str(folder)!r}"
    )


def _one_set(places: Mapping[str, tuple[int, int] | None], name: str, folder: Path) -> list[str]:
    """Return the file that holds all, or every shard once, in order."""
    shards = {place: file for file, place in places.items() if place is not None}
    if None in places.values():
        return [file for file, place in places.items() if place is None]
    total = max(count for _, count in shards)
    wanted = [(shard, total) for shard in range(1, total + 1)]
    if not wanted or sorted(shards) != wanted or len(places) != total:
        raise DamagedCheckpointError(
            "source",
            f"all {total} shards of {name}",
            f"{len(places)} in {str(folder)!r}, not each of them once, such as "
            f"{next(iter(places))}",
        )
    return [shards[place] for place in wanted]
