"""Do views of one object agree with each other? No truth is asked.

As MVGBench has it (Xie et al. 2025, ``eval/eval_consistency.py``): the even and the odd views are
each fitted by a model of their own, and the two models are compared, as shapes and as images from
cameras that no view has. Our models are voxel fields, where theirs are Gaussians. Beside it,
reprojection: one field is fitted to all views, and each view's pixels are looked for, by the
field's depth, in the view of the nearest other camera.

What the fits themselves cost shows in the numbers of views that agree wholly: images of the field
that was fitted to all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zero123lib import metrics
from zero123lib._errors import ArgumentError
from zero123lib.evaluation.scores import PSNR_CAP_DB
from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.levels import silhouette_iso_level
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.projection import project
from zero123lib.fields.sampling import cube_spans
from zero123lib.fields.volume import render_camera
from zero123lib.fields.voxels import VoxelField
from zero123lib.lpips import LEAST_SIDE_PX, lpips_alex
from zero123lib.meshes.extract import extract
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.views.cameras import camera_to_world, rays
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.poses import Pose

# Views of which some disagree still have a hull: a quarter of a half's may.
FIT = FitSettings(
    steps=150,
    rays=1024,
    resolutions=(32, 64),
    milestones=(0.4,),
    samples=48,
    density_rate=0.2,
    color_rate=0.2,
    density_variation=1e-3,
    color_variation=1e-3,
    hull_tolerance=0.25,
)
LEAST_VIEWS = 4
# Cameras that the halves are compared from: MVGBench's azimuths, above and below the views'.
AZIMUTHS_DEG = tuple(8.5 + 45.0 * k for k in range(8))
OFFSET_DEG = 10.0
POINTS, F_THRESHOLD = 60_000, 0.02
# MVGBench's unit of lengths: hundredths.
HUNDREDTHS = 100.0
_MESH_NODES = 96
_NEGLIGIBLE = 1e-4
# A point that a field's own depth has this many cells behind its surface is hidden there.
_HIDDEN_CELLS = 3.0


@dataclass(frozen=True, eq=False)
class Seen:
    """What a camera sees of a field, ``[S, S, ...]``.

    Attributes:
        color: on white, ``[S, S, 3]``.
        opacity: in [0, 1].
        depth: along the camera's axis, weighted by opacity: 0 where there is nothing.
    """

    color: Tensor
    opacity: Tensor
    depth: Tensor


@dataclass(frozen=True, eq=False)
class Fitted:
    """A field that was fitted to views.

    Attributes:
        field: without gradients.
        level: the density at which its solid has the views' silhouettes best.
        fov_deg: of the views.
    """

    field: VoxelField
    level: float
    fov_deg: float

    @cached_property
    def _occupied(self) -> OccupancyGrid:
        field = self.field
        return OccupancyGrid.of(
            field.density, field.half_extent, field.resolution - 1, FIT.least_density
        )

    def see(self, camera: Tensor, size: int) -> Seen:
        """Render the field from a camera ``[4, 4]``."""
        field, occupied = self.field, self._occupied
        with torch.no_grad():
            view = render_camera(
                field, camera, size, self.fov_deg, occupancy=occupied, negligible=_NEGLIGIBLE
            )
        origins, directions = (part.reshape(-1, 3) for part in rays(camera, size, self.fov_deg))
        far = cube_spans(origins, directions, field.half_extent)[1].reshape(size, size)
        along = (directions @ -camera[:3, 2]).reshape(size, size)
        depth = (view.depth - (1 - view.opacity) * far).clamp_min(0) * along
        return Seen(view.rgb, view.opacity, depth)

    def points(self, seed: int) -> np.ndarray:
        """Draw points ``[60000, 3]`` evenly on the surface."""
        field = self.field
        mesh = extract(
            field.density, half_extent=field.half_extent, resolution=_MESH_NODES, level=self.level
        )
        vertices, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()
        return metrics.surface_points(vertices, faces, POINTS, seed)[0]


def fit(
    views: PosedViews, settings: FitSettings = FIT, told: Callable[[int], Any] = lambda steps: None
) -> Fitted:
    """Fit a field to views.

    Args:
        told: told of each step, by 1.

    Raises:
        ValueError: the silhouettes have nothing in common, or there are none.
    """
    fitting = Fitting(views.images, views.cameras_to_world, views.fov_deg, settings)
    while not fitting.finished:
        fitting.advance()
        told(1)
    field = fitting.field.requires_grad_(False)
    masks = views.images[..., 3]
    level = silhouette_iso_level(field, masks, views.cameras_to_world, views.fov_deg)
    return Fitted(field, level, views.fov_deg)


def part(views: PosedViews, start: int) -> PosedViews:
    """Take every second view, from the first or from the second on."""
    return replace(
        views,
        images=views.images[start::2],
        cameras_to_world=views.cameras_to_world[start::2],
        weights=views.weights[start::2],
    )


def between_cameras(cameras_to_world: Tensor) -> Tensor:
    """Place the cameras ``[16, 4, 4]`` that the halves are compared from.

    As high and as far away as the views' are in the median, but for 10 degrees up or down.
    """
    places = cameras_to_world[:, :3, 3].double()
    radii = places.norm(dim=-1)
    elevations = torch.rad2deg(torch.asin((places[:, 2] / radii).clamp(-1, 1)))
    elevation, radius = float(elevations.median()), float(radii.median())
    return camera_to_world(
        [
            Pose(min(max(elevation + offset, -89.0), 89.0), azimuth, radius)
            for offset in (OFFSET_DEG, -OFFSET_DEG)
            for azimuth in AZIMUTHS_DEG
        ]
    )


def halves_agreement(even: Fitted, odd: Fitted, cameras: Tensor, size: int) -> dict[str, float]:
    """Compare two fields, see :func:`self_consistency`.

    Args:
        cameras: ``[N, 4, 4]``.
        size: of their images, pixels.
    """
    seen = [[one.see(camera, size) for camera in cameras] for one in (even, odd)]
    found: dict[str, list[float]] = {name: [] for name in ("psnr_db", "ssim", "depth")}
    colors = []
    for a, b in zip(*seen, strict=True):
        pair = torch.stack([to_uint8(a.color), to_uint8(b.color)]).movedim(-1, 1).double() / 255
        colors.append(pair)
        made, true = pair[:1], pair[1:]
        found["psnr_db"].append(float(metrics.psnr(made, true).clamp_max(PSNR_CAP_DB)))
        found["ssim"].append(float(metrics.ssim_uniform(made, true, 7)))
        found["depth"].append(HUNDREDTHS * depth_difference(a, b))
    if size >= LEAST_SIDE_PX:
        with torch.no_grad():
            pairs = torch.stack(colors).float()
            found["lpips"] = lpips_alex()(pairs[:, 0], pairs[:, 1]).tolist()
    numbers = {name: float(np.mean(values)) for name, values in found.items()}
    a, b = even.points(0), odd.points(1)
    # MVGBench adds both ways up.
    numbers["chamfer_sum"] = 2 * HUNDREDTHS * metrics.chamfer_distance(a, b)
    numbers["f_score"] = metrics.f_score(a, b, F_THRESHOLD)
    return numbers


def depth_difference(a: Seen, b: Seen) -> float:
    """Return the mean absolute difference of depths where either field shows anything.

    As MVGBench has it: what one of them alone shows counts with its whole depth.
    """
    shown = (a.opacity > _NEGLIGIBLE) | (b.opacity > _NEGLIGIBLE)
    return float((a.depth - b.depth)[shown].abs().mean()) if bool(shown.any()) else 0.0


def reprojection_errors(views: PosedViews, seen: Sequence[Seen], slack: float) -> Tensor:
    """Compare each view's pixels with what the view of the nearest other camera shows there.

    Args:
        views: V of them.
        seen: the depth that each view's camera has, at the views' size.
        slack: how far behind the other view's depth a point may be and still be visible in it.

    Returns:
        The mean squared error ``[V]`` of colours on white, over the pixels of the object that both
        see; NaN where there is none.
    """
    size, colors = views.images.shape[1], _on_white(views.images)
    found = []
    for index, other in enumerate(nearest_cameras(views.cameras_to_world)):
        here, there = views.cameras_to_world[index], views.cameras_to_world[other]
        solid = (seen[index].opacity >= 0.5) & (views.images[index, ..., 3] >= 0.5)
        origins, directions = rays(here, size, views.fov_deg)
        along = directions @ -here[:3, 2]
        away = seen[index].depth / seen[index].opacity.clamp_min(1e-6) / along
        points = (origins + away[..., None] * directions)[solid]
        places, depth = project(points, there, views.fov_deg)
        known = seen[other].depth / seen[other].opacity.clamp_min(1e-6)
        stacked = torch.cat([colors[other], torch.stack([known, seen[other].opacity])])
        shown = functional.grid_sample(
            stacked[None], places[None, None].to(stacked), align_corners=False
        )[0, :, 0]
        visible = (shown[4] >= 0.5) & (depth < shown[3] + slack) & (places.abs() <= 1).all(-1)
        errors = (shown[:3] - colors[index][:, solid]).square().mean(0)[visible]
        found.append(errors.mean() if len(errors) else torch.tensor(math.nan))
    return torch.stack(found)


def nearest_cameras(cameras_to_world: Tensor) -> list[int]:
    """Tell of each camera which other one's direction from the origin is nearest."""
    ways = functional.normalize(cameras_to_world[:, :3, 3].double(), dim=-1)
    cosines = (ways @ ways.T).round(decimals=9).fill_diagonal_(-2.0)
    return cosines.argmax(1).tolist()


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the views of an object agree.

    Attributes:
        numbers: metric -> number, as :func:`self_consistency` names them.
        note: what could not be fitted, else "".
        whole: the field of all views; None where there is none.
    """

    numbers: Mapping[str, float]
    note: str
    whole: Fitted | None


def self_consistency(
    views: PosedViews,
    size: int,
    settings: FitSettings = FIT,
    told: Callable[[int], Any] = lambda steps: None,
) -> Agreement:
    """Measure how far views agree.

    ``psnr_db``, ``ssim`` (scikit-image, window 7) and ``lpips`` (AlexNet) of 8 bits: the two
    halves' images. ``depth``: see :func:`depth_difference`. ``chamfer_sum``: the sum of the two
    mean distances between 60,000 points on either surface; it is above 0 even for equal surfaces.
    Both are in hundredths of the views' unit, in which the object's longest side is about 1.
    ``f_score``: of the same points within 0.02. ``reprojection_db``: PSNR of
    :func:`reprojection_errors`.

    Args:
        views: at least four, along their path.
        size: of the images that halves are compared by, pixels.
        settings: of all fits.
        told: told of each step of the three fits, by 1.

    Raises:
        ArgumentError: there are too few views.
    """
    if len(views.images) < LEAST_VIEWS:
        raise ArgumentError("views", f"at least {LEAST_VIEWS}", str(len(views.images)))
    notes: list[str] = []

    def fitted(some: PosedViews, name: str) -> Fitted | None:
        try:
            return fit(some, settings, told)
        except ValueError as error:
            notes.append(f"{name} views: {error}")
            return None

    numbers: dict[str, float] = {}
    even, odd = fitted(part(views, 0), "even"), fitted(part(views, 1), "odd")
    if even is not None and odd is not None:
        numbers = halves_agreement(even, odd, between_cameras(views.cameras_to_world), size)
    whole = fitted(views, "all")
    if whole is not None:
        seen = [whole.see(camera, views.images.shape[1]) for camera in views.cameras_to_world]
        errors = reprojection_errors(views, seen, _HIDDEN_CELLS * whole.field.cell)
        errors = errors[errors.isfinite()]
        if len(errors):
            decibels = (-10 * torch.log10(errors.clamp_min(1e-10))).clamp_max(PSNR_CAP_DB)
            numbers["reprojection_db"] = float(decibels.mean())
    return Agreement(numbers, "; ".join(notes), whole)


def agreeing(views: PosedViews, whole: Fitted) -> PosedViews:
    """Replace views by images of a field, which agree wholly."""
    size = views.images.shape[1]
    images = []
    for camera in views.cameras_to_world:
        seen = whole.see(camera, size)
        alpha = seen.opacity[..., None]
        straight = 1 - (1 - seen.color) / alpha.clamp_min(1e-6)
        images.append(torch.cat([torch.where(alpha > 0, straight, 1.0).clamp(0, 1), alpha], -1))
    return replace(views, images=torch.stack(images))


def repeated(views: PosedViews, image: Tensor) -> PosedViews:
    """Replace all views by one image ``[S, S, 4]``."""
    return replace(views, images=image.expand_as(views.images).contiguous())


def _on_white(images: Tensor) -> Tensor:
    """Put images with straight alpha ``[V, S, S, 4]`` on white: ``[V, 3, S, S]``."""
    return (images[..., :3] * images[..., 3:] + 1 - images[..., 3:]).movedim(-1, 1)
