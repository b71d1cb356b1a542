"""All predictions as one report: numbers, and what they are numbers of."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from zero123lib._versions import versions
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import Sampler
from zero123lib.evaluation.embedders import Embedder
from zero123lib.evaluation.embeddings import Distances
from zero123lib.evaluation.predictions import (
    BASELINES,
    Prediction,
    Setting,
    baseline_predictions,
    predict_scenes,
)
from zero123lib.evaluation.protocol_report import PREDICTION, ProtocolReport
from zero123lib.evaluation.samples import SceneSample
from zero123lib.evaluation.scores import Entry, Scores, ViewScore, summarize
from zero123lib.evaluation.view_pairs import Answers, ObjectScores
from zero123lib.evaluation.weights import weights_digest
from zero123lib.lpips import LEAST_SIDE_PX, WEIGHTS, file_digest
from zero123lib.scenes import KINDS

OBJECTS, VIEWS = 100, 8
_BY_OBJECT = ("psnr_db", "ssim", "lpips", "silhouette_iou")


@dataclass(frozen=True)
class Report:
    """The scores of a model and three baselines on held-out objects.

    Attributes:
        model, licence, image_size: of the pipeline.
        setting: how it was asked.
        objects, views: how many objects, and views of each.
        kinds: that the scenes were drawn from; none where the objects are a data set's.
        replaced: objects that gave way, see :mod:`zero123lib.evaluation.samples`.
        azimuth_views: views that can tell their azimuth, see
            :mod:`zero123lib.evaluation.pose_accuracy`.
        entry: the model's scores.
        baselines: those of ``input``, ``blank`` and ``mean``.
        by_object: the same views, object by object: means with intervals.
        weights: SHA-256 of the model's.
        seconds: for everything.
        model_seconds: for the model's views alone.
    """

    model: str
    licence: str | None
    image_size: int
    setting: Setting
    objects: int
    views: int
    kinds: Sequence[str]
    replaced: int
    azimuth_views: int
    entry: Entry
    baselines: Mapping[str, Entry]
    by_object: ProtocolReport
    weights: str
    seconds: float
    model_seconds: float

    @property
    def margin_db(self) -> tuple[float, float]:
        """Give the PSNR above the best baseline's, over the whole image and inside."""
        others = self.baselines.values()
        return (
            self.entry.whole.psnr_db - max(entry.whole.psnr_db for entry in others),
            self.entry.inside.psnr_db - max(entry.inside.psnr_db for entry in others),
        )

    def to_dict(self, command: str | None = None) -> dict[str, Any]:
        """Return the report for JSON.

        Args:
            command: that gives this report.
        """
        return {
            "protocol": "scenes" if self.kinds else "objects",
            "model": self.model,
            "weights": self.weights,
            "licence": self.licence,
            "image_size": self.image_size,
            "objects": self.objects,
            "views": self.views,
            "kinds": list(self.kinds),
            "objects_replaced": self.replaced,
            "azimuth_views": self.azimuth_views,
            "steps": self.setting.steps,
            "guidance": self.setting.guidance,
            "sampler": self.setting.sampler,
            "seed": self.setting.seed,
            **self.entry.to_dict(),
            "baselines": {name: entry.to_dict() for name, entry in self.baselines.items()},
            "by_object": self.by_object.numbers(),
            "versions": versions(),
            "command": command,
            "seconds": round(self.seconds, 1),
            "model_seconds": round(self.model_seconds, 1),
        }

    def table(self) -> str:
        """Write some lines of text for people."""
        margins = [f"{margin:+.2f}" for margin in self.margin_db]
        lines = [
            *scores_table({"model": self.entry, **self.baselines}),
            f"PSNR above the best of the others: {margins[0]} dB, inside {margins[1]} dB",
            *self.by_object.spans(),
            *self.by_object.overall_lines(),
        ]
        if self.kinds:
            lines += [
                f"azimuth error: median over the {self.azimuth_views} of "
                f"{self.objects * self.views} views that can tell it",
                f"kinds of objects: {', '.join(self.kinds)}",
                f"objects that gave way, their silhouettes being too small: {self.replaced}",
            ]
        return "\n".join(lines)


def evaluate_scenes(
    pipe: Zero123Pipeline,
    objects: int = OBJECTS,
    views: int = VIEWS,
    *,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    sampler: Sampler = "ddim",
    seed: int = 0,
    kinds: Collection[str] | None = None,
) -> Report:
    """Measure a model on held-out scenes; :func:`predict_scenes` does the same step by step.

    Args:
        objects, views: how many objects, and target views of each.
        num_inference_steps, guidance_scale: None takes what the model recommends.
        sampler: as for the pipeline.
        seed: of the noise.
        kinds: of the objects, names in ``zero123lib.scenes.KINDS``; None takes the model's own, or
            all where it does not say.

    Raises:
        ValueError: an argument is out of range; the message names it.
    """
    setting = Setting.of(pipe, num_inference_steps, guidance_scale, sampler, seed)
    return report_predictions(pipe, setting, predict_scenes(pipe, setting, objects, views, kinds))


def report_predictions(
    pipe: Zero123Pipeline,
    setting: Setting,
    predictions: Iterable[Prediction],
    embedders: Sequence[Embedder] = (),
) -> Report:
    """Count predictions into a report, each of which is forgotten once it is counted.

    Args:
        embedders: networks for CLIP similarity and FID; without them, none.

    Raises:
        ValueError: where there is none.
    """
    started, model_seconds, objects, replaced = time.perf_counter(), 0.0, 0, 0
    kinds: frozenset[str] = frozenset()
    scores: dict[str, list[ViewScore]] = {name: [] for name in ("model", *BASELINES)}
    by_object: list[ObjectScores] = []
    distances = Distances(embedders)
    for one in predictions:
        objects += 1
        if isinstance(one.sample, SceneSample):
            replaced, kinds = one.sample.replaced, one.sample.kinds
        model_seconds += one.seconds
        features = distances.embed(partial(_answers, one))
        by_object.append(distances.count(object_scores(one), features))
        for name, rows in scores.items():
            rows.extend(one.scores[name])
    entries = {name: summarize(rows) for name, rows in scores.items()}
    return Report(
        model=pipe.model_name,
        licence=pipe.licence,
        image_size=pipe.image_size,
        setting=setting,
        objects=objects,
        views=len(scores["model"]) // objects,
        kinds=[kind for kind in KINDS if kind in kinds],
        replaced=replaced,
        azimuth_views=sum(row.tells_azimuth for row in scores["model"]),
        entry=entries.pop("model"),
        baselines=entries,
        by_object=views_report("scenes" if kinds else "objects", by_object, distances),
        weights=weights_digest(pipe),
        seconds=time.perf_counter() - started,
        model_seconds=model_seconds,
    )


def object_scores(one: Prediction) -> ObjectScores:
    """Return the numbers of one object's whole images, in the form of all protocols."""
    answers: dict[str, dict[str, list[float]]] = {}
    for name, rows in one.scores.items():
        columns = {metric: [getattr(row.whole, metric) for row in rows] for metric in _BY_OBJECT}
        measured = {metric: values for metric, values in columns.items() if None not in values}
        answers[PREDICTION if name == "model" else name] = measured
    items = [f"{view:03d}" for view in range(len(one.sample.target_poses))]
    return ObjectScores(object_name(one), items, answers)


def object_name(one: Prediction) -> str:
    """Name a prediction's object, unlike all others of its report."""
    return f"{one.sample.index:03d} {one.sample.name}"


def _answers(one: Prediction) -> Answers:
    """Return the prediction and the baselines of one object, and its true views."""
    true = one.sample.targets
    others = {
        name: image.expand_as(true) for name, image in baseline_predictions(one.sample).items()
    }
    return {PREDICTION: one.views, **others}, true


def views_report(
    protocol: str, objects: Sequence[ObjectScores], distances: Distances
) -> ProtocolReport:
    """Return what is said of held-out objects one by one."""
    about = {
        "scenes": "held-out procedural objects, each seen from random cameras",
        "objects": "objects of a data set, each seen from its other cameras",
    }[protocol]
    measured = "lpips" in objects[0].answers[PREDICTION]
    weights = {"lpips": "alex", "sha256": file_digest(WEIGHTS)} if measured else {}
    missing = [] if measured else [f"LPIPS: images of less than {LEAST_SIDE_PX} px"]
    missing += distances.missing(("clip", "fid"))
    return ProtocolReport(
        protocol,
        about,
        {},
        objects,
        weights,
        missing,
        distances.notes(),
        overall=distances.numbers,
        networks=distances.weights,
    )


def scores_table(entries: Mapping[str, Entry]) -> list[str]:
    """Write lines of text: one per entry, the whole image on the left, inside on the right."""
    width = max(map(len, entries))
    columns = f"{'PSNR dB':>8} {'SSIM':>6} {'LPIPS':>6} {'IoU':>6} {'azimuth':>8}"
    rows = [
        f"{name:{width}}  {_cells(entry.whole)}   {_cells(entry.inside)}"
        for name, entry in entries.items()
    ]
    titles = f"{'image':^{len(columns)}}   {'inside the silhouettes':^{len(columns)}}".rstrip()
    return [f"{'':{width}}  {titles}", f"{'':{width}}  {columns}   {columns}", *rows]


def _cells(scores: Scores) -> str:
    azimuth = "-" if scores.azimuth_error_deg is None else f"{scores.azimuth_error_deg:.1f}°"
    distance = "-" if scores.lpips is None else f"{scores.lpips:.3f}"
    return (
        f"{scores.psnr_db:8.2f} {scores.ssim:6.3f} {distance:>6} {scores.silhouette_iou:6.3f} "
        f"{azimuth:>8}"
    )
