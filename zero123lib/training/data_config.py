"""What decides the data of a training run: where pairs come from, and how they are drawn."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field

from zero123lib._config import (
    Count,
    Number,
    Positive,
    Several,
    Share,
    Whole,
    settings,
)  # fmt: skip
from zero123lib._errors import ArgumentError

HeldOut = Annotated[Number, Field(ge=0, le=0.9)]


@settings
class ScenesConfig:
    """Procedural scenes, see :mod:`zero123lib.training.scene_pairs`.

    Attributes:
        first_scene: the first object's seed.
        kinds: of objects, names in ``zero123lib.scenes.KINDS``; None for all.
        views: of an object.
        shuffle_buffer: objects in the window that pairs are drawn from.
        pairs_per_scene: pairs after which the window slides on by an object.
        shards: of the window's objects. No object is rendered twice where all processes' workers
            together divide their number and ``shard_pairs`` is a batch (``batch.per_device``).
        shard_pairs: pairs in a row of one shard's objects.
    """

    first_scene: Whole = 0
    kinds: Several[str] | None = None
    views: int = Field(default=8, ge=2)
    shuffle_buffer: Count = 512
    pairs_per_scene: Positive = 32.0
    shards: Count = 8
    shard_pairs: Count = 32

    def __post_init__(self) -> None:
        if self.kinds is not None:
            # Here, as torch comes with it: a config without kinds is read before that.
            from zero123lib.scenes import check_kinds

            check_kinds(self.kinds)


@settings
class SourceConfig:
    """One of several sources that are mixed.

    Attributes:
        source, path, held_out, shard_groups, group_pairs, scenes: as in :class:`DataConfig`.
        weight: its share of every batch is this over the sum of all.
    """

    source: Literal["pairs", "scenes"] = "pairs"
    path: str | None = None
    held_out: HeldOut = 0.0
    shard_groups: Count = 1
    group_pairs: Count = 8
    scenes: ScenesConfig = ScenesConfig()
    weight: Positive = 1.0

    def __post_init__(self) -> None:
        check_path(self.source, self.path)
        _check_groups(self.source, self.shard_groups)


@settings
class DataConfig:
    """Where pairs come from.

    Attributes:
        source: "pairs" on disk or streamed, at ``path``; procedural "scenes"; or several of them,
            "mixed".
        path: what ``zero123lib.datasets`` opens.
        held_out: share of the objects at ``path``, by their names, that are kept from training;
            validation takes them unless it has a path of its own.
        shard_groups: into which shards are split, each read by itself; ``group_pairs`` in a row
            are of one. No shard is read twice where a batch (``batch.per_device``) is of
            ``group_pairs`` and all processes' workers together divide the groups. Mixed sources
            have their own.
        size: pixels; None takes the initial model's.
        same_camera, mirrored, recolored, centered: shares of the training pairs that are augmented
            so, see :class:`zero123lib.datasets.augmenting.Augmentation`.
        workers: processes that load data, per training process; 0 loads in the process itself.
        mixed: the sources that are mixed, in every batch.
    """

    source: Literal["pairs", "scenes", "mixed"] = "pairs"
    path: str | None = None
    held_out: HeldOut = 0.0
    shard_groups: Count = 1
    group_pairs: Count = 8
    size: int | None = Field(default=None, ge=8)
    same_camera: Share = 0.0
    mirrored: Share = 0.0
    recolored: Share = 0.0
    centered: Share = 0.0
    workers: int = Field(default=4, ge=0, le=256)
    scenes: ScenesConfig = ScenesConfig()
    mixed: Several[SourceConfig] | None = None

    def __post_init__(self) -> None:
        if (self.source == "mixed") != (self.mixed is not None):
            raise ArgumentError(
                "mixed",
                "sources where the source is mixed, and null elsewhere",
                "null" if self.mixed is None else f"{len(self.mixed)} sources",
            )
        _check_groups(self.source, self.shard_groups)

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """Return all sources; the only one where they are not mixed."""
        if self.source == "mixed":
            return self.mixed or ()
        names = [one.name for one in fields(SourceConfig) if one.name != "weight"]
        return (SourceConfig(**{name: getattr(self, name) for name in names}),)


def check_path(source: str, path: str | None) -> None:
    """Raise an ArgumentError unless there is a path where the source reads one, and only there."""
    if source == "pairs" and path is None:
        raise ArgumentError("path", "a data set (--data)", "null")
    if source != "pairs" and path is not None:
        raise ArgumentError(
            "path", f"null (no --data) where the source is {source}, not pairs", repr(path)
        )


def _check_groups(source: str, groups: int) -> None:
    if source != "pairs" and groups != 1:
        where = "of the mixed sources' own" if source == "mixed" else "shards alone have any"
        expected = f"1 where the source is {source} ({where})"
        raise ArgumentError("shard_groups", expected, str(groups))
