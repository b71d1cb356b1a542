"""The scores of predicted views, view by view, and of many together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zero123lib import metrics
from zero123lib._errors import ArgumentError
from zero123lib.evaluation.pose_accuracy import (
    recovered_azimuths_deg,
    render_azimuth_sweep,
    sweep_errors,
    tells_azimuth,
)
from zero123lib.evaluation.samples import Sample, SceneSample
from zero123lib.lpips import LEAST_SIDE_PX, lpips_alex

# An answer that equals the truth counts as this much: 8 bits cannot show what lies above.
PSNR_CAP_DB = 100.0


@dataclass(frozen=True)
class Scores:
    """The numbers of one view or of many.

    Attributes:
        psnr_db: at most 100 for each view, averaged.
        ssim: averaged.
        lpips: averaged, by AlexNet; None inside silhouettes, where it is not defined, and for
            images of less than 31 px.
        silhouette_iou: averaged.
        azimuth_error_deg: the median over the views that can tell the azimuth; None where none
            of them can.
    """

    psnr_db: float
    ssim: float
    lpips: float | None
    silhouette_iou: float
    azimuth_error_deg: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return them for JSON, rounded to 4 digits after the point."""
        return {
            name: None if value is None else round(value, 4) for name, value in vars(self).items()
        }


@dataclass(frozen=True)
class ViewScore:
    """The scores of one predicted view.

    Attributes:
        whole: over the whole image.
        inside: over the union of the input's and the target's silhouettes.
        tells_azimuth: whether the true view can tell its azimuth; else its error counts nowhere.
    """

    whole: Scores
    inside: Scores
    tells_azimuth: bool

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ViewScore:
        """Undo ``dataclasses.asdict``."""
        whole, inside = Scores(**content["whole"]), Scores(**content["inside"])
        return cls(whole, inside, content["tells_azimuth"])


@dataclass(frozen=True)
class Entry:
    """One answer to all samples: over the whole image, and inside the silhouettes."""

    whole: Scores
    inside: Scores

    def to_dict(self) -> dict[str, Any]:
        """Return, for JSON, the numbers of the whole image, and ``inside`` those inside."""
        return {**self.whole.to_dict(), "inside": self.inside.to_dict()}


def score_predictions(
    sample: Sample, predictions: Mapping[str, Tensor]
) -> dict[str, tuple[ViewScore, ...]]:
    """Score some predictions of one sample's views.

    Args:
        predictions: name -> ``[N, 3, S, S]`` in [0, 1], or one image ``[3, S, S]`` for all views.

    Raises:
        ValueError: for a prediction of another shape, or one that is not finite.
    """
    stacked = torch.stack([_checked(name, predictions[name], sample) for name in predictions], 1)
    rows = [
        _score_view(sample, view, made)
        for view, made in enumerate(stacked)  # [K, 3, S, S], K predictions
    ]
    return dict(zip(predictions, zip(*rows, strict=True), strict=True))


def _checked(name: str, prediction: Tensor, sample: Sample) -> Tensor:
    prediction = prediction.detach().to(sample.targets)
    if prediction.shape not in (sample.targets.shape, sample.targets.shape[1:]):
        raise ArgumentError(
            name, f"images {list(sample.targets.shape)}", str(list(prediction.shape))
        )
    if not prediction.isfinite().all():
        raise ArgumentError(name, "finite images", "NaN or infinity")
    return prediction.expand_as(sample.targets)


def _score_view(sample: Sample, view: int, made: Tensor) -> list[ViewScore]:
    """Score K predictions ``[K, 3, S, S]`` of one view."""
    target, inside = sample.targets[view], sample.inside[view]
    targets, shapes = target.expand_as(made), sample.silhouettes[view].expand(len(made), -1, -1)
    similarity, found = metrics.ssim_map(made, targets), metrics.silhouette(made)
    tells, azimuth_errors = _azimuth_errors(sample, view, made)
    parts: list[list[Scores]] = []
    for mask, distance in ((None, _lpips(made, targets)), (inside, [None] * len(made))):
        masks = None if mask is None else mask.expand_as(shapes)
        columns = (
            metrics.psnr(made, targets, masks).clamp_max(PSNR_CAP_DB).tolist(),
            metrics.masked_mean(similarity, masks).tolist(),
            distance,
            metrics.silhouette_iou(found, shapes, masks).tolist(),
            azimuth_errors(mask),
        )
        parts.append([Scores(*row) for row in zip(*columns, strict=True)])
    return [ViewScore(whole, inner, tells) for whole, inner in zip(*parts, strict=True)]


def _lpips(made: Tensor, targets: Tensor) -> Sequence[float | None]:
    """Compute LPIPS ``[K]``, None each where images are too small for it."""
    if min(made.shape[-2:]) < LEAST_SIDE_PX:
        return [None] * len(made)
    with torch.no_grad():
        return lpips_alex()(made.float(), targets.float()).tolist()


def _azimuth_errors(
    sample: Sample, view: int, made: Tensor
) -> tuple[bool, Callable[[Tensor | None], Sequence[float | None]]]:
    """Tell whether a view tells its azimuth, and the errors within a mask; None without a scene."""
    if not isinstance(sample, SceneSample):
        return False, lambda mask: [None] * len(made)
    target = sample.targets[view]
    sweep = render_azimuth_sweep(sample.scene, sample.target_poses[view], target.shape[-1])

    def errors(mask: Tensor | None) -> list[float]:
        found_deg = recovered_azimuths_deg(sweep_errors(made, sweep, mask))
        true_deg = torch.full_like(found_deg, sweep.target_azimuth_deg)
        return metrics.azimuth_error_deg(found_deg, true_deg).tolist()

    return tells_azimuth(target, sweep), errors


def summarize(scores: Iterable[ViewScore]) -> Entry:
    """Summarise all views as one entry.

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
    distances = [row.lpips for row in rows if row.lpips is not None]
    return Scores(
        math.fsum(row.psnr_db for row in rows) / len(rows),
        math.fsum(row.ssim for row in rows) / len(rows),
        math.fsum(distances) / len(distances) if distances else None,
        math.fsum(row.silhouette_iou for row in rows) / len(rows),
        statistics.median(errors) if errors else None,
    )
