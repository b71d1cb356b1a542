"""The scores of an object's views under a protocol, beside answers that need no model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from zero123lib import metrics
from zero123lib._errors import ArgumentError
from zero123lib.evaluation.cells import cell, read_cell, write_cell
from zero123lib.evaluation.folders import ObjectPair, read_input, read_views
from zero123lib.evaluation.posed_folders import rig_views
from zero123lib.evaluation.protocols import Protocol, Similarity, nearest_view
from zero123lib.evaluation.scores import PSNR_CAP_DB
from zero123lib.evaluation.self_consistency import fit
from zero123lib.fields.fitting import FitSettings
from zero123lib.lpips import LPIPS
from zero123lib.views.poses import Pose

# Counts up when our code comes to score otherwise, so that no old file is read then.
_SCORING = 2
# In another order the views' mean squared error would be less than this share of what it is.
_SWAPPED = 0.5
_ORDER_PX = 32
PREDICTION = "prediction"
# Predictions and baselines by their names, and the true views, each [V, 3, H, W] in [0, 1].
Answers = tuple[Mapping[str, Tensor], Tensor]

SSIM: dict[Similarity, Callable[[Tensor, Tensor], Tensor]] = {
    "torchmetrics": metrics.ssim,
    "torchmetrics single": metrics.ssim_single,
    "uniform 7": lambda made, true: metrics.ssim_uniform(made.double(), true.double(), 7),
    "uniform 11": lambda made, true: metrics.ssim_uniform(made, true, 11),
    "zero-padded": metrics.ssim_zero_padded,
}


@dataclass(frozen=True)
class ObjectScores:
    """The numbers of one object.

    Attributes:
        name: of the object.
        items: names of its views, in order; or "mesh" alone.
        answers: ``"prediction"`` and the baselines -> metric -> a number for each item.
        note: what a reader should know of this object, else "".
        single: the metric whose mean the published script takes in float32, else "".
    """

    name: str
    items: Sequence[str]
    answers: Mapping[str, Mapping[str, Sequence[float]]]
    note: str = ""
    single: str = ""

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> ObjectScores:
        """Undo ``dataclasses.asdict``.

        Raises:
            ValueError, KeyError, TypeError: the content is not that of an object's scores.
        """
        found = cls(**content)
        if not found.items or not dict(found.answers["prediction"]):
            raise ValueError("no scores")
        for answer, scores in dict(found.answers).items():
            for metric, values in dict(scores).items():
                if len(values) != len(found.items):
                    raise ValueError("not a score of each item")
                found.mean(answer, metric)  # which are numbers
        return found

    def mean(self, answer: str, metric: str) -> float:
        """Return the mean of a metric over the object's items."""
        values = self.answers[answer][metric]
        if metric == self.single:
            return float(np.mean(np.asarray(values, np.float32)))
        return sum(values) / len(values)


def score_views(
    protocol: Protocol,
    pair: ObjectPair,
    lpips: LPIPS | None,
    cells: Path | None = None,
    engine: FitSettings | None = None,
    shown: Callable[[], Answers] | None = None,
) -> ObjectScores:
    """Score one object's views, and those of the baselines.

    Args:
        lpips: of the protocol's trunk; None leaves LPIPS out.
        cells: folder of what is known already; None keeps nothing.
        engine: how the truth is fitted for the baseline ``engine``; None leaves it out.
        shown: :func:`answers_of` of the same, where others ask it too; not asked of what is known.

    Raises:
        ArgumentError: an image is not what the protocol takes.
    """
    file = None
    if cells is not None:
        file = cell(cells, [*views_key(protocol, pair, engine), _digest(lpips)])
        if (known := known_scores(file)) is not None:
            return known
    answers, true = answers_of(protocol, pair, engine) if shown is None else shown()
    made = answers[PREDICTION]
    scored = _scores(protocol, answers, true, lpips)
    names = [view.name for view in pair.views]
    single = "psnr_db" if protocol.summed_singly else ""
    found = ObjectScores(pair.name, names, scored, order_note(names, made, true), single)
    if file is not None:
        write_cell(file, asdict(found))
    return found


def answers_of(protocol: Protocol, pair: ObjectPair, engine: FitSettings | None = None) -> Answers:
    """Read an object's views; return the prediction and the baselines, and the true views.

    Raises:
        ArgumentError: an image is not what the protocol takes.
    """
    made, true = read_views(protocol, pair)
    given = read_input(protocol, pair, true)
    answers = {PREDICTION: made, **baselines(true, given, pair.cameras)}
    if engine is not None:
        answers["engine"] = through_engine(protocol, pair, engine)
    return answers, true


def known_scores(file: Path) -> ObjectScores | None:
    """Read an object's scores of a cell; None where it holds none."""
    return read_cell(file, ObjectScores.from_dict)


def baselines(true: Tensor, given: Tensor, cameras: Sequence[Pose]) -> dict[str, Tensor]:
    """Make the answers that need no model, for true views ``[V, 3, H, W]``.

    ``input``: what a model is given, ``[1, 3, H, W]``, for every camera; ``blank``: white;
    ``nearest``: the true view of the nearest other camera, where they are known.
    """
    found = {"input": given.expand_as(true), "blank": torch.ones_like(true[:1]).expand_as(true)}
    if cameras:
        found["nearest"] = true[[nearest_view(cameras, view) for view in range(len(true))]]
    return found


def through_engine(protocol: Protocol, pair: ObjectPair, settings: FitSettings) -> Tensor:
    """Fit a field to all true views of a rig, and show it from their cameras.

    What a model's views could score at best if they had to come from our engine.

    Returns:
        ``[V, 3, S, S]`` in [0, 1], in the protocol's size.
    """
    rig = protocol.rig
    assert rig is not None and rig.focal_px is not None, "only asked where the cameras are known"
    views = rig_views({view.name: view.truth for view in pair.views}, rig)
    fitted = fit(views, settings)
    seen = [fitted.see(camera, rig.size_px).color for camera in views.cameras_to_world]
    return torch.stack(seen).movedim(-1, 1).clamp(0, 1)


def score_images(
    protocol: Protocol, made: Tensor, true: Tensor, lpips: LPIPS | None = None
) -> dict[str, list[float]]:
    """Score images against their truths as a protocol does.

    Args:
        made, true: ``[V, 3, H, W]`` in [0, 1].
        lpips: None leaves LPIPS out.

    Raises:
        ArgumentError: the shapes differ, or an image is not finite.
    """
    if made.shape != true.shape:
        raise ArgumentError("made", f"images {list(true.shape)}", str(list(made.shape)))
    for name, images in (("made", made), ("true", true)):
        if not images.isfinite().all():
            raise ArgumentError(name, "finite images", "NaN or infinity")
    psnr = metrics.psnr_single if protocol.summed_singly else metrics.psnr
    found = {
        "psnr_db": psnr(made, true).clamp_max(PSNR_CAP_DB).tolist(),
        "ssim": SSIM[protocol.similarity](made, true).tolist(),
    }
    if protocol.name == "folder":
        ious = metrics.silhouette_iou(metrics.silhouette(made), metrics.silhouette(true))
        found["silhouette_iou"] = ious.tolist()
    if lpips is not None:
        with torch.no_grad():
            pairs = zip(made.float().split(1), true.float().split(1), strict=True)
            found["lpips"] = [float(lpips(one, other)) for one, other in pairs]
    return found


def _scores(
    protocol: Protocol, answers: Mapping[str, Tensor], true: Tensor, lpips: LPIPS | None
) -> dict[str, dict[str, list[float]]]:
    """Score all answers; of an image that several of them show, LPIPS's features are made once."""
    scored = {name: score_images(protocol, images, true) for name, images in answers.items()}
    if lpips is None:
        return scored
    images: dict[bytes, Tensor] = {}

    @lru_cache(maxsize=16)
    def features(key: bytes) -> list[Tensor]:
        return lpips.features(images[key])

    def known(image: Tensor) -> list[Tensor]:
        key = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
        images[key] = image[None]
        return features(key)

    for name in answers:
        scored[name]["lpips"] = []
    with torch.no_grad():
        for view, target in enumerate(true):
            for name, shown in answers.items():
                distance = lpips.between(known(shown[view]), known(target))
                scored[name]["lpips"].append(float(distance))
    return scored


def order_note(names: Sequence[str], made: Tensor, true: Tensor) -> str:
    """Say where the predictions fit the truth far better in another order; "" where they do not."""
    small = [
        torch.nn.functional.adaptive_avg_pool2d(one, _ORDER_PX).flatten(1) for one in (made, true)
    ]
    errors = torch.cdist(small[0].double(), small[1].double()).square()
    rows, columns = linear_sum_assignment(errors.numpy())
    best = float(errors[rows, columns].sum())
    if len(names) < 2 or best >= _SWAPPED * float(errors.diagonal().sum()):
        return ""
    first = next(row for row in rows if columns[row] != row)
    return (
        f"the views seem to be in another order: {names[first]} as predicted is most like "
        f"{names[columns[first]]} of the truth"
    )


def views_key(protocol: Protocol, pair: ObjectPair, engine: FitSettings | None) -> list[Any]:
    """Return what an object's views under a protocol depend on, as JSON has it."""
    digest = hashlib.sha256()
    for view in pair.views:
        for file in (view.prediction, view.truth):
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    if pair.input is not None:
        digest.update(hashlib.sha256(pair.input.read_bytes()).digest())
    names = [view.name for view in pair.views]
    rules = [
        protocol.name, asdict(protocol.truth), asdict(protocol.prediction), protocol.similarity,
        protocol.summed_singly,
        asdict(protocol.rig) if protocol.rig else [asdict(one) for one in pair.cameras] or None,
    ]  # fmt: skip
    fitted = [] if engine is None else [repr(engine)]
    return [_SCORING, pair.name, names, rules, digest.hexdigest(), *fitted]


def _digest(lpips: LPIPS | None) -> str | None:
    """Compute a digest of LPIPS's heads; None where there is none."""
    if lpips is None:
        return None
    heads = torch.cat([one.flatten() for one in lpips.parameters() if one.ndim == 1])
    return hashlib.sha256(heads.numpy(force=True).tobytes()).hexdigest()
