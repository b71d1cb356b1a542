"""Two reports of one protocol, object by object."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib.evaluation.bootstrap import Interval, mean_interval
from zero123lib.evaluation.protocol_report import METRICS, OVERALL, PREDICTION
from zero123lib.evaluation.view_pairs import ObjectScores

REPORT = "report.json"
# What they score follows from the truth and the rules alone.
_OF_TRUTH = ("blank", "ball")
_SAME = 1e-3  # of scores of one truth on two machines


@dataclass(frozen=True)
class Difference:
    """What one metric says of two reports.

    Attributes:
        a, b: the means over the objects that have it in both.
        gain: mean of b minus a, object by object, with its 95 % interval.
        better: on how many objects b is better.
    """

    a: float
    b: float
    gain: Interval
    better: int


@dataclass(frozen=True)
class Comparison:
    """Two reports of one protocol.

    Attributes:
        protocol: its name.
        differences: by metric.
        left_out: objects that one of them alone has.
        overall: what either has of all its views together, such as FID: metric -> a's, b's; of
            other objects it is another number, so nothing where some are left out.
        not_compared: such metrics, where some are.
        other_truth: objects of which the two have other true views or meshes.
    """

    protocol: str
    differences: Mapping[str, Difference]
    left_out: tuple[str, ...]
    overall: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    not_compared: tuple[str, ...] = ()
    other_truth: tuple[str, ...] = ()

    def table(self) -> str:
        """Write some lines of text for people."""
        lines = [f"{'':15}{'a':>9}{'b':>9}{'b - a':>10}  {'95 % interval':>20}  b is better"]
        for name, one in self.differences.items():
            title, digits = METRICS[name].title, METRICS[name].digits
            span = "-"
            if one.gain.low is not None and one.gain.high is not None:
                span = f"[{one.gain.low:+.{digits}f}, {one.gain.high:+.{digits}f}]"
            lines.append(
                f"{title:15}{one.a:9.{digits}f}{one.b:9.{digits}f}{one.gain.mean:+10.{digits}f}"
                f"  {span:>20}  on {one.better} of {one.gain.objects}"
            )
        for name, (a, b) in self.overall.items():
            title, digits = OVERALL[name].title, OVERALL[name].digits
            lines.append(f"{title:15}{a:9.{digits}f}{b:9.{digits}f}{b - a:+10.{digits}f}")
        if self.left_out:
            lines.append(f"left out, since one of them lacks them: {', '.join(self.left_out)}")
        if self.other_truth:
            lines.append(
                "not of the same truth, since a baseline that follows from it alone scores "
                f"otherwise: {', '.join(self.other_truth)}"
            )
        if self.not_compared:
            titles = ", ".join(OVERALL[name].title for name in self.not_compared)
            lines.append(f"not compared, since they are of other objects: {titles}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def compare_reports(a: Path, b: Path) -> Comparison:
    """Compare two reports, paired: the same objects' numbers are subtracted.

    Args:
        a, b: folders with a ``report.json``, or such files.

    Raises:
        ArgumentError: one is no report of a protocol with objects' numbers, they are of two
            protocols or networks of LPIPS, or no object is in both.
    """
    first, second = _read("a", a), _read("b", b)
    for key in ("protocol", "about"):
        if first[key] != second[key]:
            raise ArgumentError("b", f"a report of {first[key]}, as a is", second[key])
    weights, others = first["weights"], second["weights"]
    if weights and others and weights != others:
        raise ArgumentError("b", f"LPIPS on {_net(weights)}, as a has", _net(others))
    for kind, network in first["networks"].items():
        if (other := second["networks"].get(kind, network)) != network:
            raise ArgumentError("b", f"{network}, as a has", other)
    objects = [{one.name: one for one in r["objects"]} for r in (first, second)]
    shared = [name for name in objects[0] if name in objects[1]]
    if not shared:
        raise ArgumentError("b", "some of the objects of a", ", ".join(list(objects[1])[:5]))
    for name in shared:
        if list(objects[0][name].items) != list(objects[1][name].items):
            raise ArgumentError("b", f"the views of {name} that a has", "others")
    differences = {}
    for metric in METRICS:
        # As in a report: over the objects that have it.
        having = [
            name
            for name in shared
            if all(metric in one[name].answers[PREDICTION] for one in objects)
        ]
        if not having:
            continue
        values = [[one[name].mean(PREDICTION, metric) for name in having] for one in objects]
        gains = [after - before for before, after in zip(*values, strict=True)]
        sign = 1 if METRICS[metric].higher else -1
        first_mean, second_mean = (sum(side) / len(side) for side in values)
        better = sum(sign * gain > 0 for gain in gains)
        differences[metric] = Difference(first_mean, second_mean, mean_interval(gains), better)
    left_out = tuple(sorted(set(objects[0]) ^ set(objects[1])))
    others = second["overall"]
    overall = {name: (a, others[name]) for name, a in first["overall"].items() if name in others}
    other_truth = tuple(name for name in shared if not _same_truth(*(o[name] for o in objects)))
    apart = tuple(overall) if left_out else ()
    return Comparison(
        first["protocol"], differences, left_out, {} if left_out else overall, apart, other_truth
    )


def _same_truth(a: ObjectScores, b: ObjectScores) -> bool:
    """Tell whether the baselines that follow from the truth alone score alike."""
    return all(
        math.isclose(a.mean(answer, metric), b.mean(answer, metric), rel_tol=_SAME, abs_tol=_SAME)
        for answer in _OF_TRUTH
        if answer in a.answers and answer in b.answers
        for metric in a.answers[answer]
        if metric in b.answers[answer]
    )


def _read(name: str, path: Path) -> dict[str, Any]:
    file = path / REPORT if path.is_dir() else path
    expected = f"a report of a protocol, a folder with {REPORT}"
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ArgumentError(name, expected, f"{str(path)!r}, which cannot be read") from error
    if isinstance(content, dict):  # reports with numbers of their own have objects' beside them
        content = content.get("by_object", content)
    try:
        objects = [ObjectScores.from_dict(one) for one in content["objects"]]
        found = {key: content[key] for key in ("protocol", "about")}
        named = {"weights": dict(content["weights"]), "networks": dict(content.get("networks", {}))}
        # A report of before there was any has none.
        held = content.get("overall", {})
        overall = {name: float(held[name][PREDICTION]) for name in OVERALL if name in held}
        return {**found, **named, "objects": objects, "overall": overall}
    except (KeyError, TypeError, ValueError) as error:
        raise ArgumentError(name, expected, f"{str(path)!r}, without objects' numbers") from error


def _net(weights: Mapping[str, str]) -> str:
    """Name LPIPS's trunk, and the file of its weights by the start of its digest."""
    return f"{weights.get('lpips')} (SHA-256 {str(weights.get('sha256'))[:8]}...)"
