"""iFusion's protocol on cameras, as its authors published it (eval.py --pose, util/criterion.py).

Of each scene five views; of each of their 20 ordered pairs i,j the camera of j was estimated, that
of i being told. Errors are the angle between the two rotations and the distance between the two
places; published are their medians over all pairs of all scenes, and the share of pairs turned by
at most 5 degrees.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import median

import numpy as np

from zero123lib._errors import ArgumentError
from zero123lib._files import json_bytes
from zero123lib.evaluation.evaluated import lines_of
from zero123lib.evaluation.files import csv_bytes
from zero123lib.evaluation.page import page
from zero123lib.evaluation.protocol_report import PREDICTION, ProtocolReport
from zero123lib.evaluation.view_pairs import ObjectScores
from zero123lib.metrics import rotation_error_deg

ABOUT = "iFusion's eval.py --pose (Wu et al. 2023): cameras of 20 ordered pairs of 5 views"
VIEWS, RECALL_DEG = 5, 5.0
LISTING = "transform.json"
PAIRS = tuple(permutations(range(VIEWS), 2))


@dataclass(frozen=True)
class PosesRun:
    """The protocol with what it compares.

    Attributes:
        predictions, truth: the folders.
        pairs: names of scenes.
    """

    predictions: Path
    truth: Path
    pairs: Sequence[str]

    @classmethod
    def of(cls, predictions: Path, truth: Path, objects: Collection[str] | None = None) -> PosesRun:
        """Find what is compared.

        Args:
            predictions: a folder of scenes, each of ``0,1/transform.json`` and 19 others, whose
                second frame is the estimate.
            truth: a folder of scenes, each of ``train/transform.json`` or ``transform.json``, with
                five frames.
            objects: names of those that count; None takes all of the truth's.

        Raises:
            ArgumentError: there is no truth.
        """
        for name, folder in (("predictions", predictions), ("truth", truth)):
            if not folder.is_dir():
                raise ArgumentError(name, "a folder of scenes", repr(str(folder)))
        scenes = sorted(one.name for one in truth.iterdir() if _listing(one) is not None)
        if not scenes:
            expected = f"a folder of scenes with train/{LISTING}"
            raise ArgumentError("truth", expected, f"none in {str(truth)!r}")
        if objects is not None and (unknown := sorted(set(objects) - set(scenes))):
            raise ArgumentError("objects", f"some of {', '.join(scenes)}", unknown[0])
        return cls(predictions, truth, [n for n in scenes if objects is None or n in objects])

    def scores(self, cells: Path | None = None, workers: int = 1) -> Iterator[ObjectScores]:
        """Score one scene after the other; nothing of it is slow enough to be kept.

        Raises:
            ArgumentError: cameras are missing, or are none.
        """
        yield from (self._score(name) for name in self.pairs)

    def _score(self, name: str) -> ObjectScores:
        listing = _listing(self.truth / name)
        assert listing is not None, "scenes without one were left out"
        true = _cameras(listing, "truth", VIEWS)
        estimates = []
        for i, j in PAIRS:
            file = self.predictions / name / f"{i},{j}" / LISTING
            estimates.append(_cameras(file, "predictions", 2)[1])
        wanted = np.stack([true[j] for _, j in PAIRS])
        answers = {
            PREDICTION: np.stack(estimates),
            "input": np.stack([true[i] for i, _ in PAIRS]),
        }
        scored = {key: _errors(one, wanted) for key, one in answers.items()}
        return ObjectScores(name, [f"{i},{j}" for i, j in PAIRS], scored)

    def report(self, scored: Sequence[ObjectScores]) -> ProtocolReport:
        """Make the report of all scenes; the published medians are among its notes."""
        notes = [_medians(scored, answer) for answer in scored[0].answers]
        notes.append("input answers that the camera has not moved from that of the first view")
        sources = {"predictions": str(self.predictions), "truth": str(self.truth)}
        return ProtocolReport("ifusion poses", ABOUT, sources, scored, {}, [], notes)

    def files(self, report: ProtocolReport, command: str) -> dict[str, bytes]:
        """Encode the page, every pair's numbers, and the report."""
        return {
            "report.html": page(report, lambda one: None, command),
            "views.csv": csv_bytes(lines_of(report)),
            "report.json": json_bytes(report.to_dict(command)),
        }


def _medians(scored: Sequence[ObjectScores], answer: str) -> str:
    def values(metric: str) -> list[float]:
        return [value for one in scored for value in one.answers[answer][metric]]

    turned, recall = values("rotation_deg"), values("recall")
    return (
        f"{answer}, as published: median rotation error {median(turned):.4f} degrees, median "
        f"translation error {median(values('translation')):.4f}, recall at 5 degrees "
        f"{sum(recall) / len(recall):.4f}"
    )


def _errors(found: np.ndarray, true: np.ndarray) -> dict[str, list[float]]:
    turned = rotation_error_deg(found[:, :3, :3], true[:, :3, :3])
    moved = np.linalg.norm(found[:, :3, 3] - true[:, :3, 3], axis=-1)
    return {
        "rotation_deg": turned.tolist(),
        "translation": moved.tolist(),
        "recall": (turned <= RECALL_DEG).astype(float).tolist(),
    }


def _listing(scene: Path) -> Path | None:
    files = (scene / "train" / LISTING, scene / LISTING)
    return next((file for file in files if file.is_file()), None)


def _cameras(file: Path, argument: str, count: int) -> list[np.ndarray]:
    """Read the first cameras of a listing, camera-to-world ``[4, 4]``."""
    try:
        frames = json.loads(file.read_text())["frames"]
        found = [np.asarray(one["transform_matrix"], np.float64) for one in frames[:count]]
    except OSError as error:
        raise ArgumentError(argument, f"cameras {str(file)!r}", "none") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            argument, "a list of frames", f"{str(file)!r}, which is none"
        ) from error
    if len(found) < count:
        raise ArgumentError(argument, f"{count} frames", f"{len(found)} in {str(file)!r}")
    if any(one.shape != (4, 4) or not np.isfinite(one).all() for one in found):
        raise ArgumentError(argument, "finite matrices [4, 4]", f"others in {str(file)!r}")
    return found
