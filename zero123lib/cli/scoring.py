"""How protocols over folders are run: what is scored, who made it, and the report's files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder
from zero123lib._words import count
from zero123lib.cli.asking import Asking, loaded, model_words
from zero123lib.cli.options import Maker, check_present, renaming, whole
from zero123lib.cli.reporting import CELLS, TRUE_VIEWS, Features, Out, held_report, write_report

if TYPE_CHECKING:
    from zero123lib.evaluation.consistency_run import ConsistencyRun
    from zero123lib.evaluation.evaluated import MeshesRun, ViewsRun
    from zero123lib.evaluation.pose_pairs import PosesRun
    from zero123lib.evaluation.protocols import Protocol


Predictions = Annotated[Path, Parameter(name="PREDICTIONS")]
Truth = Annotated[Path, Parameter(name="TRUTH")]
Vgg = Annotated[Path | None, Parameter(name="--lpips-vgg", metavar="FILE")]


@Parameter(name="*")
@dataclass(frozen=True)
class Scoring:
    """What is scored, and where it goes.

    Attributes:
        out: folder to write; without it, only a table.
        objects: names of those that count (all of the truth's).
        workers: threads, each of which scores an object.
    """

    out: Out = None
    objects: Annotated[list[str] | None, Parameter(metavar="NAME...")] = None
    workers: Annotated[int, whole(1, 256)] = 1


@Parameter(name="*")
@dataclass(frozen=True)
class Making:
    """Whether a model makes the predictions, and how it is asked.

    Attributes:
        model: of the predictions, which PREDICTIONS then gets; without --model they are there.
        asking: how the model is asked.
    """

    model: Maker = field(default_factory=Maker)
    asking: Asking = field(default_factory=Asking)

    def check(self) -> None:
        """Raise ArgumentError where a model's options stand without a model."""
        if self.model.model is not None:
            self.model.check()
        elif self != Making():
            raise ArgumentError("model", "a model beside the options that ask one", "none")

    def refuse(self, beside: str) -> None:
        """Raise ArgumentError where a model is named beside an option that measures no views."""
        self.check()
        if self.model.model is not None:
            raise ArgumentError("model", f"no {beside} beside it", "both")

    def make(
        self,
        protocol: Protocol,
        predictions: Path,
        truth: Path,
        objects: list[str] | None,
        rendered: Mapping[str, Path] | None = None,
    ) -> list[str]:
        """Fill the folder of predictions where a model is named; what a reader has to know."""
        if self.model.model is None:
            return []
        from tqdm import tqdm

        from zero123lib.diffusion.card import about_model
        from zero123lib.evaluation.made import find_asked, make_predictions
        from zero123lib.evaluation.weights import weights_digest

        asked = find_asked(protocol, truth, objects, rendered)
        pipe = loaded(self.model)
        setting = self.asking.setting(pipe)
        made = make_predictions(protocol, pipe, setting, asked, predictions)
        for _ in tqdm(made, total=len(asked), unit="object", desc="views", disable=None):
            pass
        return [
            f"predictions by {about_model(pipe)}; {count(setting.steps, 'step')} of "
            f"{setting.sampler}, guidance {setting.guidance:g}, seed {setting.seed}",
            f"SHA-256 of the weights {weights_digest(pipe)}",
        ]

    @property
    def words(self) -> list[str]:
        """Return the options as they are written on the command line."""
        if self.model.model is None:
            return []
        asking = self.asking
        numbers = {"steps": asking.num_inference_steps, "guidance": asking.guidance_scale}
        told = {name: value for name, value in numbers.items() if value is not None}
        told |= {"sampler": asking.sampler, "seed": asking.seed}
        options = [word for name, value in told.items() for word in (f"--{name}", str(value))]
        return [*model_words(self.model), *options]


def score_views(
    protocol: Protocol,
    predictions: Path,
    truth: Path,
    scoring: Scoring,
    features: Features,
    making: Making = Making(),
    vgg: Path | None = None,
    options: Sequence[str] = (),
    engine: bool = False,
) -> None:
    """Score a protocol on views, which a model may have to make before."""
    making.check()
    features.check()
    if scoring.out is not None:
        check_folder(scoring.out)
    from zero123lib.evaluation.embeddings import Distances
    from zero123lib.evaluation.evaluated import ViewsRun

    if vgg is not None:
        check_present(vgg, "lpips_vgg", "the file of VGG16's weights")
        options = [*options, "--lpips-vgg", str(vgg)]
    distances = Distances(features.load())
    rendered, notes = _rendered(protocol, truth, scoring)
    notes += making.make(protocol, predictions, truth, scoring.objects, rendered)
    run = ViewsRun.of(protocol, predictions, truth, scoring.objects, vgg, rendered)
    run = replace(run, notes=notes, engine=engine, distances=distances)
    options = [*options, *features.words, *(["--engine"] if engine else [])]
    words = [protocol.name.split()[0], str(predictions), str(truth), *options, *making.words]
    with renaming(path="lpips_vgg"):
        score(run, words, scoring)


def _rendered(
    protocol: Protocol, truth: Path, scoring: Scoring
) -> tuple[dict[str, Path], list[str]]:
    """Render true views that are missing of meshes: objects' folders, and what is said of it."""
    from zero123lib.evaluation.made import lacking_views, render_lacking, told_lacking

    lacking = lacking_views(protocol, truth, scoring.objects)
    if not lacking:
        return {}, []
    if scoring.out is None:
        name, one = next(iter(lacking.items()))
        expected = "a folder, for the true views that are rendered of meshes"
        missing = (
            f"none, and {name} lacks {count(len(one.views), 'view')}, {one.views[0]:03d} first"
        )
        raise ArgumentError("out", expected, missing)
    from tqdm import tqdm

    folder = scoring.out / TRUE_VIEWS
    bar = tqdm(total=len(lacking), unit="object", desc="truth", disable=None)
    with held_report(scoring.out), bar:
        for _ in render_lacking(lacking, folder):
            bar.update()
    total = len(protocol.views or ())
    return {name: folder / name for name in lacking}, told_lacking(lacking, total)


def score(
    run: ViewsRun | MeshesRun | PosesRun | ConsistencyRun,
    words: Sequence[str],
    scoring: Scoring,
    shows: bool = True,
) -> None:
    """Score all objects, print the table and write the files.

    Args:
        words: of the command line, those after ``zero123 evaluate``.
        shows: whether to show how many objects are done.
    """
    from tqdm import tqdm

    if scoring.out is not None:
        check_folder(scoring.out)
    cells = None if scoring.out is None else scoring.out / CELLS
    steps = run.scores(cells, scoring.workers)
    hidden = None if shows else True
    bar = tqdm(steps, total=len(run.pairs), unit="object", disable=hidden)
    with held_report(scoring.out):
        report = run.report(list(bar))
        print(f"{report.protocol}: {report.about}\n{report.table()}")
        words = ["zero123", "evaluate", *words]
        if scoring.objects:
            words += ["--objects", *scoring.objects]
        if scoring.out is not None:
            write_report(scoring.out, run.files(report, shlex.join(words)))
