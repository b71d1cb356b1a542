"""Folders of views, one per image: check, load, sample, write.

Arguments and the first image are checked before torch is there. A new folder appears whole; in one
that exists, transforms.json is there only while it describes the images beside it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Group, Parameter

from zero123lib._choices import NOISY_SAMPLERS, Consistency, Preprocess, Sampler, Speed, Upscale
from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder, write_folder
from zero123lib._words import count
from zero123lib.cli.options import (
    THE_MODEL,
    Cameras,
    Degrees,
    Guidance,
    Mask,
    Model,
    Positive,
    Ratio,
    Seed,
    Share,
    Steps,
    read_image,
    renaming,
)
from zero123lib.cli.telling import Telling, listing
from zero123lib.views.poses import Pose, RelativePose, absolute_poses

if TYPE_CHECKING:
    from PIL.Image import Image

    from zero123lib.diffusion.pipeline import Zero123Pipeline
    from zero123lib.views.images import Prepared
    from zero123lib.views.paths import CameraPath
    from zero123lib.views.sources import NamedImage


THE_IMAGE = Group("The image", sort_key=2)


@Parameter(name="*", group=THE_IMAGE)
@dataclass(frozen=True)
class Each:
    """What is said of each image.

    Attributes:
        input_elevation_deg: its camera's elevation (0; models like Stable-Zero123 want it told).
        input_radius: its camera's distance.
        preprocess: auto cuts the object out and centres it, official as the official demo does.
        foreground_ratio: longest side of the object over the image's, with auto (the model's own).
    """

    input_elevation_deg: Annotated[Degrees | None, Parameter(name="--input-elevation")] = None
    input_radius: Positive = 1.85
    preprocess: Preprocess = "auto"
    foreground_ratio: Ratio | None = None

    @property
    def camera(self) -> Pose:
        """Return its camera."""
        with renaming(elevation_deg="input_elevation_deg", radius="input_radius"):
            return Pose(self.input_elevation_deg or 0.0, 0.0, self.input_radius)


@Parameter(name="*", group=THE_IMAGE)
@dataclass(frozen=True)
class Source(Each):
    """The image that is given.

    Attributes:
        mask: an image of the same size, white where the object is, to cut one image out by.
        cameras: a transforms.json of `zero123 pose`: the images are photos of one object, taken
            from there.
    """

    mask: Mask = None
    cameras: Cameras = None

    def placed(self, photos: Sequence[NamedImage]) -> list[Pose]:
        """Place the cameras of photos of one object; without --cameras there is one photo."""
        if self.cameras is None:
            return [self.camera]
        for name in ("input_elevation_deg", "input_radius"):
            value = getattr(self, name)
            if value != getattr(Source, name):
                raise ArgumentError(name, "none beside --cameras, which says it", f"{value:g}")
        from zero123lib.views.photo_cameras import photo_cameras

        return photo_cameras(self.cameras, [one.label for one in photos])


@Parameter(name="*", group=THE_MODEL)
@dataclass(frozen=True)
class Sampling:
    """How the model is asked.

    Attributes:
        num_inference_steps: denoising steps; official takes about as many (the model's own).
        guidance_scale: how closely to follow the image; 1 is no guidance (the model's own).
        sampler: how noise becomes views (ddim).
        speed: what is left out to save time; exact leaves out nothing.
        eta: noise that official and ddim add on the way; the official demo has 1.
        seed: of the noise.
        upscale: enlarge the views, by Real-ESRGAN animevideov3 (BSD-3-Clause).
    """

    num_inference_steps: Annotated[Steps | None, Parameter(name="--steps")] = None
    guidance_scale: Annotated[Guidance | None, Parameter(name="--guidance")] = None
    sampler: Sampler | None = None
    speed: Speed = "exact"
    eta: Annotated[Share, Parameter(metavar="E")] = 0.0
    seed: Seed = 0
    upscale: Upscale = 1

    def check(self) -> None:
        """Raise ArgumentError for what does not go together."""
        if self.eta and self.sampler not in (None, *NOISY_SAMPLERS):
            raise ArgumentError("eta", f"0, as {self.sampler!r} adds no noise", repr(self.eta))

    def settled(self, pipe: Zero123Pipeline) -> Sampling:
        """Fill in what is left to the model."""
        from zero123lib.diffusion.speed import tier_of

        steps, scale = pipe.recommended(self.num_inference_steps, self.guidance_scale)
        sampler = self.sampler or "ddim"
        if self.num_inference_steps is None and self.sampler is None and not self.eta:
            steps, sampler = tier_of(self.speed).planned(steps, sampler)
        return replace(self, num_inference_steps=steps, guidance_scale=scale, sampler=sampler)

    def evaluations(self, pipe: Zero123Pipeline) -> int:
        """Count how often the model is asked."""
        from zero123lib.diffusion.samplers import step_count
        from zero123lib.diffusion.schedule import Schedule

        schedule = Schedule.from_scheduler(pipe.scheduler)
        sampler = cast(Sampler, self.sampler)
        return step_count(sampler, schedule, cast(int, self.num_inference_steps))


@dataclass
class Making:
    """Make views of images, as a verb's options say.

    Attributes:
        verb: "views", or "orbit" with its animation.
        consistency: how the views come to agree.
        path: that the cameras are on.
        photos: cameras of the photos of one object; one photo has one.
        made: what programs are told, of every image that has its views.
        failed: why, of every image that cannot be used.
    """

    verb: str
    out: Path
    source: Source
    model: Model
    sampling: Sampling
    telling: Telling
    consistency: Consistency = "none"
    path: CameraPath | None = None
    photos: list[Pose] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, ValueError] = field(default_factory=dict)

    def make(
        self, images: Sequence[str], poses: Callable[[Pose], Sequence[RelativePose]], up: str
    ) -> int:
        """Make the views of every image, or with --cameras those of all images together.

        Args:
            images: files, folders of them, or -.
            poses: gives the relative poses, told the camera that they are relative to.
            up: the argument that their elevations come from.

        Returns:
            1 where some image could not be used, else 0.

        Raises:
            ValueError: an argument or every image is of no use; nothing was written.
            OSError: a file could not be written.
        """
        from zero123lib.views.sources import named_images

        named = named_images(images)
        if self.source.mask is not None and len(named) > 1:
            raise ArgumentError("mask", "one image beside it", str(len(named)))
        together = self.source.cameras is not None
        objects = [named] if together else [[one] for one in named]
        usable = self._decoded(objects, _folders([one[0].stem for one in objects], self.out))
        self.sampling.check()
        self.model.check()
        self.photos = self.source.placed(named)
        job, relative = next(usable, None), poses(self.photos[0])
        cameras = absolute_poses(self.photos[0], relative, up)
        if job is None:
            raise self._none_usable()
        with self.telling.hushed():
            pipe = self._load()
            while job is not None:
                self._views_of(pipe, *job, relative, cameras)
                job = next(usable, None)
        if not self.made:
            raise self._none_usable()
        return self._end(pipe)

    def _decoded(
        self, objects: Sequence[Sequence[NamedImage]], folders: Sequence[Path]
    ) -> Iterator[tuple[list[str], Path, list[Image]]]:
        """Labels, folder and content of the photos of each object that can be read, each read at
        its turn."""
        for photos, folder in zip(objects, folders, strict=True):
            label = ""
            try:
                content = []
                for photo in photos:
                    label = photo.label
                    content.append(read_image(photo, self.source.mask))
            except ValueError as error:
                if isinstance(error, ArgumentError) and error.name == "mask":
                    raise  # it is not the image that is of no use
                self.failed[label] = error
                continue
            yield [photo.label for photo in photos], folder, content

    def _load(self) -> Zero123Pipeline:
        """Load the model and settle what is left to it, where all that is asked goes together."""
        from zero123lib.diffusion.apps import check_input_elevation
        from zero123lib.diffusion.card import about_model

        pipe = self.model.load(speed=self.sampling.speed)
        if self.source.cameras is None:
            check_input_elevation(pipe, self.source.input_elevation_deg, "input_elevation_deg")
        if self.telling.quiet:
            pipe.set_progress_bar_config(disable=True)
        self.sampling = asked = self.sampling.settled(pipe)
        self.telling.line(
            f"model {about_model(pipe)}\n{count(asked.evaluations(pipe), 'step')} of "
            f"{asked.sampler}, guidance {asked.guidance_scale:g}, seed {asked.seed}, "
            f"{asked.speed}, on {pipe.device}"
        )
        return pipe

    def _views_of(
        self,
        pipe: Zero123Pipeline,
        labels: Sequence[str],
        folder: Path,
        images: Sequence[Image],
        poses: Sequence[RelativePose],
        cameras: Sequence[Pose],
    ) -> None:
        """Make the views of one object and write their folder."""
        photos = self._prepared(pipe, labels, images)
        if photos is None:
            return
        notices = []
        for label, photo in zip(labels, photos, strict=True):
            if notice := pipe.notice(photo):
                self.telling.line(f"{label}: {notice}")
                notices.append(notice)
        started = time.perf_counter()
        views = self._sampled(pipe, photos, poses)
        seconds = time.perf_counter() - started
        label, prepared = " + ".join(labels), photos[0]
        from zero123lib import upscaling
        from zero123lib.diffusion.apps import bundled_networks, view_labels
        from zero123lib.views.folder import view_files

        files = view_files(
            views,
            cameras,
            condition=prepared.image,
            labels=["input", *view_labels(prepared, poses, self.sampling.upscale)],
            animation=views if self.verb == "orbit" else (),
            made_by=self._origin(pipe, labels, prepared),
            path=self.path,
        )
        others = write_folder(folder, files)
        how = prepared.how
        if self.sampling.upscale > 1:
            how += f"; enlarged {self.sampling.upscale} times by {upscaling.NAME}"
        self.telling.line(
            f"{label}: {how}; {count(len(views), 'view')} in {seconds:.1f} s; wrote "
            f"{folder}/: {listing(list(files))}"
        )
        if others:
            self.telling.line(f"{folder}/ also holds {listing(others)}, from before")
        paths = [str(folder / name) for name in files]
        made = {"image": label, "photos": list(labels), "files": paths, "seconds": seconds}
        networks = [bundled_networks(one.method, self.sampling.upscale) for one in photos]
        self.made.append(
            {
                **made,
                "notice": next(iter(notices), None),
                "cut_out": prepared.method,
                "networks": list(dict.fromkeys(chain(*networks))),
            }
        )

    def _prepared(
        self, pipe: Zero123Pipeline, labels: Sequence[str], images: Sequence[Image]
    ) -> list[Prepared] | None:
        """Return the photos of one object as the model sees them; None where one is of no use."""
        ratio = self.source.foreground_ratio
        ratios = {} if ratio is None else {"foreground_ratio": ratio}
        found = []
        for label, image in zip(labels, images, strict=True):
            try:
                found.append(pipe.prepare(image, self.source.preprocess, **ratios))
            except ValueError as error:
                self.failed[label] = error
                return None
        return found

    def _sampled(
        self, pipe: Zero123Pipeline, photos: Sequence[Prepared], poses: Sequence[RelativePose]
    ) -> list[Image]:
        import torch

        from zero123lib.diffusion.apps import sampled_views

        asked = self.sampling
        rounds = len(poses) if self.consistency == "viewfusion" else 1
        with cast(Any, pipe).progress_bar(total=asked.evaluations(pipe) * rounds) as bar:
            return sampled_views(
                pipe,
                photos,
                poses,
                lambda step: bar.update(),
                self.consistency,
                input_poses=[one.relative_to(self.photos[0]) for one in self.photos],
                num_inference_steps=asked.num_inference_steps,
                guidance_scale=asked.guidance_scale,
                sampler=asked.sampler,
                speed=asked.speed,
                eta=asked.eta,
                generator=torch.Generator().manual_seed(asked.seed),
                upscale=asked.upscale,
                condition_elevation_deg=self.photos[0].elevation_deg,
            )

    def _origin(
        self, pipe: Zero123Pipeline, labels: Sequence[str], prepared: Prepared
    ) -> dict[str, Any]:
        """Return how the views came about, for transforms.json."""
        from zero123lib.diffusion.apps import made_by

        names = [Path(label).name for label in labels]
        how: dict[str, Any] = {"image": names[0], "preprocess": self.source.preprocess}
        if len(names) > 1:
            how["photos"] = names
        if self.verb == "orbit":
            how["consistency"] = self.consistency
        return made_by(pipe, prepared, self.photos[0], **how, **asdict(self.sampling))

    def _end(self, pipe: Zero123Pipeline) -> int:
        """Tell what was made and what was not."""
        failed = {label: _about(label, error) for label, error in self.failed.items()}
        for complaint in failed.values():
            print(f"zero123 {self.verb}: error: {complaint}", file=sys.stderr)
        self.telling.result(
            {
                "files": [file for one in self.made for file in one["files"]],
                "model": pipe.model_name,
                "licence": pipe.licence,
                "networks": list(dict.fromkeys(n for one in self.made for n in one["networks"])),
                "seconds": sum(one["seconds"] for one in self.made),
                "notices": [one["notice"] for one in self.made if one["notice"]],
                "images": self.made,
                "failed": failed,
            }
        )
        return 1 if failed else 0

    def _none_usable(self) -> ValueError:
        complaints = [_about(label, error) for label, error in self.failed.items()]
        if len(complaints) == 1:
            return ValueError(complaints[0])
        return ArgumentError("image", "at least one that can be used", "; ".join(complaints))


def _folders(stems: Sequence[str], out: Path) -> list[Path]:
    """Return one folder per image: ``out`` itself for a single one, else one in it by the file's
    name."""
    check_folder(out)
    if len(stems) == 1:
        return [out]
    names: dict[str, str] = {}  # by what a file system that ignores case would take them for
    for stem in stems:
        name, again = stem, 2
        while name.casefold() in names:
            name, again = f"{stem}-{again}", again + 1
        names[name.casefold()] = name
    folders = [out / name for name in names.values()]
    for folder in folders:
        check_folder(folder)
    return folders


def _about(label: str, error: ValueError) -> str:
    """Return a complaint with the file's name in it, on one line."""
    text = " ".join(str(error).split())
    return text if label in text else f"{text} ({label})"
