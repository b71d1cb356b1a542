"""Self-consistency of many objects as one report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib._files import json_bytes, write_bytes
from zero123lib.evaluation.cells import cell, read_cell, write_cell
from zero123lib.evaluation.evaluated import lines_of
from zero123lib.evaluation.files import csv_bytes
from zero123lib.evaluation.mesh_images import on_white
from zero123lib.evaluation.page import jpeg, page, views_sheet
from zero123lib.evaluation.posed_folders import SIZE_PX, Subject
from zero123lib.evaluation.protocol_report import ProtocolReport
from zero123lib.evaluation.self_consistency import (
    FIT,
    Agreement,
    agreeing,
    fit,
    repeated,
    self_consistency,
)
from zero123lib.evaluation.view_pairs import ObjectScores, known_scores
from zero123lib.fields.fitting import FitSettings
from zero123lib.lpips import LEAST_SIDE_PX, WEIGHTS, file_digest
from zero123lib.reconstruction.posed import PosedViews

ABOUT = {
    "mvgbench": "MVGBench's self-consistency (Xie et al. 2025): even and odd views fitted apart "
    "and compared",
    "consistency": "even and odd views fitted apart and compared, and views looked for in their "
    "neighbours by the fitted depth; no truth is asked",
}
# Counts up when our code comes to score otherwise, so that no old file is read then.
_SCORING = 2


@dataclass(frozen=True)
class ConsistencyRun:
    """Objects whose views are measured.

    Attributes:
        protocol: one of :data:`ABOUT`.
        sources: where the views are from, for the report.
        pairs: an object's name, and how to get its views.
        notes: what a reader has to know of these views.
        settings: of the fits.
        size: pixels of the views' sides at most, as the pairs read them.
        drawn: sheets of the objects that were measured, by their names.
        told: told of steps of fits that are done, :func:`steps_of` for each object.
    """

    protocol: str
    sources: Mapping[str, str]
    pairs: Sequence[tuple[str, Callable[[], Subject]]]
    notes: Sequence[str] = ()
    settings: FitSettings = FIT
    size: int = SIZE_PX
    drawn: dict[str, bytes] = field(default_factory=dict)
    told: Callable[[int], Any] = lambda steps: None

    def scores(self, cells: Path | None = None, workers: int = 1) -> Iterator[ObjectScores]:
        """Measure one object after the other, in order, as
        :meth:`zero123lib.evaluation.evaluated.ViewsRun.scores` does."""
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(lambda pair: self._score(pair[1](), cells), self.pairs)

    def _score(self, subject: Subject, cells: Path | None) -> ObjectScores:
        file = None if cells is None else cell(cells, self._key(subject))
        picture = None if file is None else file.with_suffix(".jpg")
        known = None if file is None else known_scores(file)
        if known is not None and picture is not None and picture.is_file():
            self.drawn[subject.name] = picture.read_bytes()
            self.told(steps_of(subject.truth is not None, self.settings))
            return known
        found, sheet = score_subject(subject, self.settings, cells, self.told)
        self.drawn[subject.name] = sheet
        if file is not None and picture is not None:
            write_bytes(picture, sheet)
            write_cell(file, asdict(found))
        return found

    def _key(self, subject: Subject) -> list[Any]:
        views = [_digest(one) for one in (subject.views, subject.truth) if one is not None]
        shown = hashlib.sha256(subject.input.contiguous().numpy().tobytes()).hexdigest()
        return [_SCORING, subject.name, repr(self.settings), views, shown]

    def report(self, scored: Sequence[ObjectScores]) -> ProtocolReport:
        """Make the report of all objects."""
        missing = []
        beside: list[str] = []
        if self.protocol == "mvgbench":
            beside = [
                "the halves are compared from 16 cameras, 10 degrees above and below the views': "
                "the protocol's own are in no repository",
                "reprojection is beside the protocol",
            ]
            missing = [
                "oFID: this verb takes no weights of CLIP; evaluate folder --clip has FID on CLIP",
                "IQ-vlm, class, color, style: the weights of InternVL2.5-78B are not to be had",
            ]
        lpips = any("lpips" in one.answers["prediction"] for one in scored)
        if not lpips:
            missing.append(f"LPIPS: images of less than {LEAST_SIDE_PX} px")
        fit = self.settings
        notes = [
            "MVGBench's fits are Gaussians: its published numbers do not stand beside",
            "agreeing is images of the field of all views: what the fits themselves cost",
            "a blank image is no baseline here: there is nothing to fit",
            *beside,
            *self.notes,
        ]
        return ProtocolReport(
            self.protocol,
            f"{ABOUT[self.protocol]}; fits are voxel fields of ours, {fit.steps} steps, "
            f"{fit.resolutions[-1]} nodes a side, at {self.size} px or the views' own size",
            dict(self.sources),
            scored,
            {"lpips": "alex", "sha256": file_digest(WEIGHTS)} if lpips else {},
            missing,
            notes,
        )

    def files(self, report: ProtocolReport, command: str) -> dict[str, bytes]:
        """Encode the page, every object's numbers, and the report."""
        return {
            "report.html": page(report, lambda one: self.drawn.get(one.name), command),
            "views.csv": csv_bytes(lines_of(report)),
            "report.json": json_bytes(report.to_dict(command)),
        }


def steps_of(has_truth: bool, settings: FitSettings = FIT) -> int:
    """Count the steps of all fits of an object: three for its views and for each baseline."""
    return 3 * (4 if has_truth else 3) * settings.steps


def score_subject(
    subject: Subject,
    settings: FitSettings = FIT,
    cells: Path | None = None,
    told: Callable[[int], Any] = lambda steps: None,
) -> tuple[ObjectScores, bytes]:
    """Measure an object's views, and those of the baselines; its sheet comes with it.

    ``agreeing``: images of the field of all views; ``input``: the input for every camera;
    ``truth``: the true views, through the same fits.

    Args:
        cells: folder of the answers that are known already; None keeps nothing.
        told: told of steps of fits that are done, :func:`steps_of` in all.

    Raises:
        ArgumentError: there are too few views, or nothing can be fitted to them.
    """

    def measured(views: PosedViews) -> Agreement:
        return _measured(views, settings, cells, told)

    found = measured(subject.views)
    whole = found.whole
    if found.numbers and whole is None:  # its numbers alone were known
        with suppress(ValueError):
            whole = fit(subject.views, settings)
    if whole is None or not found.numbers:
        raise ArgumentError("predictions", f"views of one object in {subject.name}", found.note)
    smooth = agreeing(subject.views, whole)
    others = {"agreeing": smooth, "input": repeated(subject.views, subject.input)}
    others |= {} if subject.truth is None else {"truth": subject.truth}
    answers = {"prediction": found, **{name: measured(one) for name, one in others.items()}}
    shown = {name: {k: [v] for k, v in one.numbers.items()} for name, one in answers.items()}
    notes = [f"{name}: {one.note}" for name, one in answers.items() if one.note]
    sheet = views_sheet(
        list(subject.names),
        on_white(subject.views.images),
        on_white(smooth.images),
        titles=("field", "view", "error"),
    )
    return ObjectScores(subject.name, ["views"], shown, "; ".join(notes)), jpeg(sheet)


def _measured(
    views: PosedViews, settings: FitSettings, cells: Path | None, told: Callable[[int], Any]
) -> Agreement:
    """Measure one answer, or read its numbers where they are known; the field then is not."""
    file = None if cells is None else cell(cells, [_SCORING, repr(settings), _digest(views)])
    total, done = 3 * settings.steps, 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        told(count)

    found = None if file is None else read_cell(file, _agreement)
    if found is None:
        found = self_consistency(views, views.images.shape[1], settings, step)
        if file is not None:
            write_cell(file, {"numbers": dict(found.numbers), "note": found.note})
    told(total - done)  # of what was known, or could not be fitted
    return found


def _agreement(content: Any) -> Agreement:
    numbers = {str(name): float(value) for name, value in content["numbers"].items()}
    return Agreement(numbers, str(content["note"]), None)


def _digest(views: PosedViews) -> str:
    digest = hashlib.sha256(f"{views.fov_deg}".encode())
    for tensor in (views.images, views.cameras_to_world):
        digest.update(f"{list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
