"""`zero123 batch`: a verb over thousands of files, on this machine or on a Ray cluster."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from zero123lib._choices import Consistency, Preset
from zero123lib._words import count
from zero123lib.cli.asking import Asking
from zero123lib.cli.kept import KeptModel, Verb, model_settings
from zero123lib.cli.making import Each, Sampling, Source
from zero123lib.cli.options import Assignments, Degrees, Model, Seed, number, whole
from zero123lib.cli.render import Drawing
from zero123lib.cli.telling import Telling
from zero123lib.cli.views import CAMERAS, Radius, path_of, poses_of
from zero123lib.views.paths import PATH_PRESETS
from zero123lib.views.poses import RelativePose, absolute_poses
from zero123lib.views.poses import orbit as around

if TYPE_CHECKING:
    from zero123lib.batch.items import Kind
    from zero123lib.batch.running import Ended

Inputs = Annotated[list[str], Parameter(name="INPUTS")]
Out = Annotated[str, Parameter(metavar="URI")]
Amount = Annotated[
    float, number(float, "a number from 0 to 1024", lambda value: 0.0 <= value <= 1024.0, "N")
]


@Parameter(name="*", group=Group("The batch", sort_key=0))
@dataclass(frozen=True)
class Batch:
    """How a batch goes.

    Attributes:
        ray: address of a Ray cluster, host:port or auto (this machine alone).
        workers: processes at most, each with a model of its own (as many as there is room for).
        cpus_per_worker: cores of each.
        gpus_per_worker: share of a GPU, such as 0.25 (1 where there are GPUs).
        retries: attempts after the first one, where another may succeed or a worker was lost.
    """

    ray: Annotated[str | None, Parameter(metavar="ADDRESS")] = None
    workers: Annotated[int | None, whole(1, 100_000)] = None
    cpus_per_worker: Amount = 1.0
    gpus_per_worker: Amount | None = None
    retries: Annotated[int, whole(0, 100)] = 2

    def run(
        self,
        verb: Verb,
        inputs: Sequence[str],
        kind: Kind,
        out: str,
        settings: Mapping[str, Any],
        seed: int,
        telling: Telling,
    ) -> int:
        """Run a verb over all inputs and tell how it ended; returns the exit status."""
        from tqdm import tqdm

        from zero123lib.batch.cluster import Spread
        from zero123lib.batch.items import find_items
        from zero123lib.batch.running import run_batch

        items = find_items(inputs, kind, out)
        spread = Spread(**{one.name: getattr(self, one.name) for one in fields(Spread)})
        on_cpu = verb.device == "cpu"
        settings = {"verb": verb.name, **settings}
        with (
            tqdm(total=len(items), unit=kind.called, disable=telling.no_bars) as bar,
            # Ray prints of machines that it loses, on the stream of the result.
            redirect_stdout(sys.stderr),
        ):

            def begin(kept: int) -> None:
                bar.initial = bar.n = kept
                bar.refresh()

            def tell(row: Mapping[str, Any]) -> None:
                bar.update()
                if error := row["error"]:
                    whose = "" if row["input"] in error else f"{row['input']}: "
                    tqdm.write(f"zero123 batch {verb.name}: {whose}{error}", file=sys.stderr)

            ended = run_batch(
                items, verb, out, settings, seed=seed, spread=spread, retries=self.retries,
                on_cpu=on_cpu, begin=begin, tell=tell,
            )  # fmt: skip
        return _tell_end(ended, verb.name, kind.called, out, telling)


def views(
    inputs: Inputs,
    /,
    *,
    out: Out,
    batch: Batch = Batch(),
    azimuth: Annotated[list[Degrees] | None, CAMERAS] = None,
    elevation: Annotated[list[Degrees] | None, CAMERAS] = None,
    radius: Radius = 0.0,
    preset: Annotated[list[Preset] | None, CAMERAS] = None,
    source: Each = Each(),
    model: Model = Model(),
    sampling: Sampling = Sampling(),
    telling: Telling = Telling(),
) -> int:
    """Make images of thousands of objects from cameras that you name.

    Every image gets what `zero123 views` writes, in URI/NAME/, and a row in
    URI/manifest.parquet. The same command goes on where it was interrupted, and
    tries again what failed.

        zero123 batch views photos/ --azimuth 0 90 180 270 --out views/
        zero123 batch views list.csv --ray auto --gpus-per-worker 0.25 \\
            --out s3://bucket/views

    Args:
        inputs: folders, globs, images, or lists (text, CSV, Parquet); paths or URIs of fsspec.
        out: folder on a disk, or s3://, gs://, ...
        azimuth: counter-clockwise seen from above (0 45 ... 315).
        elevation: up; one, or one per azimuth (0).
        radius: farther away.
        preset: cameras by name, in place of angles.
    """
    asked = {"azimuth": azimuth, "elevation": elevation, "radius": radius, "preset": preset}
    relative = poses_of(azimuth, elevation, radius, preset, sampling.seed)
    absolute_poses(source.camera, relative, "elevation" if preset is None else "preset")
    return _made("views", inputs, out, batch, asked, source, model, sampling, telling)


def orbit(
    inputs: Inputs,
    /,
    *,
    out: Out,
    batch: Batch = Batch(),
    count: Annotated[int, whole(2, 360), CAMERAS] = 16,
    elevation: Annotated[Degrees, CAMERAS] = 0.0,
    radius: Radius = 0.0,
    consistency: Consistency = "none",
    path: Annotated[str | None, Parameter(metavar="NAME|JSON"), CAMERAS] = None,
    source: Each = Each(),
    model: Model = Model(),
    sampling: Sampling = Sampling(),
    telling: Telling = Telling(),
) -> int:
    """Make images of thousands of objects from cameras evenly around them, and GIFs.

    Every image gets what `zero123 orbit` writes, in URI/NAME/, and a row in
    URI/manifest.parquet. The same command goes on where it was interrupted.

        zero123 batch orbit photos/ --count 16 --out orbits/

    Args:
        inputs: folders, globs, images, or lists (text, CSV, Parquet); paths or URIs of fsspec.
        out: folder on a disk, or s3://, gs://, ...
        count: how many, the first where the image's own is.
        elevation: up.
        radius: farther away.
        consistency: see `zero123 orbit`.
        path: ring, spiral, rise, sway or zoom, or a transforms.json.
    """
    if path is None:
        absolute_poses(source.camera, around(count, elevation, radius), "elevation")
    else:
        path_of(path, RelativePose(elevation, 0.0, radius), source.camera)
    asked = {
        "count": count, "elevation": elevation, "radius": radius, "consistency": consistency,
        "path": path if path in PATH_PRESETS else _here(path),
    }  # fmt: skip
    return _made("orbit", inputs, out, batch, asked, source, model, sampling, telling)


def reconstruct(
    inputs: Inputs,
    /,
    *,
    out: Out,
    batch: Batch = Batch(),
    config: Annotated[str | None, Parameter(metavar="CONFIG")] = None,
    override: Assignments = None,
    max_steps: Annotated[int | None, whole(1, 10**9)] = None,
    input_elevation_deg: Annotated[Degrees | None, Parameter(name="--input-elevation")] = None,
    seed: Seed = 0,
    model: Model = Model(),
    telling: Telling = Telling(),
) -> int:
    """Make radiance fields and meshes of the objects of thousands of images.

    Every image gets what `zero123 reconstruct` writes, in URI/NAME/, and a row in
    URI/manifest.parquet. The same command goes on where it was interrupted.

        zero123 batch reconstruct photos/ --config views --out meshes/

    Args:
        inputs: folders, globs, images, or lists (text, CSV, Parquet); paths or URIs of fsspec.
        out: folder on a disk, or s3://, gs://, ...
        config: a recipe's name, or a YAML file (tiny-views with the bundled model, else views).
        override: of the recipe; may be repeated.
        max_steps: stop after N steps of optimisation, with a result.
        input_elevation_deg: of the camera that took the images (the recipe's).
        seed: of the batch; an image's own follows from it and from its name.
    """
    from zero123lib.reconstruction.files import check_overrides, recipe_names
    from zero123lib.reconstruction.recipes import read_recipe

    model.check()
    usual = "tiny-views" if model.model in (None, "tiny") else "views"
    overrides = tuple(override or ())
    check_overrides(overrides)
    recipe = read_recipe(config or usual, overrides)
    options = {
        "config": config if config in recipe_names() else _here(config),
        "overrides": overrides,
        "max_steps": max_steps,
        "input_elevation_deg": input_elevation_deg,
    }
    name = model.model or recipe.guidance.pretrained_model_name_or_path
    named = replace(model, model=name)
    verb = Verb("reconstruct", options, KeptModel.of(named))
    settings = {**options, "recipe": recipe.text, **model_settings(named)}
    return batch.run(verb, inputs, _images(), out, settings, seed, telling)


def render(
    inputs: Inputs,
    /,
    *,
    out: Out,
    batch: Batch = Batch(),
    drawing: Drawing = Drawing(),
    seed: Seed = 0,
    telling: Telling = Telling(),
) -> int:
    """Render training views of thousands of mesh files from the official cameras.

    Every mesh gets a folder in the official layout, URI/NAME/000.png, 000.npy, ...,
    and a row in URI/manifest.parquet. The same command goes on where it was
    interrupted.

        zero123 batch render s3://bucket/meshes --out s3://bucket/renders --ray auto

    Args:
        inputs: folders, globs, meshes, or lists (text, CSV, Parquet); paths or URIs of fsspec.
        out: folder on a disk, or s3://, gs://, ...
        seed: of the batch; an object's own follows from it and from its name.
    """
    from zero123lib.batch.items import Kind
    from zero123lib.meshes.axes import FORMATS
    from zero123lib.rendering.settings import RenderSettings

    options = asdict(drawing)
    RenderSettings(**options)
    kind = Kind("mesh", tuple(FORMATS))
    return batch.run(Verb("render", options), inputs, kind, out, options, seed, telling)


def evaluate(
    inputs: Inputs,
    /,
    *,
    out: Out,
    batch: Batch = Batch(),
    views: Annotated[int, whole(1, 1000)] = 4,
    model: Model = Model(),
    asking: Asking = Asking(),
    telling: Telling = Telling(),
) -> int:
    """Measure a model on thousands of objects of data sets.

    Inputs are folders in the official layout, as `zero123 render` writes them, or
    folders of such. Every object gets what `zero123 evaluate objects` writes, in
    URI/NAME/, and a row with its scores in URI/manifest.parquet; their means are
    told at the end. The same command goes on where it was interrupted.

        zero123 batch evaluate s3://bucket/renders --out s3://bucket/scores

    Args:
        inputs: folders, globs, or lists (text, CSV, Parquet); paths or URIs of fsspec.
        out: folder on a disk, or s3://, gs://, ...
        views: target views of each.
    """
    from zero123lib.batch.items import Kind

    model.check()
    options = {"views": views, "asking": replace(asking, seed=0)}
    settings = {"views": views, **asdict(asking), **model_settings(model)}
    del settings["seed"]  # the batch's
    verb = Verb("evaluate", options, KeptModel.of(model))
    kind = Kind("object", marker="000.npy")
    return batch.run(verb, inputs, kind, out, settings, asking.seed, telling)


def _made(
    name: str,
    inputs: Sequence[str],
    out: str,
    batch: Batch,
    asked: dict[str, Any],
    source: Each,
    model: Model,
    sampling: Sampling,
    telling: Telling,
) -> int:
    """Make views of all inputs, as `zero123 views` or `zero123 orbit` makes those of one."""
    sampling.check()
    model.check()
    plain = replace(sampling, seed=0)
    alone = Source(**asdict(source))
    options = {**asked, "source": alone, "sampling": plain}
    settings: dict[str, Any] = {**asked, **asdict(alone), **asdict(plain), **model_settings(model)}
    del settings["seed"]  # the batch's
    verb = Verb(name, options, KeptModel.of(model))
    return batch.run(verb, inputs, _images(), out, settings, sampling.seed, telling)


def _images() -> Kind:
    from zero123lib.batch.items import Kind
    from zero123lib.views.loading import SUFFIXES

    return Kind("image", tuple(SUFFIXES))


def _here(path: str | None) -> str | None:
    """Return a path as workers find it, whatever folder they are in; other names as they are."""
    return str(Path(path).absolute()) if path is not None and Path(path).exists() else path


def _tell_end(ended: Ended, verb: str, called: str, out: str, telling: Telling) -> int:
    place = f"{out.rstrip('/')}/manifest.parquet"
    parts = [f"{ended.done} done", f"{ended.failed} failed"]
    if ended.kept:
        parts.append(f"{ended.kept} done before")
    if ended.lost:
        parts.append(f"workers lost {count(ended.lost, 'item')}")
    telling.line(
        f"{count(ended.items, called)}: {', '.join(parts)}; {ended.seconds:.1f} s, "
        f"{ended.per_second:.2f} a second by {count(ended.workers, 'worker')}; see {place}"
    )
    for name, value in ended.scores.items():
        telling.line(f"mean {name} {value:.4g}")
    telling.result({**asdict(ended), "per_second": ended.per_second, "manifest": place})
    if ended.interrupted:
        print(f"zero123 batch {verb}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 1 if ended.failed else 0
