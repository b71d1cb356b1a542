"""The same samples under many settings: curves against steps and guidance.

What one object scores under one setting is a small file, so that an interrupted sweep goes on
where it stopped and a finer one asks only what is new. The file is named by the object, the true
images and what was answered: a trivial image, or a setting with the model's weights, configs
and library versions. What has changed there is asked again.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.cells import cell, read_cell, write_cell
from zero123lib.evaluation.predictions import (
    BASELINES,
    Setting,
    baseline_predictions,
    evaluated_kinds,
    predict_views,
)
from zero123lib.evaluation.report import scores_table
from zero123lib.evaluation.samples import Sample, scene_samples
from zero123lib.evaluation.scores import Entry, ViewScore, score_predictions, summarize
from zero123lib.evaluation.weights import weights_fingerprint

# Counts up when our code comes to score or to sample otherwise, so that no old file is read then.
_SCORING = 2
_NUMBERS = ("psnr_db", "ssim", "lpips", "silhouette_iou", "azimuth_error_deg")


@dataclass(frozen=True)
class SweepStep:
    """One object's scores.

    Attributes:
        asked: settings under which the model made views; the others were known already.
        scores: setting -> scores, view by view.
        trivial: ``"input"``, ``"blank"`` and ``"mean"`` -> scores, view by view.
    """

    asked: int
    scores: Mapping[Setting, Sequence[ViewScore]]
    trivial: Mapping[str, Sequence[ViewScore]]


@dataclass(frozen=True)
class Curves:
    """All objects' scores.

    Attributes:
        entries: one per setting.
        baselines: of ``"input"``, ``"blank"`` and ``"mean"``.
    """

    entries: Mapping[Setting, Entry]
    baselines: Mapping[str, Entry]

    def table(self) -> str:
        """Return some lines of text for people."""
        rows = {f"steps {s.steps}, guidance {s.guidance:g}": e for s, e in self.entries.items()}
        return "\n".join(scores_table({**rows, **self.baselines}))

    def csv(self) -> str:
        """Return a spreadsheet: a line per setting, then one per trivial answer."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = [*_NUMBERS, *(f"inside_{name}" for name in _NUMBERS)]
        writer.writerow(["answer", "steps", "guidance", "sampler", "seed", *names])
        for setting, entry in self.entries.items():
            writer.writerow(["model", *asdict(setting).values(), *_numbers(entry)])
        for name, entry in self.baselines.items():
            writer.writerow([name, "", "", "", "", *_numbers(entry)])
        return text.getvalue()


def _numbers(entry: Entry) -> list[float | None]:
    return [part.to_dict()[name] for part in (entry.whole, entry.inside) for name in _NUMBERS]


def sweep_scenes(
    pipe: Zero123Pipeline,
    settings: Sequence[Setting],
    objects: int,
    views: int,
    cache: Path | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[SweepStep]:
    """Ask about one object after the other, under all settings.

    Args:
        objects, views: how many held-out objects, and target views of each.
        cache: folder for what is known; made when there is something to keep.
        kinds: of the objects; None takes what :func:`evaluated_kinds` says.

    Raises:
        ValueError: no setting, or an argument is out of range; the message names it.
    """
    if not settings:
        raise ArgumentError("settings", "at least one", "none")
    samples = scene_samples(objects, views, pipe.image_size, evaluated_kinds(pipe, kinds))
    model = weights_fingerprint(pipe) if cache else ""
    return (_step(pipe, settings, sample, cache, model) for sample in samples)


def curves(steps: Iterable[SweepStep]) -> Curves:
    """Return all steps of a sweep as one.

    Raises:
        ValueError: where there is none.
    """
    all_scores: dict[Setting, list[ViewScore]] = {}
    trivial: dict[str, list[ViewScore]] = {}
    for step in steps:
        for setting, rows in step.scores.items():
            all_scores.setdefault(setting, []).extend(rows)
        for name, rows in step.trivial.items():
            trivial.setdefault(name, []).extend(rows)
    if not all_scores:
        raise ArgumentError("steps", "at least one", "none")
    return Curves(
        {setting: summarize(rows) for setting, rows in all_scores.items()},
        {name: summarize(rows) for name, rows in trivial.items()},
    )


def _step(
    pipe: Zero123Pipeline,
    settings: Sequence[Setting],
    sample: Sample,
    cache: Path | None,
    model: str,
) -> SweepStep:
    truth = sample.fingerprint() if cache else ""
    trivial = baseline_predictions(sample)
    keys: dict[str, list[Any]] = {str(s): [truth, model, asdict(s)] for s in settings}
    keys |= {name: [truth, _digest(trivial[name])] for name in BASELINES}
    files = {name: cell(cache, [_SCORING, *key]) for name, key in keys.items()} if cache else {}
    known = {name: rows for name, file in files.items() if (rows := _read(file)) is not None}
    new = [setting for setting in settings if str(setting) not in known]
    answers = {str(setting): predict_views(pipe, setting, sample) for setting in new}
    answers |= {name: trivial[name] for name in BASELINES if name not in known}
    scored = score_predictions(sample, answers) if answers else {}
    for name, rows in scored.items():
        if cache:
            write_cell(files[name], [asdict(row) for row in rows])
    rows = {**known, **scored}
    return SweepStep(
        len(new),
        {setting: rows[str(setting)] for setting in settings},
        {name: rows[name] for name in BASELINES},
    )


def _digest(image: Tensor) -> str:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest()


def _read(file: Path) -> tuple[ViewScore, ...] | None:
    return read_cell(file, lambda rows: tuple(ViewScore.from_dict(row) for row in rows))
