"""The pairs of a run: for training, and a fixed few for validation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zero123lib.datasets.pairs import PairSource, open_pairs
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training.config import TrainConfig
from zero123lib.training.scene_pairs import ScenePairs

# Validation pairs are drawn by a seed of their own: with it, other pairs of the same objects.
_VALIDATION = 1_000_003


def training_pairs(config: TrainConfig, pipe: Zero123Pipeline) -> PairSource:
    """Where training pairs come from.

    Raises:
        ValueError: there is no usable data at ``data.path``.
    """
    encoding: Any = pipe.config["encoding"]
    if config.data.source == "scenes":
        return ScenePairs(config.data.scenes, pipe.image_size, encoding=encoding, seed=config.seed)
    assert config.data.path is not None, "the config checked it"
    return _opened(config.data.path, pipe, config.seed)


def validation_pairs(config: TrainConfig, pipe: Zero123Pipeline) -> PairSource:
    """Where the pairs of validation come from: ``validation.path``, or held-out scenes, or other
    pairs of the training data's objects."""
    seed, encoding = config.seed + _VALIDATION, pipe.config["encoding"]
    if config.validation.path is not None:
        return _opened(config.validation.path, pipe, seed)
    if config.data.source == "scenes":
        scenes = replace(config.data.scenes, pairs_per_scene=1.0)
        return ScenePairs(scenes, pipe.image_size, encoding=encoding, seed=seed, held_out=True)
    assert config.data.path is not None, "the config checked it"
    return _opened(config.data.path, pipe, seed)


def _opened(path: str, pipe: Zero123Pipeline, seed: int) -> PairSource:
    encoding: Any = pipe.config["encoding"]
    return open_pairs(path, pipe.image_size, encoding=encoding, seed=seed)
