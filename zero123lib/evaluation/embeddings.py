"""What networks of features say of views: CLIP similarity of each, FID of all together.

Views' features are kept with an object's scores, so that an interrupted run need not make them
again. Of all objects together nothing but mean and scatter is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from zero123lib._files import write_bytes
from zero123lib.evaluation.cells import cell
from zero123lib.evaluation.embedders import Embedder
from zero123lib.evaluation.view_pairs import Answers, ObjectScores
from zero123lib.metrics import Moments, frechet_distance

TRUE = "true"
# FID of fewer images is far from that of many: its authors ask for this many.
LEAST_IMAGES = 10_000
# What takes weights that do not come along: how it is called, and what to do.
METRICS_OF_WEIGHTS = {
    "clip": "CLIP similarity: no folder of CLIP was named, see --clip",
    "fid": "FID: no file of Inception was named, see --inception",
    "fid_clip": "FID on CLIP: no folder of CLIP was named, see --clip",
}


def embed_views(
    embedder: Embedder,
    shown: Callable[[], Answers],
    cells: Path | None = None,
    key: Sequence[Any] = (),
) -> dict[str, Tensor]:
    """Compute the features of an object's views; of an image that is shown twice, once.

    Args:
        shown: gives the answers and the true views; only asked where nothing is known yet.
        cells: folder of what is known already; None keeps nothing.
        key: what the views depend on.

    Returns:
        Answers' names and :data:`TRUE` -> ``[V, D]``.
    """
    file = None
    if cells is not None:
        file = cell(cells, [*key, embedder.kind, embedder.digest]).with_suffix(".safetensors")
        if (known := _read(file, embedder.width)) is not None:
            return known
    answers, true = shown()
    images: dict[bytes, Tensor] = {}
    keys: dict[str, list[bytes]] = {}
    for name, views in {**answers, TRUE: true}.items():
        keys[name] = [hashlib.sha256(one.contiguous().numpy().tobytes()).digest() for one in views]
        images.update(zip(keys[name], views, strict=True))
    rows = dict(zip(images, embedder.embed(torch.stack(list(images.values()))), strict=True))
    found = {name: torch.stack([rows[one] for one in those]) for name, those in keys.items()}
    if file is not None:
        write_bytes(file, safetensors.torch.save(found))
    return found


def _read(file: Path, width: int) -> dict[str, Tensor] | None:
    """Read features; None where there are none, or where somebody else's file is no such thing."""
    try:
        found = safetensors.torch.load(file.read_bytes())
    except (FileNotFoundError, safetensors.SafetensorError):
        return None
    shape = (len(found.get(TRUE, ())), width)
    fit = all(one.shape == shape and bool(one.isfinite().all()) for one in found.values())
    return found if fit and shape[0] and len(found) > 1 else None


def with_similarity(scores: ObjectScores, rows: Mapping[str, Tensor]) -> ObjectScores:
    """Add the cosines between CLIP's features of predictions and of their truths."""
    answers = {name: dict(values) for name, values in scores.answers.items()}
    for name in answers:
        cosines = functional.cosine_similarity(rows[name].double(), rows[TRUE].double())
        answers[name]["clip"] = cosines.tolist()
    return replace(scores, answers=answers)


@dataclass
class Distances:
    """Distances between all true views and all of each answer, by each network's features.

    Attributes:
        embedders: the networks; none asks for nothing.
        moments: by the embedder's kind and the answer's name.
    """

    embedders: Sequence[Embedder] = ()
    moments: dict[tuple[str, str], Moments] = field(default_factory=dict)

    def embed(
        self, shown: Callable[[], Answers], cells: Path | None = None, key: Sequence[Any] = ()
    ) -> dict[str, dict[str, Tensor]]:
        """Compute the features by each network's kind, see :func:`embed_views`."""
        return {one.kind: embed_views(one, shown, cells, key) for one in self.embedders}

    def count(self, scores: ObjectScores, rows: Mapping[str, Mapping[str, Tensor]]) -> ObjectScores:
        """Count an object's features, and return its scores with CLIP's, where it is there."""
        for kind, features in rows.items():
            for name, one in features.items():
                found = Moments.of(one.numpy())
                known = self.moments.get((kind, name))
                self.moments[kind, name] = found if known is None else known + found
        return with_similarity(scores, rows["clip"]) if "clip" in rows else scores

    @property
    def numbers(self) -> dict[str, dict[str, float]]:
        """Return metric -> answer -> distance; nothing of a single image."""
        titles = {"clip": "fid_clip", "inception": "fid"}
        found: dict[str, dict[str, float]] = {}
        for (kind, name), moments in self.moments.items():
            true = self.moments[kind, TRUE]
            if name != TRUE and true.count > 1:
                found.setdefault(titles[kind], {})[name] = frechet_distance(moments, true)
        return found

    @property
    def weights(self) -> dict[str, str]:
        """Name the networks and the digests of their weights, by kind."""
        return {one.kind: f"{one.about}, SHA-256 {one.digest}" for one in self.embedders}

    def notes(self) -> list[str]:
        """Say which networks they are, and how little few images tell."""
        lines = [f"{kind}: {text}" for kind, text in self.weights.items()]
        counts = {self.moments[one.kind, TRUE].count for one in self.embedders if self.moments}
        if counts and (count := max(counts)) < LEAST_IMAGES:
            lines.append(
                f"warning: FID of {count} images only: few images make it larger and unsure (its "
                f"authors ask for {LEAST_IMAGES:,}); compare it with FID of as many images alone"
            )
        return lines

    def missing(self, asked: Sequence[str]) -> list[str]:
        """Say which of some metrics were not measured, and why.

        Args:
            asked: keys of :data:`METRICS_OF_WEIGHTS`.
        """
        kinds = {one.kind for one in self.embedders}
        needed = {"clip": "clip", "fid": "inception", "fid_clip": "clip"}
        lines = [METRICS_OF_WEIGHTS[one] for one in asked if needed[one] not in kinds]
        if any(one.count == 1 for one in self.moments.values()):
            lines.append("FID: of a single image there is no covariance")
        return lines
