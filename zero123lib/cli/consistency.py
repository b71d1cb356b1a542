"""`zero123 evaluate` without truth: do views of one object agree with each other?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from zero123lib._choices import Consistency
from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder
from zero123lib._words import count as counted
from zero123lib.cli.asking import Asking, loaded, model_words
from zero123lib.cli.making import Source
from zero123lib.cli.options import Degrees, Model, read_image, renaming, whole
from zero123lib.cli.reporting import CELLS
from zero123lib.cli.scoring import Making, Scoring, score
from zero123lib.views.poses import absolute_poses, orbit

if TYPE_CHECKING:
    from zero123lib.evaluation.posed_folders import Subject

Rig = Literal["syncdreamer", "sv3d"]
ITS_CAMERAS = Parameter(group=Group("Of a photo", sort_key=1))


@Parameter(name="*", group=Group("The fits", sort_key=3))
@dataclass(frozen=True)
class Fits:
    """How views are fitted.

    Attributes:
        size: pixels of the views' sides, in fits and comparisons, at most.
        fit_steps: of each fit.
    """

    size: Annotated[int, whole(16, 512, "PX")] = 128
    fit_steps: Annotated[int, whole(1, 10_000)] = 150

    @property
    def words(self) -> list[str]:
        """Return the options as they are written on the command line."""
        return ["--size", str(self.size), "--fit-steps", str(self.fit_steps)]


def mvgbench(
    predictions: Annotated[Path, Parameter(name="PREDICTIONS")],
    truth: Annotated[Path | None, Parameter(name="TRUTH")] = None,
    /,
    *,
    rig: Rig | None = None,
    fits: Fits = Fits(),
    scoring: Scoring = Scoring(),
    making: Making = Making(),
) -> None:
    """Measure by MVGBench's self-consistency, with fits of ours.

    Of each object the even and the odd views, in order, are fitted apart and
    compared: PSNR, SSIM and LPIPS of images of the two, their depths, Chamfer
    distance and F at 0.02. Fits are voxel fields of ours, where MVGBench has
    Gaussians, so its published numbers do not stand beside. Baselines: images
    of one field, which agree wholly; the first view for every camera; and, with
    TRUTH, the true views. Cameras are those of a transforms.json beside the
    views, of 000.npy, ... there or in TRUTH, or the rig's. --out as for `zero123
    evaluate folder`; --model fills PREDICTIONS first, of TRUTH.

        zero123 evaluate mvgbench made/ --out report/
        zero123 evaluate mvgbench made/ gso/ --rig syncdreamer --model tiny

    Args:
        predictions: a folder of views, or of objects, each a folder of views.
        truth: the same objects' true views.
        rig: cameras of a protocol, where the files say none.
    """
    from zero123lib.evaluation.posed_folders import find_subjects, stored_subject
    from zero123lib.evaluation.protocols import FOLDER, PROTOCOLS

    making.check()
    if scoring.out is not None:
        check_folder(scoring.out)
    if truth is not None and not truth.is_dir():
        raise ArgumentError("truth", "a folder of objects", repr(str(truth)))
    protocol = FOLDER if rig is None else PROTOCOLS[rig]
    notes: list[str] = []
    if making.model.model is not None:
        if truth is None:
            raise ArgumentError("truth", "a folder with the inputs, beside --model", "none")
        named = replace(protocol, name="mvgbench")
        notes = making.make(named, predictions, truth, scoring.objects)
    found = find_subjects(predictions, scoring.objects)
    there = {name: _truth_of(truth, name) for name in found}
    pairs = [
        (name, partial(stored_subject, name, folder, there[name], protocol.rig, fits.size))
        for name, folder in found.items()
    ]
    words = ["mvgbench", str(predictions), *([] if truth is None else [str(truth)])]
    words += [] if rig is None else ["--rig", rig]
    sources = {"predictions": str(predictions)} | ({} if truth is None else {"truth": str(truth)})
    _run("mvgbench", sources, pairs, notes, [*words, *making.words], fits, scoring)


def _truth_of(truth: Path | None, name: str) -> Path | None:
    if truth is None:
        return None
    return truth / name if (truth / name).is_dir() else truth


def consistency(
    place: Annotated[str, Parameter(name="PLACE")],
    /,
    *,
    count: Annotated[int, whole(4, 360), ITS_CAMERAS] = 16,
    elevation: Annotated[Degrees, ITS_CAMERAS] = 0.0,
    consistency: Annotated[Consistency, ITS_CAMERAS] = "none",
    rig: Rig | None = None,
    source: Source = Source(),
    model: Model = Model(),
    asking: Asking = Asking(),
    fits: Fits = Fits(),
    scoring: Scoring = Scoring(),
) -> None:
    """Measure whether views of one object agree, without any truth.

    PLACE is a photo, of which the model makes views all round; or a folder of
    views with a transforms.json, as `zero123 orbit` writes it, with 000.npy, ...
    or from the cameras of --rig; or a folder of such folders. Even and odd views
    are fitted apart and compared, and each view's pixels are looked for in the
    nearest other view by the fitted depth. What the fits themselves cost stands
    beside, as `agreeing`; so does the input, shown to every camera. --out as for
    `zero123 evaluate folder`.

        zero123 evaluate consistency photo.png --model zero123-xl
        zero123 evaluate consistency photo.png --consistency mutual
        zero123 evaluate consistency orbit/ --out report/

    Args:
        place: an image file, or a folder of views or of objects.
        count: how many views, evenly all round.
        elevation: of their cameras, relative to the photo's.
        consistency: how the model makes them agree.
        rig: cameras of a protocol, for a folder whose files say none.
    """
    if scoring.out is not None:
        check_folder(scoring.out)
    if Path(place).is_dir():
        mine = (count, elevation, consistency, source, model, asking)
        if mine != (16, 0.0, "none", Source(), Model(), Asking()):
            raise ArgumentError("place", "a photo beside options that ask a model", repr(place))
        from zero123lib.evaluation.posed_folders import find_subjects, stored_subject
        from zero123lib.evaluation.protocols import PROTOCOLS

        cameras = None if rig is None else PROTOCOLS[rig].rig
        with renaming(predictions="place"):
            found = find_subjects(Path(place), scoring.objects)
            pairs = [
                (name, partial(stored_subject, name, folder, rig=cameras, size=fits.size))
                for name, folder in found.items()
            ]
            words = ["consistency", place, *([] if rig is None else ["--rig", rig])]
            return _run("consistency", {"views": place}, pairs, [], words, fits, scoring)
    if scoring.objects is not None:
        raise ArgumentError("objects", "a folder of objects beside it", repr(place))
    if rig is not None:
        raise ArgumentError("rig", "a folder of views beside it", repr(place))
    _photo(place, count, elevation, consistency, source, model, asking, fits, scoring)


def _photo(
    place: str,
    count: int,
    elevation: float,
    consistency: Consistency,
    source: Source,
    model: Model,
    asking: Asking,
    fits: Fits,
    scoring: Scoring,
) -> None:
    """Measure a model on a photo."""
    from zero123lib.views.sources import named_images

    (named,) = named_images([place])
    image = read_image(named, source.mask)
    model.check()
    if source.cameras is not None:
        raise ArgumentError("cameras", "none beside one photo", repr(str(source.cameras)))
    (camera,), poses = source.placed([named]), orbit(count, elevation)
    absolute_poses(camera, poses, "elevation")
    from zero123lib.diffusion.apps import check_input_elevation
    from zero123lib.diffusion.card import about_model
    from zero123lib.evaluation.cells import cell
    from zero123lib.evaluation.kept_views import kept_subject
    from zero123lib.evaluation.posed_folders import made_subject
    from zero123lib.evaluation.weights import weights_digest

    pipe = loaded(model)
    check_input_elevation(pipe, source.input_elevation_deg, "input_elevation_deg")
    setting = asking.setting(pipe)

    def make() -> Subject:
        return made_subject(
            named.stem,
            image,
            pipe,
            setting,
            poses,
            camera,
            consistency=consistency,
            preprocess=source.preprocess,
            foreground_ratio=source.foreground_ratio,
            input_elevation_deg=source.input_elevation_deg,
            size=fits.size,
        )

    notes = [
        f"{counted(count, 'view')} by {about_model(pipe)}; {counted(setting.steps, 'step')} of "
        f"{setting.sampler}, guidance {setting.guidance:g}, seed {setting.seed}, "
        f"consistency {consistency}",
        f"SHA-256 of the weights {weights_digest(pipe)}",
    ]
    told = {
        "count": count,
        "elevation": elevation,
        "consistency": consistency,
        "input-elevation": source.input_elevation_deg,
        "input-radius": source.input_radius,
        "preprocess": source.preprocess,
        "foreground-ratio": source.foreground_ratio,
        "mask": source.mask,
        "steps": setting.steps,
        "guidance": setting.guidance,
        "sampler": setting.sampler,
        "seed": setting.seed,
    }
    options = [word for k, v in told.items() if v is not None for word in (f"--{k}", str(v))]
    words = ["consistency", place, *model_words(model), *options]
    file = None
    if scoring.out is not None:
        shown = hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes())
        key = [shown.hexdigest(), weights_digest(pipe), fits.size, *words[2:]]
        file = cell(scoring.out / CELLS, key).with_suffix(".safetensors")
    pairs = [(named.stem, partial(kept_subject, named.stem, file, make))]
    _run("consistency", {"photo": place}, pairs, notes, words, fits, scoring)


def _run(
    protocol: str,
    sources: dict[str, str],
    pairs: Sequence[tuple[str, Callable[[], Subject]]],
    notes: list[str],
    words: list[str],
    fits: Fits,
    scoring: Scoring,
) -> None:
    from tqdm import tqdm

    from zero123lib.evaluation.consistency_run import ConsistencyRun, steps_of
    from zero123lib.evaluation.self_consistency import FIT

    settings = replace(FIT, steps=fits.fit_steps)
    total = len(pairs) * steps_of("truth" in sources, settings)
    with tqdm(total=total, unit="step", desc="fits", disable=None) as bar:
        run = ConsistencyRun(protocol, sources, pairs, notes, settings, fits.size, told=bar.update)
        score(run, [*words, *fits.words], scoring, shows=False)
