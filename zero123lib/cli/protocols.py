"""`zero123 evaluate` for files that are there already: published protocols, and two reports."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder, json_bytes
from zero123lib._words import count
from zero123lib.cli.evaluate import (
    CELLS,
    TRUE_VIEWS,
    Asking,
    Out,
    loaded,
    model_words,
    write_report,
)
from zero123lib.cli.options import Flag, Model, check_present, renaming, whole

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

    model: Model = Model()
    asking: Asking = field(default_factory=Asking)

    def check(self) -> None:
        """Raise ArgumentError where a model's options stand without a model."""
        if self.model.model is not None:
            self.model.check()
        elif (self.model, self.asking) != (Model(), Asking()):
            raise ArgumentError("model", "a model beside the options that ask one", "none")

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


def folder(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    lpips: Literal["alex", "vgg"] = "alex",
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure anyone's views against anyone's truth, file by file of the same name.

    Both are folders of objects, each a folder of images; or the images of one
    object. Images with alpha go on white, nothing is resized. Where some files
    have numbers for names, the others are no views. It prints PSNR, SSIM (as
    torchmetrics has it), LPIPS and silhouette IoU, with 95 % bootstrap
    intervals over objects, beside two baselines: the first true view for all
    cameras, and a white image.

    --out also writes report.html (worst objects first, with error maps; it
    opens offline), views.csv (every view) and report.json, and keeps every
    object's scores in cells/, so that the same command goes on where it was
    interrupted.

    --model fills PREDICTIONS first: the model is given each object's first true
    view and asked for all of them, at the protocol's cameras, or at those that
    lie beside the true views (000.npy, ..., as `zero123 render` writes them).

        zero123 evaluate folder made/ true/ --out report/
        zero123 evaluate folder made/ rendered/ --model tiny

    Args:
        predictions: the views that are to be measured.
        truth: the true views.
        lpips: the network of LPIPS.
        lpips_vgg: file of VGG16's weights, for --lpips vgg.
    """
    from zero123lib.evaluation.protocols import FOLDER

    if lpips == "vgg" and lpips_vgg is None:
        raise ArgumentError("lpips_vgg", "the file of VGG16's weights, for --lpips vgg", "none")
    if lpips != "vgg" and lpips_vgg is not None:
        raise ArgumentError("lpips_vgg", "--lpips vgg beside it", f"--lpips {lpips}")
    options = ["--lpips", lpips]
    _run(replace(FOLDER, lpips=lpips), predictions, truth, scoring, making, lpips_vgg, options)


def syncdreamer(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    meshes: Flag = False,
    engine: Flag = False,
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure views or meshes by SyncDreamer's protocol, which most papers follow.

    Of each object 000.png to 015.png, 256 px: azimuths of 22.5 degrees from one
    to the next, elevation 30; view 0, the input, counts. Alpha goes on white.
    PSNR, SSIM as torchmetrics has it, LPIPS on VGG16, the same digits as
    eval_nvs.py. Baselines: the input for all cameras, a white image, the
    nearest other true view; with --engine the true views through a field of
    ours. --out and --model as for `zero123 evaluate folder`. Of a truth that
    has meshes, missing views are rendered into --out's truth/, unlit.

    --meshes compares OBJECT.ply, or OBJECT/mesh.ply, with the truth's depth
    images 000-depth.png to 015-depth.png, or those of its mesh, as eval_mesh.py
    does: Chamfer distance and volume IoU; F-score at 0.02 and normal
    consistency beside them. OBJ, PLY and STL files are taken with z up.
    Predictions are neither scaled nor aligned; of the truth all but
    mesh_aligned.ply are normalised, and the published set's objects turned.
    Baselines: the true mesh itself, and a ball.

        zero123 evaluate syncdreamer made/ gso/ --lpips-vgg vgg16.ckpt
        zero123 evaluate syncdreamer meshes/ gso/ --meshes

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, or meshes.
        meshes: compare meshes in place of views.
        engine: fit a field to each object's true views, as a baseline.
        lpips_vgg: file of VGG16's weights with LPIPS's heads; without it, no LPIPS.
    """
    if meshes:
        if engine:
            raise ArgumentError("engine", "no --meshes beside it", "both")
        if lpips_vgg is not None:
            raise ArgumentError("lpips_vgg", "no --meshes beside it", "both")
        if making != Making():
            raise ArgumentError("model", "no --meshes beside it", "both")
        from zero123lib.evaluation.evaluated import SYNC_MESHES, MeshesRun

        found = MeshesRun.of(SYNC_MESHES, predictions, truth, scoring.objects)
        return score(found, ["syncdreamer", str(predictions), str(truth), "--meshes"], scoring)
    from zero123lib.evaluation.protocols import SYNCDREAMER

    _run(SYNCDREAMER, predictions, truth, scoring, making, lpips_vgg, engine=engine)


def eschernet(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scenes: Literal["gso", "rtmv", "nerf"] = "gso",
    meshes: Flag = False,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure views or meshes by EscherNet's protocol.

    Of each GSO object views 010.png to 024.png, of RTMV's 010.png to 019.png,
    of NeRF's synthetic scenes all that the truth has. Except for RTMV's the
    truth needs alpha: white where it is 0, colours as they are elsewhere. PSNR
    and SSIM of 8 bits, SSIM as scikit-image has it, LPIPS on AlexNet. --out and
    --model as for `zero123 evaluate folder`; a model is given view 000.

    --meshes compares OBJECT.ply, or OBJECT/mesh.ply, with the truth's, both
    scaled to the unit box: Chamfer distance of their vertices, volume IoU.

        zero123 evaluate eschernet made/ GSO30/
        zero123 evaluate eschernet meshes/ GSO30/ --meshes

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, RGBA; or meshes.
        scenes: which of its three data sets.
        meshes: compare meshes in place of views.
    """
    from zero123lib.evaluation.protocols import ESCHERNET, ESCHERNET_NERF, ESCHERNET_RTMV

    if not meshes:
        chosen = {"gso": ESCHERNET, "rtmv": ESCHERNET_RTMV, "nerf": ESCHERNET_NERF}[scenes]
        words = [] if scenes == "gso" else ["--scenes", scenes]
        return _run(chosen, predictions, truth, scoring, making, options=words)
    if making != Making():
        raise ArgumentError("model", "no --meshes beside it", "both")
    if scenes != "gso":
        raise ArgumentError("scenes", "gso beside --meshes", scenes)
    from zero123lib.evaluation.evaluated import ESCHER_MESHES, MeshesRun

    found = MeshesRun.of(ESCHER_MESHES, predictions, truth, scoring.objects)
    score(found, ["eschernet", str(predictions), str(truth), "--meshes"], scoring)


def ifusion(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    poses: Flag = False,
    lpips_vgg: Vgg = None,
    scoring: Scoring = Scoring(),
) -> None:
    """Measure views or estimated cameras by iFusion's protocol.

    Of each object 000.png to 007.png, 256 px, the test views of its pair 0,1.
    White where alpha is below one half. SSIM with a Gaussian window of 11 and
    black beyond the border, LPIPS on VGG16. --out as for `zero123 evaluate
    folder`.

    --poses compares SCENE/0,1/transform.json and those of the 19 other ordered
    pairs, whose second frame is the estimate, with SCENE/train/transform.json:
    median errors of rotation and translation, and recall at 5 degrees.
    Baseline: the camera has not moved.

        zero123 evaluate ifusion made/ GSO/ --lpips-vgg vgg16.ckpt
        zero123 evaluate ifusion exp/GSO/ rendering/GSO/ --poses

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views, or cameras.
        poses: compare cameras in place of views.
        lpips_vgg: file of VGG16's weights with LPIPS's heads; without it, no LPIPS.
    """
    if poses:
        if lpips_vgg is not None:
            raise ArgumentError("lpips_vgg", "no --poses beside it", "both")
        from zero123lib.evaluation.pose_pairs import PosesRun

        found = PosesRun.of(predictions, truth, scoring.objects)
        return score(found, ["ifusion", str(predictions), str(truth), "--poses"], scoring)
    from zero123lib.evaluation.protocols import IFUSION

    _run(IFUSION, predictions, truth, scoring, vgg=lpips_vgg)


def free3d(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure views by Free3D's protocol, without its LPIPS and FID.

    Of each object 000.png to 011.png, 256 px, alpha dropped. SSIM as
    scikit-image has it, with a window of 11. The weights of SqueezeNet's LPIPS
    and of CLIP's FID are not to be had, which the report says. --out and
    --model as for `zero123 evaluate folder`; a model is given view 000.

        zero123 evaluate free3d made/ GSO/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import FREE3D

    _run(FREE3D, predictions, truth, scoring, making)


def sv3d(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure views by SV3D's protocol, without its CLIP score.

    Of each object 000.png to 020.png, 576 px, evenly all round at one
    elevation; view 0 is the input. Alpha goes on white. No script of it was
    published: SSIM as torchmetrics has it and LPIPS on AlexNet are our choice,
    which the report says. --out and --model as for `zero123 evaluate folder`.

        zero123 evaluate sv3d made/ orbits/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import SV3D

    _run(SV3D, predictions, truth, scoring, making)


def paper(
    predictions: Predictions,
    truth: Truth,
    /,
    *,
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure views as the tables of Zero-1-to-3's paper do, as far as it says how.

    Of each object all views of the truth, 256 px, alpha on white; PSNR, SSIM
    and LPIPS. Neither script, objects nor cameras were published: SSIM as
    torchmetrics has it and LPIPS on AlexNet are our choice, and no published
    number stands beside. --out and --model as for `zero123 evaluate folder`.

        zero123 evaluate paper made/ GSO/

    Args:
        predictions: a folder of objects.
        truth: the same objects' true views.
    """
    from zero123lib.evaluation.protocols import PAPER

    _run(PAPER, predictions, truth, scoring, making)


def compare(
    a: Annotated[Path, Parameter(name="A")],
    b: Annotated[Path, Parameter(name="B")],
    /,
    *,
    out: Annotated[Path | None, Parameter(metavar="DIR")] = None,
) -> None:
    """Compare two reports of one protocol, object by object.

    It prints both means over the objects that both have, the mean of their
    differences with its 95 % interval, and on how many objects B is better.

        zero123 evaluate compare before/ after/

    Args:
        a: a report's folder, or its report.json.
        b: another one.
        out: folder to write comparison.json into.
    """
    if out is not None:
        check_folder(out)
    from zero123lib.evaluation.comparing import compare_reports

    found = compare_reports(a, b)
    print(f"{found.protocol}: a is {a}, b is {b}\n{found.table()}")
    write_report(out, {"comparison.json": json_bytes(found.to_dict())})


def _run(
    protocol: Protocol,
    predictions: Path,
    truth: Path,
    scoring: Scoring,
    making: Making = Making(),
    vgg: Path | None = None,
    options: Sequence[str] = (),
    engine: bool = False,
) -> None:
    """Score a protocol on views, which a model may have to make before."""
    making.check()
    if scoring.out is not None:
        check_folder(scoring.out)
    from zero123lib.evaluation.evaluated import ViewsRun

    if vgg is not None:
        check_present(vgg, "lpips_vgg", "the file of VGG16's weights")
        options = [*options, "--lpips-vgg", str(vgg)]
    rendered, notes = _rendered(protocol, truth, scoring)
    notes += making.make(protocol, predictions, truth, scoring.objects, rendered)
    run = ViewsRun.of(protocol, predictions, truth, scoring.objects, vgg, rendered)
    run = replace(run, notes=notes, engine=engine)
    options = [*options, "--engine"] if engine else options
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
    for _ in render_lacking(lacking, folder):
        bar.update()
    bar.close()
    total = len(protocol.views or ())
    return {name: folder / name for name in lacking}, told_lacking(lacking, total)


def score(
    run: ViewsRun | MeshesRun | PosesRun | ConsistencyRun, words: Sequence[str], scoring: Scoring
) -> None:
    """Score all objects, print the table and write the files.

    Args:
        words: of the command line, those after ``zero123 evaluate``.
    """
    from tqdm import tqdm

    if scoring.out is not None:
        check_folder(scoring.out)
    cells = None if scoring.out is None else scoring.out / CELLS
    steps = run.scores(cells, scoring.workers)
    report = run.report(list(tqdm(steps, total=len(run.pairs), unit="object", disable=None)))
    print(f"{report.protocol}: {report.about}\n{report.table()}")
    words = ["zero123", "evaluate", *words]
    if scoring.objects:
        words += ["--objects", *scoring.objects]
    if scoring.out is not None:
        write_report(scoring.out, run.files(report, shlex.join(words)))
