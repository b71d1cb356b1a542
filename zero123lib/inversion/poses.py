"""The relative pose between photos of one object: :func:`estimate_poses`.

First the sphere about each photo's camera is searched for each other photo, both ways; then the
deepest places are refined. A model that predicts clean latents shows the mean view of any camera in
one evaluation, and these are compared with the photos (:mod:`zero123lib.inversion.framed`); any
other is asked for its denoising loss (:mod:`zero123lib.inversion.refine`). Photos are framed as for
the model, so that distances are those at which the object would fill the same frame.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from zero123lib._errors import ArgumentError
from zero123lib.diffusion import arguments
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.inversion.confidence import TRUSTED, calibration, confidence
from zero123lib.inversion.framed import FramedViews, are_placed
from zero123lib.inversion.landscape import Landscape, landscape, turn_deg
from zero123lib.inversion.losses import Photo, draws, encoded
from zero123lib.inversion.refine import Pair, refined, starts, total_losses
from zero123lib.views.errors import ImageError
from zero123lib.views.images import ImageSource, Prepared, Preprocess
from zero123lib.views.poses import Pose, RelativePose, absolute_poses, wrap_azimuth_deg

MAX_PHOTOS = 8
# Framed photos that differ by less at so many pixels, root mean square in [-1, 1], are the same:
# one that is resized differs by 0.03 at most, one from 5 degrees aside by 0.08 at least.
_SAME, _SAME_PX = 0.045, 32
# A photo whose colours vary by less, over all of it, shows nothing.
_NOTHING = 0.02
_STARTS, _STEPS, _ROUNDS = 3, 16, 3
# Mean views are of so many draws where photos are as they came; for framed ones more gain nothing.
_PLACED_DRAWS = 3
# Within a degree of a pole a camera is on it.
_HIGHEST_DEG = 89.0
# Where the refinement's noise begins and ends, as shares of the schedule.
_NOISES = (0.8, 0.5)
# The draws that the search and the choice between the refined starts take, as such shares.
_SEARCH, _CHOICE = (0.7,), (0.8, 0.6)
# Another place on the sphere is one that is so far away.
_ELSEWHERE_DEG = 45.0


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """Where photos were taken from, relative to the first one.

    Attributes:
        poses: one per photo; the first is zero.
        confidences: one per photo but the first: the probability that its turn is right within 20
            degrees; None for a model that is not calibrated, and for images as they came.
        landscapes: one per photo but the first: losses over the sphere about the first camera.
        signs: one per photo but the first: what its confidence follows from.
        prepared: the photos as the model saw them.
        notice: one sentence where a photo is far from what the model knows; the confidences, which
            objects like the model's taught, then mean nothing.
    """

    poses: list[RelativePose]
    confidences: list[float | None]
    landscapes: list[Landscape]
    signs: list[tuple[float, ...]]
    prepared: list[Prepared]
    notice: str | None

    @property
    def confidence(self) -> float | None:
        """Return the least of the confidences."""
        known = [one for one in self.confidences if one is not None]
        return min(known) if known else None

    @property
    def trusted(self) -> bool:
        """Tell whether all of it is more likely right than wrong."""
        return self.notice is None and (self.confidence or 0.0) >= TRUSTED

    def cameras(self, source: Pose) -> list[Pose]:
        """Place the cameras, the first one at ``source``.

        Raises:
            ArgumentError: from there one would lie beyond a pole.
        """
        return absolute_poses(source, self.poses, "elevation_deg")

    def image(self) -> Image.Image:
        """Draw the landscapes, one below the other, with the answers as crosses."""
        drawn = [
            table.image([(pose.elevation_deg, pose.azimuth_deg)])
            for table, pose in zip(self.landscapes, self.poses[1:], strict=True)
        ]
        height = sum(one.height + 8 for one in drawn) - 8
        whole = Image.new("RGB", (drawn[0].width, height), "white")
        for place, one in enumerate(drawn):
            whole.paste(one, (0, place * (one.height + 8)))
        return whole


def estimate_poses(
    pipe: Zero123Pipeline,
    images: Sequence[ImageSource | Tensor],
    *,
    elevation_deg: float | None = None,
    preprocess: Preprocess = "auto",
    seed: int = 0,
    starts_count: int = _STARTS,
    steps: int | None = None,
    max_batch_size: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> PoseEstimate:
    """Find how photos of one object lie to each other, by the model's own denoising loss.

    Args:
        images: two to eight, as :meth:`Zero123Pipeline.prepare` takes them.
        elevation_deg: of the first photo's camera; needed by a stable-zero123 checkpoint.
        preprocess: see :data:`zero123lib.views.images.Preprocess`. "none" is for images from
            cameras that look at the object's middle, as renders are: its place in them then has
            its say. Their confidences are None.
        seed: of the noise.
        starts_count: how many places are refined.
        steps: of the refinement; 0 leaves the best place of the search, within about 10 degrees.
            None takes 3 for a model that predicts clean latents, which halves its step from one to
            the next, and 16 of a descent for any other.
        max_batch_size: rows per batch of the UNet, the bound on memory; None means 8.
        on_step: told of each unit of work and of how many there are.

    Raises:
        ArgumentError: too few or too many photos, two that are the same, or one that shows nothing.
        ImageError: one cannot be read; the message has its place in the list.
    """
    batch = arguments.batch_size(max_batch_size)
    arguments.check_whole("seed", seed)
    arguments.check_whole("starts_count", starts_count, 1)
    if steps is not None:
        arguments.check_whole("steps", steps)
    if elevation_deg is not None:
        arguments.check_number("elevation_deg", elevation_deg, -90.0, 90.0)
    if needs_input_elevation(pipe) and elevation_deg is None:
        expected = "that of the first photo's camera, which the model is conditioned on"
        raise ArgumentError("elevation_deg", expected, "None")
    clean = Schedule.from_scheduler(pipe.scheduler).prediction_type == "sample"
    steps = (_ROUNDS if clean else _STEPS) if steps is None else steps
    photos, base = _photos(pipe, images, preprocess), elevation_deg or 0.0
    count, generator = len(photos), torch.Generator().manual_seed(seed)
    bounds_deg = (-_HIGHEST_DEG - base, _HIGHEST_DEG - base)
    search = _Search(pipe, photos, base, generator, batch, bounds_deg, starts_count)
    tables, chosen = (search.by_views if clean else search.by_loss)(steps, on_step)
    both = _pairs(tables, count)
    signs = [
        _signs(both[0, j], tables[0, j], tables[j, 0].turned_round(), chosen[j])
        for j in range(1, count)
    ]
    # Framed photos taught the confidences.
    known = {} if are_placed(photos) else calibration(pipe)
    return PoseEstimate(
        [RelativePose(e, wrap_azimuth_deg(a), r) for e, a, r in chosen.tolist()],
        [confidence(known, "pose", one) for one in signs],
        [both[0, j] for j in range(1, count)],
        signs,
        [photo.prepared for photo in photos],
        next(filter(None, (pipe.notice(photo.prepared) for photo in photos)), None),
    )


@dataclass(frozen=True, eq=False)
class _Search:
    """Hold what both searches need; each returns the tables of all ordered pairs, and cameras
    ``[n, 3]``."""

    pipe: Zero123Pipeline
    photos: list[Photo]
    elevation_deg: float
    generator: torch.Generator
    batch: int
    bounds_deg: tuple[float, float]
    starts_count: int

    def _starts(self, tables: dict[Pair, Landscape]) -> Tensor:
        count = len(self.photos)
        found = starts(_pairs(tables, count), count, self.starts_count)
        found[:, 1:, 0].clamp_(*self.bounds_deg)  # the first photo's stays where it is
        return found

    def by_views(
        self, steps: int, on_step: Callable[[int, int], None] | None
    ) -> tuple[dict[Pair, Landscape], Tensor]:
        """Compare the photos with the mean views that a model of clean latents makes."""
        tell = _counted(on_step, len(self.photos) + steps + 1)
        count = _PLACED_DRAWS if are_placed(self.photos) else 1
        noises = draws(self.pipe, _timesteps(self.pipe, [1.0]) * count, self.generator)
        views = FramedViews(self.pipe, self.photos, noises, self.batch)
        tables = views.landscapes(self.elevation_deg, tell)
        place = torch.tensor([self.elevation_deg, 0.0, 0.0])
        bounds_deg = (-_HIGHEST_DEG, _HIGHEST_DEG)
        found = views.refined(self._starts(tables) + place, steps, bounds_deg, tell)
        best = views.total(found, range(len(self.photos))).argmin()
        chosen = views.with_radii(found[best]) - place
        tell()
        return tables, chosen

    def by_loss(
        self, steps: int, on_step: Callable[[int, int], None] | None
    ) -> tuple[dict[Pair, Landscape], Tensor]:
        """Ask any model for its denoising loss, and descend in it."""
        pipe, photos, base = self.pipe, self.photos, self.elevation_deg
        ways = list(itertools.permutations(range(len(photos)), 2))
        tell = _counted(on_step, len(ways) + steps + 1)
        noises = draws(pipe, _timesteps(pipe, _SEARCH), self.generator)
        tables = {}
        for i, j in ways:
            tables[i, j] = landscape(pipe, photos[i], photos[j], noises, base, self.batch)
            tell()
        found = self._starts(tables)
        first, last = _timesteps(pipe, _NOISES)
        if steps:
            found = refined(
                pipe,
                photos,
                found,
                elevation_deg=base,
                bounds_deg=self.bounds_deg,
                steps=steps,
                timesteps=(first, last),
                generator=self.generator,
                max_batch_size=self.batch,
                on_step=lambda step, total: tell(),
            )
        noises = draws(pipe, _timesteps(pipe, _CHOICE), self.generator)
        with torch.no_grad():
            place = torch.tensor([base, 0.0, 0.0])
            best = total_losses(pipe, photos, found + place, noises, self.batch).argmin()
        tell()
        return tables, found[best]


def _pairs(tables: dict[Pair, Landscape], count: int) -> dict[Pair, Landscape]:
    """Join both ways of each pair (i, j), i < j, of tables of all ordered pairs."""
    return {
        (i, j): (tables[i, j] + tables[j, i].turned_round()).scaled(0.5)
        for i, j in itertools.combinations(range(count), 2)
    }


def _signs(
    both: Landscape, forth: Landscape, back: Landscape, found: Tensor
) -> tuple[float, float, float]:
    """Return what tells a right pose from a wrong one: how much less than the median the loss is,
    how much less than anywhere else, and how far the two directions are from each other."""
    away = turn_deg(both.cameras(), found, 0.0).reshape(both.losses.shape)
    near = both.losses[away <= _ELSEWHERE_DEG]
    least = float(near.min()) if len(near) else float(both.losses.max())
    elsewhere = float(both.losses[away > _ELSEWHERE_DEG].min())
    apart = float(turn_deg(forth.best(), back.best(), 0.0))
    return 1.0 - least, elsewhere - least, apart / 90.0


def _photos(
    pipe: Zero123Pipeline, images: Sequence[ImageSource | Tensor], preprocess: Preprocess
) -> list[Photo]:
    """Prepare and encode the photos; refuse those that no pose can be between."""
    if isinstance(images, (str, bytes, Tensor)) or not isinstance(images, Sequence):
        raise ArgumentError("images", "a list of images", type(images).__name__)
    if not 2 <= len(images) <= MAX_PHOTOS:
        raise ArgumentError("images", f"2 to {MAX_PHOTOS} photos of one object", str(len(images)))
    found = []
    for place, image in enumerate(images):
        try:
            prepared = pipe.prepare(image, preprocess)
            check_shows_something(prepared.tensor)
        except ImageError as error:
            raise error.renamed(f"images[{place}]") from error
        for other, before in enumerate(found):
            both = torch.stack([prepared.tensor, before.prepared.tensor])
            one, two = adaptive_avg_pool2d(both, _SAME_PX)
            if float((one - two).square().mean().sqrt()) < _SAME:
                got = f"the same one twice, at {other} and {place}"
                raise ArgumentError("images", "photos from different cameras", got)
        found.append(encoded(pipe, prepared))
    return found


def check_shows_something(condition: Tensor) -> None:
    """Raise ImageError for a condition ``[3, S, S]`` that is of one colour all over."""
    if float(condition.std((1, 2)).max()) < _NOTHING:
        raise ImageError("image", "an object that shows", "one colour all over")


def _timesteps(pipe: Zero123Pipeline, shares: Sequence[float]) -> list[int]:
    """Return the timesteps at shares of the schedule, 1 the noisiest."""
    last = int(pipe.scheduler.config["num_train_timesteps"]) - 1
    return [round(share * last) for share in shares]


def _counted(on_step: Callable[[int, int], None] | None, total: int) -> Callable[[], None]:
    done = itertools.count(1)

    def tell() -> None:
        if on_step is not None:
            on_step(next(done), total)

    return tell
