"""`zero123 evaluate`: how well a model turns, or a recipe shapes, objects that are known whole."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder, json_bytes
from zero123lib._words import count
from zero123lib.cli.asking import Asking, Sweeping, loaded, model_words
from zero123lib.cli.options import Assignments, Model, Seed, Share, check_present, renaming, whole
from zero123lib.cli.reporting import CELLS, Features, Out, held_report, write_report

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.evaluation import Prediction, Report, Setting
    from zero123lib.evaluation.embedders import Embedder
    from zero123lib.evaluation.files import Kept

Kinds = Annotated[list[str] | None, Parameter(metavar="KIND...")]


def scenes(
    *,
    out: Out = None,
    objects: Annotated[int, whole(1, 100_000)] = 100,
    views: Annotated[int, whole(1, 1000)] = 8,
    kinds: Kinds = None,
    model: Model = Model(),
    asking: Sweeping = Sweeping(),
    features: Features = Features(),
) -> None:
    """Measure a model on views of held-out procedural objects.

    It asks about the same objects from the same cameras always, of the kinds
    that the model was trained on where it says them. It prints PSNR, SSIM,
    LPIPS, silhouette IoU and the error of the azimuth from which the made view
    shows the object, over the image and inside the input's and the target's
    silhouettes, beside the scores of three baselines: the input unchanged, a
    blank image, the mean of training images.

    --out also writes report.html (worst objects first, with error maps; it
    opens offline), contact_sheet.png, views.csv (every view) and report.json;
    a sweep writes curves.csv and curves.png, and keeps every object's scores in
    cells/, so that the same command goes on where it was interrupted.

        zero123 evaluate scenes --model tiny --out report/
        zero123 evaluate scenes --sweep-steps 1 2 4 --sweep-guidance 1 2

    Args:
        out: folder to write; without it, only a table.
        objects: how many.
        views: target views of each.
        kinds: of objects, such as chair car, or all (the model's own, or all).
    """
    asking.check()
    features.check()
    if asking.sweeps:
        features.refuse("--sweep-steps or --sweep-guidance")
    if out is not None:
        check_folder(out)
    model.check()
    kinds = _checked_kinds(kinds)
    embedders = features.load()
    pipe = loaded(model)
    settings = asking.settings(pipe)
    if asking.sweeps:
        cells = None if out is None else out / CELLS
        with held_report(out):
            return write_report(out, _swept(pipe, settings, objects, views, kinds, cells))
    from zero123lib.evaluation import predict_scenes

    predictions = predict_scenes(pipe, settings[0], objects, views, kinds)
    report, kept = _reported(pipe, settings[0], predictions, objects, out is not None, embedders)
    options = {"objects": objects, "views": views, **_options(settings[0]), "kinds": report.kinds}
    _write(out, report, kept, _command(["scenes"], model, options, features.words))


def stored(
    data: Annotated[Path, Parameter(name="DATA")],
    /,
    *,
    out: Out = None,
    objects: Annotated[int, whole(1, 100_000)] = 100,
    views: Annotated[int, whole(1, 1000)] = 4,
    held_out: Share = 0.0,
    model: Model = Model(),
    asking: Asking = Asking(),
    features: Features = Features(),
) -> None:
    """Measure a model on views of objects of a data set that it does not know.

    DATA is a folder in the official layout, as `zero123 render` writes it: of
    each object one view is the input, the next ones are what is asked for;
    views that are damaged or have no camera, and objects with too few others,
    are passed over. It prints PSNR, SSIM, LPIPS and silhouette IoU beside the
    scores of three baselines. --held-out takes the objects that training with the same
    data.held_out left out.

    --out also writes report.html (worst objects first, with error maps; it
    opens offline), contact_sheet.png, views.csv (every view) and report.json.

        zero123 evaluate objects rendered/ --held-out 0.05 --out report/

    Args:
        data: a folder of objects.
        out: folder to write; without it, only a table.
        objects: how many, at most; always the same ones.
        views: target views of each.
        held_out: share of the objects, by their names, that training left out (all objects).
    """
    if out is not None:
        check_folder(out)
    check_present(data, "data", "a folder of objects")
    features.check()
    model.check()
    from zero123lib.evaluation import predict, stored_samples

    embedders = features.load()
    pipe = loaded(model)
    setting = asking.setting(pipe)
    with renaming(path="data"):
        samples = stored_samples(data, objects, views, pipe.image_size, held_out)
        predictions = predict(pipe, setting, samples)
        report, kept = _reported(pipe, setting, predictions, objects, out is not None, embedders)
    options = {"objects": objects, "views": views, "held-out": held_out, **_options(setting)}
    _write(out, report, kept, _command(["objects", str(data)], model, options, features.words))


def reconstruction(
    *,
    recipe: Annotated[str, Parameter(metavar="CONFIG")] = "tiny-views",
    out: Out = None,
    objects: Annotated[int, whole(1, 10_000)] = 10,
    first: Annotated[int, whole(0, 10_000)] = 0,
    kinds: Kinds = None,
    override: Assignments = None,
    seed: Seed = 0,
    model: Model = Model(),
) -> None:
    """Measure a recipe on the shapes of held-out procedural objects.

    It reconstructs the same objects always, of the kinds that the model was
    trained on where it says them, each from one image whose camera is told. It
    prints volume IoU and Chamfer distance (hundredths of the longest side) to
    the true shape, beside the IoU of two answers that need no model: the visual
    hull of the input's silhouette within the unit box, and the ball whose
    silhouette has the input's area.

    --out also writes report.html (worst objects first; it opens offline),
    report.json, objects.csv and sheet.png: input, truth and result from the
    side.

        zero123 evaluate reconstruction --recipe tiny-views --out report/

    Args:
        recipe: a recipe's name, or a YAML file.
        out: folder to write; without it, only a table.
        objects: how many.
        first: number of the first one: choose settings on others than those that you report.
        kinds: of objects, such as chair car, or all (the model's own, or all).
        override: another value for a key of the recipe; may be repeated.
        seed: of all draws.
    """
    from zero123lib.reconstruction.files import check_overrides, find_recipe

    if out is not None:
        check_folder(out)
    model.check()
    check_overrides(override or ())
    with renaming(config="recipe"):
        find_recipe(recipe)
    told = _checked_kinds(kinds)
    from tqdm import tqdm

    from zero123lib.diffusion.card import about_model
    from zero123lib.evaluation import evaluated_kinds
    from zero123lib.evaluation.files import csv_bytes, shape_lines, shape_page, shape_sheet
    from zero123lib.evaluation.reconstruction import Scored, ShapeReport, score_recipe
    from zero123lib.evaluation.weights import weights_digest
    from zero123lib.views.folder import png

    pipe = model.load()
    asked = evaluated_kinds(pipe, told)
    print(f"model {about_model(pipe)}; recipe {recipe}", flush=True)
    scored = []
    steps = score_recipe(
        pipe, recipe, objects, first=first, overrides=override or [], seed=seed, kinds=asked
    )
    with tqdm(total=objects, unit="object", disable=None) as bar:
        for step in steps:
            if isinstance(step, Scored):
                scored.append(step)
                bar.update()
            else:
                bar.set_postfix_str(f"{step.stage} {step.step}/{step.total}")
    report = ShapeReport(pipe.model_name, weights_digest(pipe), recipe, seed, asked, scored)
    print(report.table())
    options = {"recipe": recipe, "objects": objects, "first": first, "seed": seed, "kinds": asked}
    command = _command(["reconstruction"], model, {**options, "set": override or []})
    write_report(
        out,
        {
            "report.html": shape_page(report, command),
            "sheet.png": png(shape_sheet(scored)),
            "objects.csv": csv_bytes(shape_lines(report)),
            "report.json": json_bytes(report.to_dict(command)),
        },
    )


def _checked_kinds(kinds: list[str] | None) -> list[str] | None:
    """Return the kinds of `--kinds`; None where it was not given."""
    if kinds is None:
        return None
    from zero123lib.scenes import KINDS, check_kinds

    if kinds == ["all"]:
        return list(KINDS)
    try:
        check_kinds(kinds)
    except ArgumentError as error:
        raise ArgumentError("kinds", error.expected, f"{error.got}; or all alone") from error
    return kinds


def _reported(
    pipe: Zero123Pipeline,
    setting: Setting,
    predictions: Iterable[Prediction],
    total: int,
    draws: bool,
    embedders: Sequence[Embedder],
) -> tuple[Report, Kept]:
    """Print the scores of one setting; the report and what its files need are returned."""
    from tqdm import tqdm

    from zero123lib.evaluation import report_predictions
    from zero123lib.evaluation.files import Kept

    kept = Kept(draws)
    bar = tqdm(kept.passing(predictions), total=total, unit="object", disable=None)
    report = report_predictions(pipe, setting, bar, embedders)
    print(
        f"{_each(report.objects, report.views)}; {count(setting.steps, 'step')} of "
        f"{setting.sampler}, guidance {setting.guidance:g}, seed {setting.seed}; "
        f"{report.seconds:.0f} s, the model {report.model_seconds:.0f} s of them\n{report.table()}"
    )
    return report, kept


def _write(out: Path | None, report: Report, kept: Kept, command: str) -> None:
    """Write the files of a report on views, where there is a folder for them."""
    if out is not None:
        content = json_bytes(report.to_dict(command))
        write_report(out, {**kept.files(report.by_object, command), "report.json": content})


def _each(objects: int, views: int) -> str:
    return f"{count(objects, 'object')}, {count(views, 'view')} each"


def _options(setting: Setting) -> dict[str, Any]:
    """Name the options that ask a model in this way."""
    return {
        "steps": setting.steps,
        "guidance": str(setting.guidance).removesuffix(".0"),
        "sampler": setting.sampler,
        "seed": setting.seed,
    }


def _swept(
    pipe: Zero123Pipeline,
    settings: list[Setting],
    objects: int,
    views: int,
    kinds: list[str] | None,
    cells: Path | None,
) -> dict[str, bytes]:
    """Print the curves over the settings; their files are returned."""
    from tqdm import tqdm

    from zero123lib.evaluation import evaluated_kinds
    from zero123lib.evaluation.sheets import curves_image
    from zero123lib.evaluation.sweep import curves, sweep_scenes
    from zero123lib.views.folder import png

    steps = sweep_scenes(pipe, settings, objects, views, cells, kinds)
    found = curves(tqdm(steps, total=objects, unit="object", disable=None))
    print(
        f"{_each(objects, views)}; {settings[0].sampler}, seed {settings[0].seed}\n"
        f"{found.table()}\nkinds of objects: {', '.join(evaluated_kinds(pipe, kinds))}"
    )
    return {"curves.png": png(curves_image(found)), "curves.csv": found.csv().encode()}


def _command(
    protocol: Sequence[str], model: Model, options: Mapping[str, Any], more: Sequence[str] = ()
) -> str:
    """Return the line that gives the same report, whatever the model comes to recommend."""
    from zero123lib.scenes import KINDS

    words = ["zero123", "evaluate", *protocol, *model_words(model)]
    for name, value in options.items():
        if name == "kinds" and len(value) == len(KINDS):
            value = ["all"]
        if name == "set":
            words += [word for one in value for word in ("--set", one)]
        else:
            words += [f"--{name}", *(value if isinstance(value, list) else [str(value)])]
    return shlex.join([*words, *more])
