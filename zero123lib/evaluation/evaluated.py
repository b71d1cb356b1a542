"""A protocol run over folders: every object scored, the report and its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from zero123lib._files import json_bytes
from zero123lib._words import count
from zero123lib.evaluation import escher_meshes, sync_meshes
from zero123lib.evaluation.embeddings import Distances
from zero123lib.evaluation.files import csv_bytes
from zero123lib.evaluation.folders import ObjectPair, find_pairs, read_views
from zero123lib.evaluation.mesh_images import mesh_images, on_white
from zero123lib.evaluation.page import jpeg, page, views_sheet
from zero123lib.evaluation.protocol_report import ProtocolReport
from zero123lib.evaluation.protocols import SYNC_RIG, SYNCDREAMER, Protocol
from zero123lib.evaluation.self_consistency import FIT
from zero123lib.evaluation.sync_meshes import FOV_DEG, MeshPair, find_meshes
from zero123lib.evaluation.view_pairs import (
    ObjectScores,
    answers_of,
    score_views,
    views_key,
)
from zero123lib.lpips import LPIPS, VGG_FILES, WEIGHTS, file_digest, lpips_alex, lpips_vgg
from zero123lib.meshes.mesh import Camera, Mesh


@dataclass(frozen=True)
class ViewsRun:
    """A protocol with what it compares, checked before anything is scored.

    Attributes:
        protocol: how.
        predictions, truth: the folders.
        pairs: what is compared, object by object.
        vgg: the file of LPIPS's VGG16, see :func:`zero123lib.lpips.lpips_vgg`.
        notes: what a reader has to know of these folders.
        engine: whether the truth, fitted by a field of ours, is a baseline.
        distances: between all views, by networks of features; none are asked for where it has none.
    """

    protocol: Protocol
    predictions: Path
    truth: Path
    pairs: Sequence[ObjectPair]
    vgg: Path | None = None
    notes: Sequence[str] = ()
    engine: bool = False
    distances: Distances = field(default_factory=Distances)

    @classmethod
    def of(
        cls,
        protocol: Protocol,
        predictions: Path,
        truth: Path,
        objects: Collection[str] | None = None,
        vgg: Path | None = None,
        rendered: Mapping[str, Path] | None = None,
    ) -> ViewsRun:
        """Find what is compared; arguments and errors are those of :func:`find_pairs`."""
        pairs = find_pairs(protocol, predictions, truth, objects, rendered)
        return cls(protocol, predictions, truth, pairs, vgg)

    def scores(self, cells: Path | None = None, workers: int = 1) -> Iterator[ObjectScores]:
        """Score one object after the other, in order.

        Args:
            cells: folder of what is known already, so that an interrupted run goes on.
            workers: threads.

        Raises:
            ArgumentError: an image, or LPIPS's file, is not what the protocol takes.
        """
        lpips, engine = self._lpips(), FIT if self.engine else None
        self.distances.moments.clear()

        def score(pair: ObjectPair) -> tuple[ObjectScores, dict[str, dict[str, Tensor]]]:
            shown = cache(partial(answers_of, self.protocol, pair, engine))
            found = score_views(self.protocol, pair, lpips, cells, engine, shown)
            if not self.distances.embedders:
                return found, {}
            key = views_key(self.protocol, pair, engine)
            return found, self.distances.embed(shown, cells, key)

        with ThreadPoolExecutor(workers) as pool:
            for found, features in pool.map(score, self.pairs):
                yield self.distances.count(found, features)

    def report(self, scored: Sequence[ObjectScores]) -> ProtocolReport:
        """Make the report of all scores."""
        protocol, distances = self.protocol, self.distances
        missing = [*protocol.missing, *distances.missing(protocol.of_weights)]
        if protocol.lpips == "vgg" and self.vgg is None:
            missing.append(f"LPIPS on VGG16: no file of its weights was named ({VGG_FILES})")
        if "nearest" not in scored[0].answers:
            missing.append(
                "the baseline of the nearest true view: neither the protocol nor 000.npy, ... "
                "beside all true views say two cameras of each object"
            )
        known = protocol.rig is not None and protocol.rig.focal_px is not None
        if not self.engine:
            why = (
                "it takes a fit of each object, see --engine"
                if known
                else "no focal length is declared"
            )
            missing.append(f"the baseline of the truth through our engine: {why}")
        notes = [*self.notes, protocol.alpha_rule(), *protocol.choices, *distances.notes()]
        notes += _about_input(self.pairs)
        if protocol.objects not in (None, len(scored)):
            notes.append(f"published tables are over {protocol.objects} objects, not these")
        published: dict[str, dict[str, float]] = {
            name: dict(zip(("psnr_db", "ssim", "lpips"), row, strict=True))
            for name, row in (protocol.published or {}).items()
        }
        return ProtocolReport(
            protocol.name,
            protocol.about,
            {"predictions": str(self.predictions), "truth": str(self.truth)},
            scored,
            self._weights(),
            missing,
            notes,
            published or None,
            distances.numbers,
            distances.weights,
        )

    def files(self, report: ProtocolReport, command: str) -> dict[str, bytes]:
        """Encode the page, every view's numbers, and the report."""
        pairs = {pair.name: pair for pair in self.pairs}

        def sheet(one: ObjectScores) -> Image.Image:
            made, true = read_views(self.protocol, pairs[one.name])
            return views_sheet(list(one.items), made, true)

        return _files(report, sheet, command)

    def _lpips(self) -> LPIPS | None:
        if self.protocol.lpips == "alex":
            return lpips_alex()
        return lpips_vgg(self.vgg) if self.protocol.lpips == "vgg" and self.vgg else None

    def _weights(self) -> dict[str, str]:
        file = {"alex": WEIGHTS, "vgg": self.vgg, None: None}[self.protocol.lpips]
        if file is None:
            return {}
        return {"lpips": str(self.protocol.lpips), "sha256": file_digest(file)}


def _about_input(pairs: Sequence[ObjectPair]) -> list[str]:
    """Say which view the baseline of the input is, and whether it is measured against itself."""
    apart = [one.input for one in pairs if one.input is not None]
    others = len(pairs) - len(apart)
    whose = f" of {count(others, 'object')}, whose truth has no other," if apart else ""
    found = [f"the baseline input is the true view {apart[0].stem}, not scored"] if apart else []
    if others:
        found.append(
            f"the baseline input{whose} is the first true view, which against itself counts 100 dB"
        )
    return found


@dataclass(frozen=True)
class MeshRules:
    """A protocol on meshes.

    Attributes:
        name: as reports have it.
        about: whose it is, and what it compares.
        score: scores an object; what is known already is in a folder of cells.
        shown: gives prediction and truth as they are compared.
        notes: what a reader has to know.
        published: rows of published tables.
        objects: how many there are in them.
    """

    name: str
    about: str
    score: Callable[[MeshPair, Path | None], ObjectScores]
    shown: Callable[[MeshPair], tuple[Mesh, Mesh]]
    notes: Sequence[str] = ()
    published: Mapping[str, Mapping[str, float]] | None = None
    objects: int | None = None


SYNC_MESHES = MeshRules(
    "syncdreamer meshes",
    sync_meshes.ABOUT,
    sync_meshes.score_meshes,
    sync_meshes.shown,
    sync_meshes.NOTES,
    sync_meshes.PUBLISHED,
    SYNCDREAMER.objects,
)
ESCHER_MESHES = MeshRules(
    "eschernet meshes",
    escher_meshes.ABOUT,
    escher_meshes.score_meshes,
    escher_meshes.shown,
    escher_meshes.NOTES,
)


@dataclass(frozen=True)
class MeshesRun:
    """A protocol on meshes, with what it compares.

    Attributes:
        rules: how.
        predictions, truth: the folders.
        pairs: what is compared, object by object.
    """

    rules: MeshRules
    predictions: Path
    truth: Path
    pairs: Sequence[MeshPair]

    @classmethod
    def of(
        cls,
        rules: MeshRules,
        predictions: Path,
        truth: Path,
        objects: Collection[str] | None = None,
    ) -> MeshesRun:
        """Find what is compared; errors are those of :func:`find_meshes`."""
        return cls(rules, predictions, truth, find_meshes(predictions, truth, objects))

    def scores(self, cells: Path | None = None, workers: int = 1) -> Iterator[ObjectScores]:
        """Score one object after the other, in order; see :meth:`ViewsRun.scores`."""
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(lambda pair: self.rules.score(pair, cells), self.pairs)

    def report(self, scored: Sequence[ObjectScores]) -> ProtocolReport:
        """Make the report of all scores."""
        rules, notes = self.rules, list(self.rules.notes)
        if rules.objects not in (None, len(scored)):
            notes.append(f"published tables are over {rules.objects} objects, not these")
        sources = {"predictions": str(self.predictions), "truth": str(self.truth)}
        return ProtocolReport(
            rules.name, rules.about, sources, scored, {}, [], notes, rules.published
        )

    def files(self, report: ProtocolReport, command: str) -> dict[str, bytes]:
        """Encode the page, every mesh's numbers, and the report."""
        return _files(report, self._sheet, command)

    def _sheet(self, one: ObjectScores) -> Image.Image:
        """Show truth, prediction and error from each fourth camera of SyncDreamer's."""
        pair = next(pair for pair in self.pairs if pair.name == one.name)
        poses = SYNC_RIG.poses[::4]
        cameras = [Camera.at(pose, 128, FOV_DEG) for pose in poses]
        made, true = (
            on_white(mesh_images(mesh, cameras)).float() for mesh in self.rules.shown(pair)
        )
        return views_sheet([f"{pose.azimuth_deg:g}°" for pose in poses], made, true)


def _files(
    report: ProtocolReport, sheet: Callable[[ObjectScores], Image.Image], command: str
) -> dict[str, bytes]:
    return {
        "report.html": page(report, lambda one: jpeg(sheet(one)), command),
        "views.csv": csv_bytes(lines_of(report)),
        "report.json": json_bytes(report.to_dict(command)),
    }


def lines_of(report: ProtocolReport) -> list[list[Any]]:
    """List column names, and a line for every item of every object and answer."""
    lines = [
        [one.name, item, answer, *(values[m][k] if m in values else "" for m in report.metrics)]
        for one in report.objects
        for answer, values in one.answers.items()
        for k, item in enumerate(one.items)
        if values
    ]
    return [["object", "view", "answer", *report.metrics], *lines]
