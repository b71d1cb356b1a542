"""`zero123 elevation` and `zero123 pose`: where photos were taken from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from zero123lib import __version__
from zero123lib._choices import Preprocess
from zero123lib._errors import ArgumentError
from zero123lib._files import check_file, check_folder, write_bytes, write_folder
from zero123lib.cli.options import (
    Degrees,
    Mask,
    Model,
    Positive,
    Seed,
    read_image,
    renaming,
    whole,
)
from zero123lib.cli.telling import Telling, listing
from zero123lib.cli.views import Images, Out

if TYPE_CHECKING:
    from PIL.Image import Image

    from zero123lib.inversion.elevation import ElevationEstimate
    from zero123lib.inversion.poses import PoseEstimate
    from zero123lib.views.images import Prepared


def elevation(
    photo: Annotated[str, Parameter(name="IMAGE")],
    /,
    *,
    landscape: Annotated[Path | None, Parameter(metavar="PNG")] = None,
    preprocess: Preprocess = "auto",
    mask: Mask = None,
    seed: Seed = 0,
    model: Model = Model(),
    telling: Telling = Telling(),
) -> int:
    """Estimate how high the camera of a photo stood, with a confidence.

    The model makes views around the object; the elevation is the one at which they
    show one and the same solid. --input-elevation of the other verbs takes it.

        zero123 elevation photo.png
        zero123 elevation photo.png --json

    Args:
        photo: an image file (PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF or HEIC), or -.
        landscape: file to write: how well each elevation fits.
        preprocess: auto cuts the object out and centres it.
        mask: an image of the same size, white where the object is.
        seed: of the noise.
    """
    if landscape is not None:
        _check_png(landscape)
    ((label, image),) = _read([photo], mask, least=1, most=1)
    model.check()
    with telling.hushed():
        pipe = model.load()
        from zero123lib.inversion.confidence import in_words
        from zero123lib.inversion.elevation import estimate_elevation
        from zero123lib.views.folder import png

        started = time.perf_counter()
        with _bar(telling, "elevation") as on_step:
            found = estimate_elevation(
                pipe, image, preprocess=preprocess, seed=seed, on_step=on_step
            )
        seconds = time.perf_counter() - started
        files = []
        if landscape is not None:
            write_bytes(landscape, png(found.image()))
            files.append(str(landscape))
        if found.notice:
            telling.line(f"{label}: {found.notice}")
        sure = in_words(found.confidence, 15, found.notice)
        telling.line(f"{label}: {found.elevation_deg:.0f} degrees, {sure}; {seconds:.1f} s")
        telling.result(
            {
                "image": label,
                "elevation_deg": found.elevation_deg,
                "confidence": found.confidence,
                "files": files,
                **_common(pipe, found, [found.prepared], seconds),
            }
        )
    return 0


def pose(
    images: Images,
    /,
    *,
    out: Out,
    input_elevation_deg: Annotated[Degrees | None, Parameter(name="--input-elevation")] = None,
    input_radius: Positive = 1.85,
    preprocess: Preprocess = "auto",
    steps: Annotated[int | None, whole(0, 1000)] = None,
    seed: Seed = 0,
    model: Model = Model(),
    telling: Telling = Telling(),
) -> int:
    """Find where photos of one object were taken from, and write them with their cameras.

    It writes 000.png, 001.png, ... (the photos, cut out and framed), landscape.png
    (how well each camera on the sphere fits, bright is likely) and transforms.json,
    which --cameras of `zero123 views`, `orbit` and `reconstruct` takes; of three photos and more
    also `zero123 reconstruct --views` and `zero123 mesh texture`. The first photo is at azimuth 0.

        zero123 pose front.png side.png --out posed/
        zero123 orbit front.png side.png --cameras posed/ --out orbit/
        zero123 reconstruct front.png side.png --cameras posed/ --out run/

    Args:
        images: two to eight image files, or a folder of them.
        out: folder to write.
        input_elevation_deg: of the first photo's camera (estimated).
        input_radius: its distance.
        preprocess: auto cuts the object out and centres it; none is for renders, whose camera
            looks at the object's middle: more is found of them, without a confidence.
        steps: of the refinement (the model's own); 0 leaves the best place of the search.
        seed: of the noise.
    """
    check_folder(out)
    with renaming(elevation_deg="input_elevation_deg", radius="input_radius"):
        from zero123lib.views.poses import Pose

        Pose(input_elevation_deg or 0.0, 0.0, input_radius)
    named = _read(images, None, least=2, most=8)
    model.check()
    with telling.hushed():
        pipe = model.load()
        from zero123lib.diffusion.apps import check_input_elevation
        from zero123lib.inversion.folder import posed_files
        from zero123lib.inversion.poses import estimate_poses

        check_input_elevation(pipe, input_elevation_deg, "input_elevation_deg")
        started = time.perf_counter()
        photos = [image for _, image in named]
        with _bar(telling, "pose") as on_step, _by_name([label for label, _ in named]):
            found = estimate_poses(
                pipe,
                photos,
                elevation_deg=input_elevation_deg,
                preprocess=preprocess,
                seed=seed,
                steps=steps,
                on_step=on_step,
            )
        source, how = _source(
            pipe, photos[0], found, input_elevation_deg, input_radius, preprocess, seed
        )
        seconds = time.perf_counter() - started
        labels = [Path(label).name for label, _ in named]
        made_by = {
            "program": f"zero123lib {__version__}",
            "model": pipe.model_name,
            "model_licence": pipe.licence,
            "images": labels,
            "preprocess": preprocess,
            "confidences": found.confidences,
            "input_elevation": how,
            "seed": seed,
        }
        with renaming(elevation_deg="input_elevation_deg", radius="input_radius"):
            files = posed_files(found, source, made_by)
        others = write_folder(out, files)
        _tell_poses(telling, labels, found)
        telling.line(
            f"{labels[0]} at {source.elevation_deg:.0f} degrees ({how}); {seconds:.1f} s; wrote "
            f"{out}/: {listing(list(files))}"
        )
        if others:
            telling.line(f"{out}/ also holds {listing(others)}, from before")
        telling.result(
            {
                "files": [str(out / name) for name in files],
                "poses": _as_json(labels, found),
                "input_elevation_deg": source.elevation_deg,
                "input_elevation": how,
                **_common(pipe, found, found.prepared, seconds),
            }
        )
    return 0


def _common(
    pipe: Any,
    found: ElevationEstimate | PoseEstimate,
    photos: Sequence[Prepared],
    seconds: float,
) -> dict[str, Any]:
    """Return what programs are told of both kinds of answers."""
    from zero123lib.diffusion.apps import bundled_networks

    return {
        "trusted": found.trusted,
        "model": pipe.model_name,
        "licence": pipe.licence,
        "networks": list(dict.fromkeys(n for one in photos for n in bundled_networks(one.method))),
        "seconds": seconds,
        "notices": [found.notice] if found.notice else [],
    }


def _tell_poses(telling: Telling, labels: Sequence[str], found: PoseEstimate) -> None:
    """Tell people of each photo's camera."""
    from zero123lib.inversion.confidence import in_words

    if found.notice:
        telling.line(found.notice)
    for label, one, sure in zip(labels[1:], found.poses[1:], found.confidences, strict=True):
        telling.line(
            f"{label}: {one.elevation_deg:+.0f} degrees up, {one.azimuth_deg:+.0f} round from "
            f"{labels[0]}, {in_words(sure, 20, found.notice)}"
        )


def _as_json(labels: Sequence[str], found: PoseEstimate) -> list[dict[str, Any]]:
    """Return each photo's camera for programs."""
    return [
        {"image": label, **asdict(one), "confidence": sure}
        for label, one, sure in zip(labels, found.poses, [1.0, *found.confidences], strict=True)
    ]


def _source(
    pipe: Any,
    photo: Image,
    found: PoseEstimate,
    elevation_deg: float | None,
    radius: float,
    preprocess: Preprocess,
    seed: int,
) -> tuple[Any, str]:
    """Place the first photo's camera, and say in a word where its elevation is from.

    An estimate is brought to where no other camera lies beyond a pole.
    """
    from zero123lib.inversion.confidence import in_words
    from zero123lib.inversion.elevation import estimate_elevation
    from zero123lib.views.poses import Pose

    how = "given"
    if elevation_deg is None:
        guess = estimate_elevation(pipe, photo, preprocess=preprocess, seed=seed)
        rises = [one.elevation_deg for one in found.poses]
        low, high = -90.0 - min(rises), 90.0 - max(rises)
        elevation_deg = min(max(guess.elevation_deg, low), high)
        how = f"estimated, {in_words(guess.confidence, 15, guess.notice)}"
    return Pose(elevation_deg, 0.0, radius), how


def _read(
    words: Sequence[str], mask: Path | None, least: int, most: int
) -> list[tuple[str, Image]]:
    """Label and content of the images that words name, as many as a verb takes."""
    from zero123lib.views.sources import named_images

    named = named_images(words)
    if not least <= len(named) <= most:
        expected = "one image" if most == 1 else f"{least} to {most} images"
        raise ArgumentError("image", expected, str(len(named)))
    return [(one.label, read_image(one, mask)) for one in named]


def _check_png(path: Path) -> None:
    if path.suffix.lower() != ".png":
        raise ArgumentError("landscape", "a .png", repr(str(path)))
    with renaming(out="landscape"):
        check_file(path)


@contextmanager
def _by_name(labels: Sequence[str]) -> Iterator[None]:
    """Call images by their files in complaints of the library, which calls them by number."""
    try:
        yield
    except ArgumentError as error:
        for place, label in enumerate(labels):
            if error.name == f"images[{place}]":
                raise error.renamed(label) from error
        raise


@contextmanager
def _bar(telling: Telling, name: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far an estimate is."""
    from zero123lib.cli.telling import stage_bars

    with stage_bars(telling) as show:
        yield lambda done, total: show(name, done, total, "")
