"""The files of an evaluation: every view or object as a line of CSV, sheets as PNGs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from zero123lib.evaluation import sheets
from zero123lib.evaluation.page import jpeg, page, views_sheet
from zero123lib.evaluation.predictions import Prediction
from zero123lib.evaluation.protocol_report import ProtocolReport
from zero123lib.evaluation.reconstruction import Scored, ShapeReport
from zero123lib.evaluation.report import object_name
from zero123lib.views.folder import SHEET, png
from zero123lib.views.images import to_pils
from zero123lib.views.sheet import contact_sheet

VIEW_COLUMNS = [
    "object", "seed", "kind", "view", "elevation_deg", "azimuth_deg", "radius", "answer",
    "tells_azimuth", "psnr_db", "ssim", "lpips", "silhouette_iou", "azimuth_error_deg",
    "inside_psnr_db", "inside_ssim", "inside_lpips", "inside_silhouette_iou",
    "inside_azimuth_error_deg",
]  # fmt: skip


@dataclass
class Kept:
    """Holds what a report's files need of the predictions that pass by.

    Attributes:
        draws: whether there will be files.
        shown: the first objects.
        lines: of every view.
        drawn: sheets of all objects, by their names.
    """

    draws: bool = True
    shown: list[Prediction] = field(default_factory=list)
    lines: list[list[Any]] = field(default_factory=list)
    drawn: dict[str, bytes] = field(default_factory=dict)

    def passing(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Hand the predictions on, and keep what is needed of them."""
        for one in predictions:
            if len(self.shown) < sheets.SHEET_OBJECTS:
                self.shown.append(one)
            self.lines.extend(view_lines(one))
            if self.draws:
                self.drawn[object_name(one)] = jpeg(object_sheet(one))
            yield one

    def files(self, report: ProtocolReport, command: str) -> dict[str, bytes]:
        """Encode the sheet of the first objects, the page, and every view as a line.

        Args:
            report: of the same objects, one by one.
            command: that gives it.
        """
        return {
            SHEET: png(sheets.evaluation_sheet(self.shown)),
            "report.html": page(report, lambda one: self.drawn.get(one.name), command),
            "views.csv": csv_bytes([VIEW_COLUMNS, *self.lines]),
        }


def object_sheet(one: Prediction) -> Image.Image:
    """Show the input, and truth, prediction and error of every view."""
    turns = [pose.relative_to(one.sample.condition_pose) for pose in one.sample.target_poses]
    names = ["input", *(f"{round(turn.azimuth_deg)}°" for turn in turns)]
    source = (one.sample.condition[None] + 1) / 2
    made, true = (torch.cat([source, views]) for views in (one.views, one.sample.targets))
    return views_sheet(names, made, true)


def view_lines(prediction: Prediction) -> Iterator[list[Any]]:
    """List :data:`VIEW_COLUMNS` of every view, the model's and the baselines'.

    Cameras are relative to the input's.
    """
    sample = prediction.sample
    for view, target in enumerate(sample.target_poses):
        pose = target.relative_to(sample.condition_pose)
        camera = [round(v, 4) for v in (pose.elevation_deg, pose.azimuth_deg, pose.radius)]
        for name, rows in prediction.scores.items():
            row = rows[view]
            scores = [*row.whole.to_dict().values(), *row.inside.to_dict().values()]
            yield [
                *(sample.index, sample.seed, sample.name, view),
                *(*camera, name, int(row.tells_azimuth), *scores),
            ]


def shape_lines(report: ShapeReport) -> list[list[Any]]:
    """List column names and a line for every object of a report on shapes."""
    rows = [{**row, "seconds": sum(row["seconds"].values())} for row in report.to_dict()["objects"]]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def shape_sheet(scored: Sequence[Scored]) -> Image.Image:
    """Show input, truth and result of every object, seen from the side."""
    images, labels = [], []
    for one in scored:
        images += to_pils(torch.stack([one.input, one.truth, one.found]).movedim(-1, 1) * 2 - 1)
        labels += [one.kind, "truth", f"IoU {one.iou:.2f}"]
    return contact_sheet(images, labels=labels, columns=6)


def shape_page(report: ShapeReport, command: str) -> bytes:
    """Write the page of a report on shapes."""
    drawn = {one.name: jpeg(shape_sheet([one])) for one in report.scored}
    return page(report.by_object, lambda one: drawn.get(one.name), command)


def csv_bytes(lines: Sequence[Sequence[Any]]) -> bytes:
    """Encode lines as a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()
