"""What a run tells: each step that was taken, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zero123lib.fields.voxels import VoxelField
from zero123lib.meshes.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Progress:
    """One step that was taken.

    Attributes:
        stage: ``"views"`` (steps are views), ``"fit"``, ``"sds"`` or ``"outputs"``.
        step, total: of the stage, from 1.
        losses: of the step, unweighted, and their weighted ``"total"``; empty where there are none.
        preview: ``[H, W, 3]`` in [0, 1], from the input's camera; None in most steps.
        field: as it stands; None before there is one.
        seconds: spent on the stage so far, in this process and those before.
    """

    stage: str
    step: int
    total: int
    losses: Mapping[str, float]
    preview: Tensor | None
    field: VoxelField | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Finished:
    """The end of a run.

    Attributes:
        files: by name, such as ``"mesh.ply"``; empty without a folder.
        metrics: content of ``metrics.json``.
        field: with colours in [0, 1].
        mesh: its surface, with colours at the vertices; None where the recipe wants none, or there
            is no surface.
        textured: the same with a texture; None where there is none.
        notes: what to tell the user.
        resumed: whether all this was there, of a run that had finished: nothing was written.
    """

    files: Mapping[str, Path]
    metrics: Mapping[str, Any]
    field: VoxelField
    mesh: Mesh | None
    textured: Mesh | None = None
    notes: tuple[str, ...] = ()
    resumed: bool = False
