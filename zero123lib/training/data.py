"""Where a run's pairs come from: procedural scenes, a data set, or several of them mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zero123lib.datasets.augmenting import Augmentation, AugmentedPairs
from zero123lib.datasets.mixing import MixedPairs
from zero123lib.datasets.pairs import PairSource, Part, open_pairs
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.config import TrainConfig
from zero123lib.training.data_config import SourceConfig
from zero123lib.training.scene_pairs import ScenePairs

# Validation pairs are drawn by a seed of their own: with it, other pairs of the same objects.
_VALIDATION = 1_000_003


def training_pairs(config: TrainConfig, pipe: Zero123Pipeline) -> PairSource:
    """Open the source of training pairs.

    Raises:
        ValueError: there is no usable data at a source's path.
    """
    data, encoding = config.data, pipe.config["encoding"]
    source = _mixed(data.sources, pipe, config.seed, "training")
    shares = Augmentation(data.same_camera, data.mirrored, data.recolored, data.centered)
    if shares == Augmentation():
        return source
    return AugmentedPairs(source, shares, config.seed, encoding)


def validation_pairs(config: TrainConfig, pipe: Zero123Pipeline) -> PairSource:
    """Open the source of validation's pairs: ``validation.path``, or held-out objects of
    training's sources, or where these hold none out, other pairs of the same objects.

    Raises:
        ValueError: there is no usable data at a source's path.
    """
    seed = config.seed + _VALIDATION
    if config.validation.path is not None:
        return _opened(SourceConfig(path=config.validation.path), pipe, seed, "all")
    together = [replace(source, shard_groups=1) for source in config.data.sources]
    return _mixed(together, pipe, seed, "held_out")


def _mixed(
    sources: Sequence[SourceConfig], pipe: Zero123Pipeline, seed: int, part: Part
) -> PairSource:
    opened = [_opened(source, pipe, seed, part) for source in sources]
    if len(opened) == 1:
        return opened[0]
    return MixedPairs(opened, [source.weight for source in sources])


def _opened(source: SourceConfig, pipe: Zero123Pipeline, seed: int, part: Part) -> PairSource:
    encoding: Any = pipe.config["encoding"]
    if source.source == "scenes":
        held_out = part == "held_out"
        # Of objects to validate on, every pair is another one.
        scenes = replace(source.scenes, pairs_per_scene=1.0) if held_out else source.scenes
        return ScenePairs(scenes, pipe.image_size, encoding=encoding, seed=seed, held_out=held_out)
    assert source.path is not None, "the config checked it"
    if not source.held_out:
        part = "all"
    return open_pairs(
        source.path,
        pipe.image_size,
        encoding=encoding,
        seed=seed,
        held_out=source.held_out,
        part=part,
        groups=source.shard_groups,
        group_pairs=source.group_pairs,
    )
