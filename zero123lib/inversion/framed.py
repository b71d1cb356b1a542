"""Made views and photos, compared as photos are framed; the search for cameras by them.

Photos are cut out and framed before a model sees them: where in the image the object is, and how
large, tells of the framing and little of the camera. So the views that a model makes are framed
alike before they are compared. In images that nobody has framed the place tells of the camera,
which looks at the origin: there views are made as large as the object is, about their middle.

A model that predicts clean latents makes the mean of what may be there from nothing but noise, in
one evaluation; of any other a view takes a whole sampling, and
:mod:`zero123lib.inversion.refine` asks its loss instead.

Axes: N cameras, S starts, n photos, T levels of darkness; cameras ``[N, 3]`` as in
:mod:`zero123lib.inversion.losses`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.inversion.landscape import AZIMUTHS, ELEVATIONS_DEG, empty_landscape
from zero123lib.inversion.losses import Draw, Photo, camera_tokens
from zero123lib.views.framing import dark_boxes

# What is so much darker than white is object: blurred views have soft edges, and no one level is
# right for all of them.
_DARKNESS = (0.08, 0.15, 0.25)
# Framed images are compared at so many pixels, of which the object's longer side has a share.
_PX, _SHARE = 16, 0.8
# Its share where images stay as they are, so that what is aside of the middle is within.
_PLACED_SHARE = 0.65
# Photos are framed as if taken from about here.
_RADIUS, _MOST_RADIUS = 1.85, 0.7
# The first steps of the local search, half of those of the table.
_STEPS_DEG = (
    (ELEVATIONS_DEG[1] - ELEVATIONS_DEG[0]) / 2,
    360.0 / AZIMUTHS / 2,
)


def framed(images: Tensor, placed: bool = False) -> Tensor:
    """Frame images ``[N, 3, H, H]`` in [-1, 1] about what they show: ``[N, T, 3, 16, 16]``, once
    for each level of darkness; ``placed`` ones about their middle, as large as what they show."""
    found, share = [], _PLACED_SHARE if placed else _SHARE
    for darkness in _DARKNESS:
        column, row, side = dark_boxes(images, darkness).unbind(-1)
        if placed:
            column = row = torch.full_like(side, 0.5)
        # Pixels of the result are means of about as many as it has of the object.
        small = functional.adaptive_avg_pool2d(images - 1, 4 * _PX)
        ticks = (torch.arange(2 * _PX, device=images.device) + 0.5) / _PX - 1
        reach = side[:, None] / share
        x, y = (2 * middle[:, None] - 1 + ticks * reach for middle in (column, row))
        grid = torch.stack(
            [x[:, None, :].expand(-1, 2 * _PX, -1), y[:, :, None].expand(-1, -1, 2 * _PX)], -1
        )
        fine = functional.grid_sample(small, grid, align_corners=False)
        found.append(1 + functional.avg_pool2d(fine, 2))
    return torch.stack(found, 1)


def are_placed(photos: Sequence[Photo]) -> bool:
    """Tell whether the photos are as they came, so that an object's place tells of the camera."""
    return all(photo.prepared.preprocess == "none" for photo in photos)


class FramedViews:
    """Compare mean views of photos at any camera with the other photos.

    Args:
        noises: that all views begin at; they are means over them.
        max_batch_size: rows in one batch of the UNet.
    """

    def __init__(
        self,
        pipe: Zero123Pipeline,
        photos: Sequence[Photo],
        noises: Sequence[Draw],
        max_batch_size: int,
    ) -> None:
        self._pipe, self._photos, self._noises = pipe, photos, noises
        self._batch, self._placed = max_batch_size, are_placed(photos)
        images = torch.stack([photo.prepared.tensor for photo in photos])
        self._framed = framed(images, self._placed)
        self._boxes = dark_boxes(images, _DARKNESS[1])

    @torch.no_grad()
    def views(self, source: int, source_cameras: Tensor, target_cameras: Tensor) -> Tensor:
        """Make the mean views ``[N, 3, H, H]`` in [-1, 1] of one photo at cameras ``[N, 3]``."""
        pipe, condition = self._pipe, self._photos[source].condition
        tokens = camera_tokens(pipe, condition, source_cameras, target_cameras)
        found = []
        for draw in self._noises:
            (made,) = guided(
                pipe.unet,
                draw.noise.expand(len(tokens), -1, -1, -1),
                torch.tensor(draw.timestep, device=tokens.device),
                condition.concat,
                tokens,
                [1.0],
                self._batch,
            )
            found.append(pipe.decode(made, self._batch).cpu())
        return torch.stack(found).mean(0)

    def losses(self, views: Tensor, target: int) -> Tensor:
        """Compute the mean squared difference ``[N]`` of framed views and the framed photo."""
        return (framed(views, self._placed) - self._framed[target]).square().flatten(1).mean(1)

    def landscapes(self, elevation_deg: float, tell: Callable[[], None]) -> dict:
        """Compute the table of every ordered pair of photos, ``(i, j)`` of photo j's camera.

        Args:
            elevation_deg: of the photos' cameras, for models that are conditioned on it.
            tell: called once per photo.
        """
        empty, found = empty_landscape(), {}
        cameras = empty.cameras()
        here = torch.tensor([elevation_deg, 0.0, 0.0]).expand_as(cameras)
        for source in range(len(self._photos)):
            views = self.views(source, here, here + cameras)
            for target in range(len(self._photos)):
                if target != source:
                    found[source, target] = empty.of(self.losses(views, target))
            tell()
        return found

    def total(self, cameras: Tensor, photos: Sequence[int]) -> Tensor:
        """Compute the mean loss ``[S]`` over the ordered pairs that have one of some photos, of
        cameras ``[S, n, 3]``."""
        pairs = [
            pair
            for pair in itertools.permutations(range(cameras.shape[1]), 2)
            if set(pair) & set(photos)
        ]
        losses = [self.losses(self.views(i, cameras[:, i], cameras[:, j]), j) for i, j in pairs]
        return torch.stack(losses).mean(0)

    def refined(
        self,
        begin: Tensor,
        rounds: int,
        bounds_deg: tuple[float, float],
        tell: Callable[[], None],
    ) -> Tensor:
        """Search about each start, photo by photo, at steps that halve from round to round.

        Args:
            begin: cameras ``[S, n, 3]``, the first one where it stays.
            bounds_deg: of elevations.
            tell: called once per round.

        Returns:
            ``[S, n, 3]``.
        """
        cameras, ways = begin.clone(), torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 2)
        starts, count, _ = cameras.shape
        for step in range(rounds):
            moves = torch.zeros(len(ways), 3)
            moves[:, :2] = ways * torch.tensor(_STEPS_DEG) / 2**step
            for photo in range(1, count):
                tried = cameras[:, None].repeat(1, len(moves), 1, 1)
                tried[:, :, photo] += moves
                tried[:, :, photo, 0].clamp_(*bounds_deg)
                losses = self.total(tried.flatten(0, 1), [photo]).reshape(starts, len(moves))
                cameras = tried[torch.arange(starts), losses.argmin(1)]
            tell()
        return cameras

    def with_radii(self, cameras: Tensor) -> Tensor:
        """Return cameras ``[n, 3]`` at the distances at which the views are as large as the photos.

        An object's size goes with one over the distance; both ways have their say.
        """
        found = cameras.clone()
        for photo in range(1, len(cameras)):
            both = [
                float(
                    dark_boxes(self.views(i, cameras[i : i + 1], cameras[j : j + 1]), _DARKNESS[1])[
                        0, 2
                    ]
                )
                / float(self._boxes[j, 2])
                for i, j in ((0, photo), (photo, 0))
            ]
            ratio = (both[0] / both[1]) ** 0.5
            found[photo, 2] = max(-_MOST_RADIUS, min(_MOST_RADIUS, _RADIUS * (ratio - 1)))
        return found
