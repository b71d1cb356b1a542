"""A folder of views with their cameras, per picture: check, load, sample, write.

All arguments and pictures are checked before anything is written, and a new folder appears whole;
in one that exists, transforms.json is there only while it describes the pictures beside it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from zero123lib import __version__
from zero123lib.cli import files

if TYPE_CHECKING:
    from PIL import Image

    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.diffusion.samplers import SampleStep
    from zero123lib.views.images import Prepared
    from zero123lib.views.poses import Pose, RelativePose

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class Job:
    """One picture and the folder for its views."""

    picture: Path
    folder: Path
    prepared: Prepared


def run(args: argparse.Namespace) -> None:
    """Make the views of every picture; `args.poses(args)` are their relative poses.

    Raises:
        ValueError: an argument or a picture is of no use; nothing was written.
        OSError: a file could not be written.
    """
    poses = args.poses(args)
    cameras = _absolute(args, poses)
    folders = _folders(args.images, args.out)
    _check_pictures(args.images)
    pipe = _load(args)
    args.input_elevation = args.input_elevation or 0.0
    jobs = [
        Job(picture, folder, _prepare(pipe, picture, args))
        for picture, folder in zip(args.images, folders, strict=True)
    ]
    print(_headline(pipe, args), flush=True)
    for job in jobs:
        _make(pipe, job, poses, cameras, args)


def _absolute(args: argparse.Namespace, poses: list[RelativePose]) -> list[Pose]:
    """Absolute cameras of all views; the input's elevation counts as 0 where none is given."""
    from zero123lib.views.poses import Pose

    try:
        source = Pose(args.input_elevation or 0.0, 0.0, args.input_radius)
    except ValueError as error:
        raise ValueError(f"--input-elevation: {str(error).partition(': ')[2]}") from error
    cameras = []
    for pose in poses:
        elevation_deg = source.elevation_deg + pose.elevation_deg
        if not -90.0 <= elevation_deg <= 90.0:
            argument = "--elevation" if getattr(args, "preset", None) is None else "--preset"
            raise ValueError(
                f"{argument}: expected a camera between straight below and straight above, -90 to "
                f"90 degrees, got {source.elevation_deg:g} + {pose.elevation_deg:g}"
            )
        if not source.radius + pose.radius > 0.0:
            raise ValueError(
                "--radius: expected a camera farther than 0 from the object's middle, got "
                f"{source.radius:g} + {pose.radius:g}"
            )
        cameras.append(source.moved(pose))
    return cameras


def _folders(pictures: list[Path], out: Path) -> list[Path]:
    """One folder per picture: `out` itself for a single one, else one in it by the file's name."""
    files.check_folder(out)
    if len(pictures) == 1:
        return [out]
    names: dict[str, str] = {}  # by what a file system that ignores case would take them for
    for picture in pictures:
        name, again = picture.stem, 2
        while name.casefold() in names:
            name, again = f"{picture.stem}-{again}", again + 1
        names[name.casefold()] = name
    folders = [out / name for name in names.values()]
    for folder in folders:
        files.check_folder(folder)
    return folders


def _check_pictures(pictures: list[Path]) -> None:
    from zero123lib.views.images import load_image

    for picture in pictures:
        _of(picture, lambda picture=picture: load_image(picture))


def _prepare(pipe: Zero123Pipeline, picture: Path, args: argparse.Namespace) -> Prepared:
    ratio = {} if args.foreground_ratio is None else {"foreground_ratio": args.foreground_ratio}
    return _of(picture, lambda: pipe.prepare(picture, args.preprocess, **ratio))


def _load(args: argparse.Namespace) -> Zero123Pipeline:
    """The pipeline, where what is asked of it goes together; fills in what was left to it."""
    from zero123lib.diffusion.apps import check_input_elevation, load_pipeline
    from zero123lib.diffusion.samplers import check_sampler, step_count
    from zero123lib.diffusion.schedule import Schedule

    try:
        check_sampler(args.sampler, args.eta)
        pipe = load_pipeline(args.model, args.device, args.encoding, args.original_config)
        args.steps = args.steps or pipe.config["num_inference_steps"]
        schedule = Schedule.from_scheduler(pipe.scheduler)
        args.evaluations = step_count(args.sampler, schedule, args.steps)
    except ValueError as error:
        argument, _, complaint = str(error).partition(": ")
        flags = {"num_inference_steps": "steps", "original_config": "original-config"}
        raise ValueError(f"--{flags.get(argument, argument)}: {complaint}") from error
    check_input_elevation(pipe, args.input_elevation, "--input-elevation")
    if args.guidance is None:
        args.guidance = pipe.config["guidance_scale"]
    return pipe


def _headline(pipe: Zero123Pipeline, args: argparse.Namespace) -> str:
    from zero123lib.diffusion.card import about_model

    return (
        f"model {about_model(pipe)}\n{args.evaluations} steps of {args.sampler}, guidance "
        f"{args.guidance:g}, seed {args.seed}, on {pipe.device}"
    )


def _make(
    pipe: Zero123Pipeline,
    job: Job,
    poses: list[RelativePose],
    cameras: list[Pose],
    args: argparse.Namespace,
) -> None:
    """Sample the views of one picture and write its folder."""
    notice = pipe.notice(job.prepared)
    if notice:
        print(f"{job.picture}: {notice}", flush=True)
    started = time.perf_counter()
    views = _sample(pipe, job.prepared, poses, args)
    seconds = time.perf_counter() - started
    content = _content(pipe, job, views, poses, cameras, args)
    others = files.write_folder(job.folder, content)
    print(
        f"{job.picture}: {job.prepared.how}; {len(views)} views in {seconds:.1f} s; wrote "
        f"{job.folder}/: {_listing(list(content))}",
        flush=True,
    )
    if others:
        print(f"{job.folder}/ also holds {_listing(others)}, from before")


def _sample(
    pipe: Zero123Pipeline, prepared: Prepared, poses: list[RelativePose], args: argparse.Namespace
) -> list[Image.Image]:
    import torch

    from zero123lib.diffusion.apps import sampled_views

    with cast(Any, pipe).progress_bar(total=args.evaluations) as bar:

        def on_step(step: SampleStep) -> None:
            bar.update()

        return sampled_views(
            pipe,
            prepared,
            poses,
            on_step,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            sampler=args.sampler,
            eta=args.eta,
            generator=torch.Generator().manual_seed(args.seed),
            condition_elevation_deg=args.input_elevation,
        )


def _content(
    pipe: Zero123Pipeline,
    job: Job,
    views: list[Image.Image],
    poses: list[RelativePose],
    cameras: list[Pose],
    args: argparse.Namespace,
) -> dict[str, bytes]:
    """The files of one folder by name; transforms.json, which names the others, is the last."""
    from zero123lib.views.images import contact_sheet
    from zero123lib.views.poses import camera_label

    names = [f"{index:03d}.png" for index in range(len(views))]
    content = {name: files.png(view) for name, view in zip(names, views, strict=True)}
    labels = ["input", *map(camera_label, poses)]
    content["contact_sheet.png"] = files.png(
        contact_sheet([job.prepared.image, *views], labels=labels)
    )
    if args.animate:
        content["orbit.gif"] = files.gif(views)
    content["transforms.json"] = files.json_text(_transforms(pipe, job, names, cameras, args))
    return content


def _transforms(
    pipe: Zero123Pipeline,
    job: Job,
    names: list[str],
    cameras: list[Pose],
    args: argparse.Namespace,
) -> dict[str, Any]:
    from zero123lib.views.transforms import transforms_json

    made_by = {
        "program": f"zero123lib {__version__}",
        "model": pipe.model_name,
        "model_licence": pipe.licence,
        "picture": job.picture.name,
        "cut_out": job.prepared.method,
        "preprocess": args.preprocess,
        "input_elevation_deg": args.input_elevation,
        "input_radius": args.input_radius,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "sampler": args.sampler,
        "eta": args.eta,
        "seed": args.seed,
    }
    size = {"w": pipe.image_size, "h": pipe.image_size}
    return {"made_by": made_by, **size, **transforms_json(names, cameras)}


def _listing(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 4 else [names[0], "...", *names[-2:]])


def _of(picture: Path, make: Callable[[], Result]) -> Result:
    """Call `make`; a complaint that does not name the picture then ends with its name."""
    try:
        return make()
    except ValueError as error:
        if str(picture) in str(error):
            raise
        raise ValueError(f"{error} ({picture})") from error
