"""All objects of a protocol as one report: means with intervals, and what they are means of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib._versions import versions
from zero123lib.evaluation.bootstrap import LEAST, Interval, mean_interval
from zero123lib.evaluation.scores import PSNR_CAP_DB
from zero123lib.evaluation.view_pairs import PREDICTION, ObjectScores


@dataclass(frozen=True)
class Metric:
    """How a number is shown.

    Attributes:
        title: with its unit.
        digits: after the point.
        higher: whether more is better.
        least, most: that it can be; intervals end there.
    """

    title: str
    digits: int
    higher: bool = True
    least: float = -math.inf
    most: float = math.inf

    def bounded(self, interval: Interval) -> Interval:
        """Cut an interval off where the metric ends."""
        if interval.low is None or interval.high is None:
            return interval
        low, high = max(interval.low, self.least), min(interval.high, self.most)
        return replace(interval, low=low, high=high)


METRICS = {
    "psnr_db": Metric("PSNR dB", 2, most=PSNR_CAP_DB),
    "ssim": Metric("SSIM", 4, least=-1, most=1),
    "lpips": Metric("LPIPS", 4, higher=False, least=0),
    "clip": Metric("CLIP", 4, least=-1, most=1),
    "silhouette_iou": Metric("silhouette IoU", 4, least=0, most=1),
    "chamfer": Metric("Chamfer", 5, higher=False, least=0),
    "volume_iou": Metric("volume IoU", 4, least=0, most=1),
    "f_score": Metric("F at 0.02", 4, least=0, most=1),
    "normal_consistency": Metric("normals", 4, least=0, most=1),
    "chamfer_sum": Metric("Chamfer sum, 1/100", 3, higher=False, least=0),
    "depth": Metric("depth, 1/100", 3, higher=False, least=0),
    "reprojection_db": Metric("reprojected dB", 2, most=PSNR_CAP_DB),
    "rotation_deg": Metric("rotation, degrees", 2, higher=False, least=0, most=180),
    "recall": Metric("within 5 degrees", 4, least=0, most=1),
    "translation": Metric("translation", 4, higher=False, least=0),
}
# What is of all objects' views together: no object has it, and no interval.
OVERALL = {
    "fid": Metric("FID", 2, higher=False, least=0),
    "fid_clip": Metric("FID on CLIP", 2, higher=False, least=0),
}


@dataclass(frozen=True)
class ProtocolReport:
    """The numbers of a protocol.

    Attributes:
        protocol: its name.
        about: what it compares.
        sources: names of what was compared -> folders.
        objects: their scores, in the truth's order.
        weights: LPIPS's trunk and the digest of its file; none where it was not measured.
        not_at_hand: metrics of the protocol that were not measured, and why.
        notes: on the whole.
        published: rows of published tables: name -> metric -> number.
        overall: those of :data:`OVERALL` that were measured -> answer -> number.
        networks: the networks of features and their weights' digests, by kind.
    """

    protocol: str
    about: str
    sources: Mapping[str, str]
    objects: Sequence[ObjectScores]
    weights: Mapping[str, str]
    not_at_hand: Sequence[str]
    notes: Sequence[str] = ()
    published: Mapping[str, Mapping[str, float]] | None = None
    overall: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.objects:
            raise ArgumentError("objects", "at least one", "none")

    @property
    def metrics(self) -> list[str]:
        """Name the metrics that any object has, in the order of their columns."""
        return [name for name in METRICS if self._having(PREDICTION, name)]

    def interval(self, answer: str, metric: str) -> Interval | None:
        """Return the mean over objects of their means over views, with its 95 % interval.

        It is over the objects that have the metric; None where there is none.
        """
        values = [one.mean(answer, metric) for one in self._having(answer, metric)]
        return METRICS[metric].bounded(mean_interval(values)) if values else None

    def _having(self, answer: str, metric: str) -> list[ObjectScores]:
        return [one for one in self.objects if metric in one.answers[answer]]

    def worst_first(self) -> list[ObjectScores]:
        """Sort the objects by the first metric that all of them have."""
        shared = [m for m in self.metrics if len(self._having(PREDICTION, m)) == len(self.objects)]
        if not shared:
            return list(self.objects)
        first = shared[0]
        sign = 1 if METRICS[first].higher else -1
        return sorted(self.objects, key=lambda one: sign * one.mean(PREDICTION, first))

    def titles(self) -> list[str]:
        """Name the columns of :meth:`rows`."""
        overall = [OVERALL[name].title for name in self.overall]
        return [*(METRICS[name].title for name in self.metrics), *overall]

    def rows(self) -> list[tuple[str, list[str]]]:
        """Write the answers' means with their intervals, and the published rows, as text."""
        found = []
        for answer in self.objects[0].answers:
            cells = [_shown(name, self.interval(answer, name)) for name in self.metrics]
            for name, numbers in self.overall.items():
                digits = OVERALL[name].digits
                cells.append(f"{numbers[answer]:.{digits}f}" if answer in numbers else "-")
            found.append((answer, cells))
        for title, numbers in (self.published or {}).items():
            names = (*self.metrics, *self.overall)
            cells = [f"{numbers[m]:g}" if m in numbers else "-" for m in names]
            found.append((f"published: {title}", cells))
        return found

    def table(self) -> str:
        """Write some lines of text for people."""
        rows = [("", self.titles()), *self.rows()]
        width = max(len(name) for name, _ in rows)
        spans = [max(len(cells[k]) for _, cells in rows) for k in range(len(rows[0][1]))]
        lines = []
        for name, cells in rows:
            shown = (f"{cell:>{span}}" for cell, span in zip(cells, spans, strict=True))
            lines.append("  ".join([f"{name:{width}}", *shown]).rstrip())
        return "\n".join([*lines, *self.remarks()])

    def spans(self) -> list[str]:
        """Write the prediction's means with their intervals on one line; none for few objects."""
        if len(self.objects) < LEAST:
            return []
        cells = [
            f"{METRICS[name].title} {_shown(name, self.interval(PREDICTION, name))}"
            for name in self.metrics
        ]
        return [f"means with 95 % intervals over objects: {', '.join(cells)}"]

    def overall_lines(self) -> list[str]:
        """Write a line for each number of all views together, and what its networks are."""
        lines = []
        for metric, numbers in self.overall.items():
            digits = OVERALL[metric].digits
            shown = ", ".join(f"{name} {value:.{digits}f}" for name, value in numbers.items())
            lines.append(f"{OVERALL[metric].title}: {shown}")
        return [*lines, *(self.notes if self.networks else [])]

    def remarks(self) -> list[str]:
        """Say what a reader has to know beside the numbers."""
        count = len(self.objects)
        spread = "95 % intervals over objects" if count >= LEAST else "too few for intervals"
        lines = [f"means over {count} object{'s' * (count > 1)}, {spread}"]
        for name in self.metrics:
            if (having := len(self._having(PREDICTION, name))) < count:
                lines.append(f"{METRICS[name].title}: over the {having} objects that have it")
        lines += [f"LPIPS on {self.weights['lpips']}"] if self.weights else []
        lines += self.notes
        lines += [f"not at hand: {text}" for text in self.not_at_hand]
        return lines + [f"{one.name}: {one.note}" for one in self.objects if one.note]

    def to_dict(self, command: str | None = None) -> dict[str, Any]:
        """Return the report for JSON.

        Args:
            command: that gives this report.
        """
        return {**self.numbers(), "versions": versions(), "command": command}

    def numbers(self) -> dict[str, Any]:
        """Return all numbers for JSON, every object's among them."""
        answers = list(self.objects[0].answers)
        return {
            "protocol": self.protocol,
            "about": self.about,
            "sources": dict(self.sources),
            "means": {
                answer: {
                    name: asdict(interval)
                    for name in self.metrics
                    if (interval := self.interval(answer, name)) is not None
                }
                for answer in answers
            },
            "objects": [asdict(one) for one in self.objects],
            "overall": {name: dict(numbers) for name, numbers in self.overall.items()},
            "weights": dict(self.weights),
            "networks": dict(self.networks),
            "not_at_hand": list(self.not_at_hand),
            "notes": list(self.notes),
            "published": self.published,
            "bootstrap_seed": 0,
        }


def _shown(name: str, interval: Interval | None) -> str:
    if interval is None:
        return "-"
    digits = METRICS[name].digits
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
