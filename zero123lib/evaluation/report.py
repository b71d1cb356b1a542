"""All answers as one report: numbers, and what they are numbers of."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zero123lib._versions import versions
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import Sampler
from zero123lib.evaluation.answers import TRIVIAL, Answered, Setting, answer_scenes
from zero123lib.evaluation.scores import Entry, Scores, ViewScore, summarize
from zero123lib.scenes import KINDS

OBJECTS, VIEWS = 100, 8


@dataclass(frozen=True)
class Report:
    """What a model and three trivial answers scored on held-out objects.

    Attributes:
        model, licence, image_size: of the pipeline.
        setting: how it was asked.
        objects, views: how many objects, and views of each.
        kinds: that the objects were drawn from.
        replaced: objects that gave way, see :mod:`zero123lib.evaluation.questions`.
        azimuth_views: views that can tell their azimuth, see
            :mod:`zero123lib.evaluation.obedience`.
        entry: the model's scores.
        baselines: those of ``input``, ``blank`` and ``mean``.
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
    seconds: float
    model_seconds: float

    @property
    def margin_db(self) -> tuple[float, float]:
        """PSNR above the best trivial answer, over the whole picture and inside."""
        trivial = self.baselines.values()
        return (
            self.entry.whole.psnr_db - max(entry.whole.psnr_db for entry in trivial),
            self.entry.inside.psnr_db - max(entry.inside.psnr_db for entry in trivial),
        )

    def to_dict(self, command: str | None = None) -> dict[str, Any]:
        """For JSON.

        Args:
            command: that gives this report.
        """
        return {
            "protocol": "scenes",
            "model": self.model,
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
            "versions": versions(),
            "command": command,
            "seconds": round(self.seconds, 1),
            "model_seconds": round(self.model_seconds, 1),
        }

    def table(self) -> str:
        """Some lines of text for people."""
        margins = [f"{margin:+.2f}" for margin in self.margin_db]
        return "\n".join(
            [
                *scores_table({"model": self.entry, **self.baselines}),
                f"PSNR above the best of the others: {margins[0]} dB, inside {margins[1]} dB",
                f"azimuth error: median over the {self.azimuth_views} of "
                f"{self.objects * self.views} views that can tell it",
                f"kinds of objects: {', '.join(self.kinds)}",
                f"objects that gave way, their silhouettes being too small: {self.replaced}",
            ]
        )


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
    """Ask a model about held-out objects; :func:`answer_scenes` does the same step by step.

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
    return report_scenes(pipe, setting, answer_scenes(pipe, setting, objects, views, kinds))


def report_scenes(pipe: Zero123Pipeline, setting: Setting, answers: Iterable[Answered]) -> Report:
    """The report of some answers, each of which is forgotten once it is counted.

    Raises:
        ValueError: where there is none.
    """
    started, model_seconds, objects, replaced = time.perf_counter(), 0.0, 0, 0
    kinds: frozenset[str] = frozenset()
    scores: dict[str, list[ViewScore]] = {name: [] for name in ("model", *TRIVIAL)}
    for answer in answers:
        objects, replaced = objects + 1, answer.question.replaced
        kinds = answer.question.kinds
        model_seconds += answer.seconds
        for name, rows in scores.items():
            rows.extend(answer.scores[name])
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
        seconds=time.perf_counter() - started,
        model_seconds=model_seconds,
    )


def scores_table(entries: Mapping[str, Entry]) -> list[str]:
    """Lines of text: one per entry, the whole picture on the left, inside on the right."""
    width = max(map(len, entries))
    columns = f"{'PSNR dB':>8} {'SSIM':>6} {'IoU':>6} {'azimuth':>8}"
    rows = [
        f"{name:{width}}  {_cells(entry.whole)}   {_cells(entry.inside)}"
        for name, entry in entries.items()
    ]
    titles = f"{'picture':^{len(columns)}}   {'inside the silhouettes':^{len(columns)}}".rstrip()
    return [f"{'':{width}}  {titles}", f"{'':{width}}  {columns}   {columns}", *rows]


def _cells(scores: Scores) -> str:
    azimuth = "-" if scores.azimuth_error_deg is None else f"{scores.azimuth_error_deg:.1f}°"
    return f"{scores.psnr_db:8.2f} {scores.ssim:6.3f} {scores.silhouette_iou:6.3f} {azimuth:>8}"
