"""`zero123 reconstruct`: one image, or views from all sides, to a radiance field and a mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter

from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder
from zero123lib._signals import StopRequest
from zero123lib._words import count
from zero123lib.cli.options import (
    Cameras,
    Mask,
    Model,
    read_image,
    renaming,
)
from zero123lib.cli.running import Run, carried_out, in_threestudio, run_lines
from zero123lib.cli.telling import Telling

if TYPE_CHECKING:
    from PIL.Image import Image

    from zero123lib.reconstruction.engine import Finished, Progress
    from zero123lib.reconstruction.recipes import Recipe
    from zero123lib.views.poses import RelativePose

    Begin = Callable[[StopRequest], Iterator[Progress | Finished]]

ENGINE = Parameter(group=Group("The engine", sort_key=2))


def reconstruct(
    photo: Annotated[str | None, Parameter(name="PHOTO")] = None,
    /,
    *override: Annotated[str, Parameter(name="KEY=VALUE")],
    cameras: Cameras = None,
    views: Annotated[Path | None, Parameter(metavar="FOLDER")] = None,
    mask: Mask = None,
    config: Annotated[str | None, Parameter(metavar="CONFIG")] = None,
    run: Run,
    model: Model = Model(),
    engine: Annotated[Literal["embedded", "threestudio"], ENGINE] = "embedded",
    threestudio_root: Annotated[Path | None, Parameter(metavar="CLONE"), ENGINE] = None,
    telling: Telling = Telling(),
) -> int:
    """Make a radiance field and a mesh of the object in one image, or in several photos.

    CONFIG is a recipe, tiny-views, tiny-sds, views, given-views, zero123-sds,
    zero123-sjc or stable-zero123-sds, or a file in threestudio's YAML; KEY=VALUE,
    such as trainer.max_steps=300, gives a key of it another value. The embedded
    engine runs on any machine, CPU included; keys of threestudio's that it has no
    use for are named. Without --config, the bundled model gets tiny-views, any
    other one views, and --views given-views.

    DIR gets mesh.ply (z-up, the image's camera at azimuth 0; of --views, where
    their cameras look), mesh.glb (y-up), field.safetensors, views.png,
    turntable.gif and metrics.json, and with the extra `video` turntable.mp4,
    depth.mp4 and normals.mp4. Ctrl-C and SIGTERM stop after the step at hand and
    write all that from what is there, with status 130 or 143; a second Ctrl-C
    stops at once. --resume goes on, also after a kill.

        zero123 reconstruct photo.png --out run/
        zero123 reconstruct photo.png --config zero123-sds --out run/ seed=1
        zero123 reconstruct photo.png --config views --out run/ --resume
        zero123 reconstruct a.png b.png --cameras posed/ --out run/
        zero123 reconstruct --views images/ --out run/
        zero123 reconstruct photo.png --out run/ --engine threestudio \\
            --threestudio-root threestudio/

    Args:
        photo: an image of one object; with --cameras also several.
        override: of the recipe; with --cameras, words without = are more photos.
        cameras: a transforms.json of `zero123 pose`, where the photos were taken from.
        views: in place of PHOTO and a model, images from all sides, and their cameras in a
            transforms.json: ours, NeRF's or nerfstudio's.
        mask: an image of PHOTO's size, white where the object is, to cut it out by.
        config: a recipe's name, or a YAML file.
        engine: what reconstructs.
        threestudio_root: threestudio's folder, which `zero123 threestudio` makes ready.
    """
    from zero123lib.reconstruction.files import check_overrides, find_recipe
    from zero123lib.reconstruction.recipes import read_recipe
    from zero123lib.views.listings import find_listing

    there = engine == "threestudio"
    check_folder(run.out)
    if there != (threestudio_root is not None):
        wanted = "threestudio's folder" if there else "none"
        got = "none" if threestudio_root is None else repr(str(threestudio_root))
        raise ArgumentError("threestudio_root", f"{wanted} with --engine {engine}", got)
    words = [] if photo is None else [photo]
    if cameras is not None:
        words += [word for word in override if "=" not in word]
        override = tuple(word for word in override if "=" in word)
    elif more := [word for word in override if "=" not in word and Path(word).exists()]:
        expected = "a transforms.json beside several photos of one object"
        raise ArgumentError("cameras", expected, f"none beside {more[0]!r}")
    if views is not None:
        if photo is not None and "=" in photo:
            photo, override = None, (photo, *override)
        _check_without_photo(photo, mask, cameras, run, model, threestudio_root)
        check_overrides(override)
        find_listing(views)
        recipe = read_recipe(config or "given-views", override)
        with telling.hushed():
            return _of_views(views, recipe, run, model, telling)
    if photo is None:
        raise ArgumentError("photo", "an image, or --views FOLDER", "none")
    photos, run = _photos(words, mask, cameras, run)
    check_overrides(override)
    model.check()
    usual = "tiny-views" if model.model in (None, "tiny") else "views"
    config = config or ("zero123-sds" if there else usual)
    if threestudio_root is None:
        recipe = read_recipe(config, override)
        with telling.hushed():
            return _of_photos(photos, recipe, run, model, telling)
    if len(photos.images) > 1:
        got = str(len(photos.images))
        raise ArgumentError("photo", "one image with --engine threestudio", got)
    file = find_recipe(config)
    with telling.hushed():
        in_threestudio(photos.images[0], file, threestudio_root, override, run, model, telling)
    return 0


def _check_without_photo(
    photo: str | None,
    mask: Path | None,
    cameras: Path | None,
    run: Run,
    model: Model,
    clone: Path | None,
) -> None:
    """Hold what tells of a photo or its model to none, beside --views."""
    others = {
        "photo": photo, "mask": mask, "cameras": cameras, "model": model.model,
        "input_elevation_deg": run.input_elevation_deg,
        "threestudio_root": clone, "original_config": model.reading.original_config,
        "encoding": None if model.reading.encoding == "auto" else model.reading.encoding,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise ArgumentError(name, "none beside --views", repr(str(value)))


@dataclass(frozen=True)
class Photos:
    """Photos of one object.

    Attributes:
        labels: for people.
        images: as they were read.
        poses: of the cameras, relative to the first one's.
    """

    labels: list[str]
    images: list[Image]
    poses: list[RelativePose]


def _photos(
    words: Sequence[str], mask: Path | None, cameras: Path | None, run: Run
) -> tuple[Photos, Run]:
    """Read the image of a file, of standard input, or of a folder that has one; with --cameras
    more of them, and how high the first camera stood."""
    from zero123lib.views.poses import RelativePose
    from zero123lib.views.sources import named_images

    named = named_images(words)
    if cameras is None:
        if len(named) != 1:
            where = ", ".join(map(repr, words))
            expected = "one image, or --cameras beside several of one object"
            raise ArgumentError("photo", expected, f"{len(named)} in {where}")
        image = read_image(named[0], mask)
        return Photos([named[0].label], [image], [RelativePose()]), run
    from zero123lib.views.photo_cameras import photo_cameras

    if mask is not None and len(named) > 1:
        raise ArgumentError("mask", "one image beside it", str(len(named)))
    if run.input_elevation_deg is not None:
        got = f"{run.input_elevation_deg:g}"
        raise ArgumentError("input_elevation_deg", "none beside --cameras, which says it", got)
    labels = [one.label for one in named]
    placed = photo_cameras(cameras, labels)
    poses = [one.relative_to(placed[0]) for one in placed]
    images = [read_image(one, mask) for one in named]
    return Photos(labels, images, poses), replace(run, input_elevation_deg=placed[0].elevation_deg)


def _of_photos(
    photos: Photos,
    recipe: Recipe,
    run: Run,
    model: Model,
    telling: Telling,
) -> int:
    """Reconstruct the object of photos by our own engine."""
    from zero123lib.diffusion.apps import check_input_elevation
    from zero123lib.diffusion.card import about_model
    from zero123lib.reconstruction.engine import reconstruct as steps_of

    pipe = model.load(recipe.guidance.pretrained_model_name_or_path)
    check_input_elevation(pipe, run.input_elevation_deg, "input_elevation_deg")
    pipe.set_progress_bar_config(disable=True)
    prepared, about, notices = [], [f"model {about_model(pipe)}"], []
    about += run_lines(recipe, run, str(pipe.device))
    for label, image in zip(photos.labels, photos.images, strict=True):
        try:
            prepared.append(pipe.prepare(image, recipe.embedded.preprocess))
        except ArgumentError as error:
            raise (error if len(photos.images) == 1 else error.renamed(label)) from error
        about.append(
            prepared[-1].how if len(photos.images) == 1 else f"{label}: {prepared[-1].how}"
        )
        if notice := pipe.notice(prepared[-1]):
            about.append(notice)
            notices.append(notice)

    def begin(stop: StopRequest) -> Iterator[Progress | Finished]:
        with renaming(recipe="config", input_poses="cameras"):
            return steps_of(
                prepared,
                recipe,
                pipe=pipe,
                input_poses=photos.poses,
                out=run.out,
                seed=run.seed,
                input_elevation_deg=run.input_elevation_deg,
                max_steps=run.max_steps,
                resume=run.resume,
                stop=stop,
            )

    return carried_out(begin, about, next(iter(notices), None), run, telling)


def _of_views(views: Path, recipe: Recipe, run: Run, model: Model, telling: Telling) -> int:
    """Reconstruct images that are there already by our own engine."""
    from zero123lib.diffusion.devices import pick_device
    from zero123lib.reconstruction.engine import reconstruct_views
    from zero123lib.reconstruction.given import given_views

    device, posed = pick_device(model.device), given_views(views)

    def begin(stop: StopRequest) -> Iterator[Progress | Finished]:
        return reconstruct_views(
            posed,
            recipe,
            out=run.out,
            seed=run.seed,
            max_steps=run.max_steps,
            resume=run.resume,
            stop=stop,
            device=device,
        )

    about = [f"{count(len(posed.images), 'image')} of {views}", *run_lines(recipe, run, device)]
    with renaming(recipe="config"):
        return carried_out(begin, about, None, run, telling)
