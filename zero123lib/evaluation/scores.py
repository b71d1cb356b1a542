"""What an answer to a question is worth, view by view, and what many are worth together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123lib import metrics
from zero123lib._errors import ArgumentError
from zero123lib.evaluation.obedience import (
    recovered_azimuths_deg,
    render_ring,
    ring_errors,
    tells_azimuth,
)
from zero123lib.evaluation.questions import Question

# An answer that equals the truth counts as this much: 8 bits cannot show what lies above.
PSNR_CAP_DB = 100.0


@dataclass(frozen=True)
class Scores:
    """Four numbers, of one view or of many.

    Attributes:
        psnr_db: at most 100 for each view, averaged.
        ssim: averaged.
        silhouette_iou: averaged.
        azimuth_error_deg: the median over the views that can tell the azimuth; None where none
            of them can.
    """

    psnr_db: float
    ssim: float
    silhouette_iou: float
    azimuth_error_deg: float | None

    def to_dict(self) -> dict[str, float | None]:
        """For JSON, rounded to 4 digits after the point."""
        return {
            name: None if value is None else round(value, 4) for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class ViewScore:
    """One answer to one view of a question.

    Attributes:
        whole: over the whole picture.
        inside: over the union of the input's and the target's silhouettes.
        tells_azimuth: whether the true view can tell its azimuth; else its error counts nowhere.
    """

    whole: Scores
    inside: Scores
    tells_azimuth: bool

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ViewScore:
        """Undo :func:`dataclasses.asdict`."""
        whole, inside = Scores(**content["whole"]), Scores(**content["inside"])
        return cls(whole, inside, content["tells_azimuth"])


@dataclass(frozen=True)
class Entry:
    """One answer to all questions: over the whole picture, and inside the silhouettes."""

    whole: Scores
    inside: Scores

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the numbers of the whole picture, and ``inside`` those inside."""
        return {**self.whole.to_dict(), "inside": self.inside.to_dict()}


def score_answers(
    question: Question, answers: Mapping[str, Tensor]
) -> dict[str, tuple[ViewScore, ...]]:
    """The scores of some answers to one question, view by view.

    Args:
        answers: name -> ``[N, 3, S, S]`` in [0, 1], or one picture ``[3, S, S]`` for all views.

    Raises:
        ValueError: for an answer of another shape, or one that is not finite.
    """
    stacked = torch.stack([_checked(name, answers[name], question) for name in answers], 1)
    rows = [
        _score_view(question, view, made)
        for view, made in enumerate(stacked)  # [K, 3, S, S], K answers
    ]
    return dict(zip(answers, zip(*rows, strict=True), strict=True))


def _checked(name: str, answer: Tensor, question: Question) -> Tensor:
    answer = answer.detach().to(question.targets)
    if answer.shape not in (question.targets.shape, question.targets.shape[1:]):
        raise ArgumentError(
            name, f"pictures {list(question.targets.shape)}", str(list(answer.shape))
        )
    if not answer.isfinite().all():
        raise ArgumentError(name, "finite pictures", "NaN or infinity")
    return answer.expand_as(question.targets)


def _score_view(question: Question, view: int, made: Tensor) -> list[ViewScore]:
    """Scores of K answers ``[K, 3, S, S]`` to one view."""
    target, inside = question.targets[view], question.inside[view]
    ring = render_ring(question.scene, question.target_poses[view], target.shape[-1])
    tells = tells_azimuth(target, ring)
    targets, shapes = target.expand_as(made), question.silhouettes[view].expand(len(made), -1, -1)
    similarity, found = metrics.ssim_map(made, targets), metrics.silhouette(made)
    parts = []
    for mask in (None, inside):
        masks = None if mask is None else mask.expand_as(shapes)
        azimuths_deg = recovered_azimuths_deg(ring_errors(made, ring, mask))
        true_deg = torch.full_like(azimuths_deg, ring.target_azimuth_deg)
        columns = (
            metrics.psnr(made, targets, masks).clamp_max(PSNR_CAP_DB),
            metrics.masked_mean(similarity, masks),
            metrics.silhouette_iou(found, shapes, masks),
            metrics.azimuth_error_deg(azimuths_deg, true_deg),
        )
        parts.append([Scores(*row) for row in torch.stack(columns, 1).tolist()])
    return [ViewScore(whole, inner, tells) for whole, inner in zip(*parts, strict=True)]


def summarize(scores: Iterable[ViewScore]) -> Entry:
    """All views as one entry.

    Raises:
        ValueError: where there is none.
    """
    rows = list(scores)
    if not rows:
        raise ArgumentError("scores", "at least one view", "none")
    tell = [row.tells_azimuth for row in rows]
    return Entry(_summary([r.whole for r in rows], tell), _summary([r.inside for r in rows], tell))


def _summary(rows: Sequence[Scores], tell: Sequence[bool]) -> Scores:
    errors = [
        row.azimuth_error_deg
        for row, counts in zip(rows, tell, strict=True)
        if counts and row.azimuth_error_deg is not None
    ]
    return Scores(
        math.fsum(row.psnr_db for row in rows) / len(rows),
        math.fsum(row.ssim for row in rows) / len(rows),
        math.fsum(row.silhouette_iou for row in rows) / len(rows),
        statistics.median(errors) if errors else None,
    )
