"""A density changed until its surface has the silhouette of one view that is known.

The silhouettes of generated views are guesses, and contradict each other; the input's is not. What
lies outside it is cut away, to a fraction of a pixel. Where a pixel inside it would see through the
surface, as of legs that the guesses have lost, something is put there: as thick as the silhouette
is wide, and as far away as what is around it and the most that there is along the pixel's own ray
say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.fields.occupancy import evaluate
from zero123lib.fields.projection import interpolate, project
from zero123lib.fields.sampling import cube_spans, uniform_edges
from zero123lib.views.cameras import FOV_DEG, focal_px, rays

DensityFn = Callable[[Tensor], Tensor]

# The outline is found on a grid this much finer than the pixels.
_FINER = 4
# Along each ray, where its surface is looked for.
_SAMPLES = 192
# What is put in is at most so thick to either side, as a share of the cube's half side.
_THICK = 0.15
# How much a pixel holds to the depth of its own ray against those of its neighbours: where its ray
# meets the surface; where it does not and there is as much as the level; where there is nothing.
_MET, _NEARLY, _NOTHING = 1.0, 0.05, 1e-5


@dataclass(frozen=True, eq=False)
class Silhouette:
    """Holds what a camera is known to see of an object.

    Attributes:
        alpha: ``[S, S]`` in [0, 1]; one half is the outline.
        camera_to_world: OpenGL ``[4, 4]``.
        fov_deg: field of view, degrees.
    """

    alpha: Tensor
    camera_to_world: Tensor
    fov_deg: float = FOV_DEG

    def to(self, device: torch.device | str) -> Silhouette:
        """Return the same on a device."""
        return replace(
            self, alpha=self.alpha.to(device), camera_to_world=self.camera_to_world.to(device)
        )

    @property
    def inside(self) -> Tensor:
        """Tell whether pixels belong to the object, boolean ``[S, S]``."""
        return self.alpha >= 0.5


def with_silhouette(
    density: DensityFn,
    half_extent: float,
    silhouette: Silhouette,
    level: float,
    *,
    slack: float = 0.0,
) -> DensityFn:
    """Change a density so that what exceeds a level has a silhouette.

    Args:
        density: per world unit ``[P]`` of points ``[P, 3]``.
        half_extent: half the side of the cube that holds everything.
        silhouette: of one camera.
        level: above which is inside.
        slack: world units by which all is thicker, for a grid of nodes as far apart as twice this,
            which would lose thinner parts.

    Returns:
        A density that exceeds the level within the silhouette alone, and somewhere along the ray
        of each of its pixels.
    """
    inside = silhouette.inside
    pixel = 1.0 / focal_px(len(inside), silhouette.fov_deg)  # at unit depth
    distance = signed_distance_px(silhouette.alpha)
    filling = None
    if bool(inside.any()):
        met = _meetings(density, half_extent, silhouette, level)
        if bool(met.missing.any()):
            filling = [one.to(inside.device) for one in _filling(met.cpu(), inside.cpu())]

    def changed(points: Tensor) -> Tensor:
        positions, depth = project(points, silhouette.camera_to_world, silhouette.fov_deg)
        px = interpolate(distance, positions)
        values = density(points)
        if filling is not None:
            missing, middle = (interpolate(one, positions) for one in filling)
            thick = (px.clamp_min(0.5) * pixel * middle).clamp(max=_THICK * half_extent) + slack
            # It rises to the level at its surface, and by one level within a pixel.
            rising = 1.0 + (thick - (depth - middle).abs()) / (pixel * middle)
            values = torch.maximum(values, level * rising.clamp(0.0, 2.0) * (missing > 0.0))
        # And so at the outline.
        within = 1.0 + px + slack / (pixel * depth.clamp_min(1e-6))
        return torch.minimum(values, level * within.clamp_min(0.0))

    return changed


def signed_distance_px(alpha: Tensor) -> Tensor:
    """Measure how far inside the outline of alpha ``[S, S]`` an image's places are, in pixels.

    Returns:
        ``[4 S, 4 S]``, below 0 outside.
    """
    from scipy.ndimage import distance_transform_edt

    fine = functional.interpolate(
        alpha[None, None].float(), scale_factor=_FINER, mode="bilinear", align_corners=False
    )[0, 0]
    inside = (fine >= 0.5).cpu().numpy()
    if inside.all() or not inside.any():
        return torch.full_like(fine, float(len(alpha)) * (1 if inside.all() else -1))
    within, beyond = (np.asarray(distance_transform_edt(one)) for one in (inside, ~inside))
    # To the middle between a place inside and its neighbour outside.
    away = np.where(inside, within - 0.5, 0.5 - beyond)
    return torch.from_numpy(away / _FINER).to(fine)


@dataclass(frozen=True, eq=False)
class _Meetings:
    """Where the rays of the pixels inside a silhouette meet the surface, N of them.

    Attributes:
        depths: along the camera's axis: of the middle of what a ray first meets, or of the most
            that there is along it.
        shares: how much that is, of the level.
        missing: whether it is less than the level.
    """

    depths: Tensor
    shares: Tensor
    missing: Tensor

    def cpu(self) -> _Meetings:
        """Return the same on the CPU, where sparse systems are solved."""
        return _Meetings(self.depths.cpu(), self.shares.cpu(), self.missing.cpu())


@torch.no_grad()
def _meetings(
    density: DensityFn, half_extent: float, silhouette: Silhouette, level: float
) -> _Meetings:
    camera = silhouette.camera_to_world
    origins, directions = (
        part[silhouette.inside] for part in rays(camera, len(silhouette.alpha), silhouette.fov_deg)
    )
    near, far = cube_spans(origins, directions, half_extent)
    edges = uniform_edges(near, far, _SAMPLES)
    positions = (edges[:, 1:] + edges[:, :-1]) / 2
    points = origins[:, None] + positions[..., None] * directions[:, None]
    values = torch.where((far > near)[:, None], evaluate(density, points), 0.0)
    most, where = values.max(-1)
    solid = values > level
    first = solid.int().argmax(-1)
    # From there on, up to where it ends.
    passed = (~solid) & (torch.arange(_SAMPLES, device=first.device) > first[:, None])
    last = torch.where(passed.any(-1), passed.int().argmax(-1), _SAMPLES) - 1
    middle = torch.where(solid.any(-1), (first + last) // 2, where)
    distances = positions.gather(-1, middle[:, None])[:, 0]
    # Where there is nothing, as far away as the origin.
    distances = torch.where(most > 0.0, distances, -(origins * directions).sum(-1))
    return _Meetings(distances * -(directions @ camera[:3, 2]), most / level, ~solid.any(-1))


def _filling(met: _Meetings, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pixels are missing, and how far away what is put there is, both ``[S, S]``.

    Depths are those that differ least from the rays' own and from their neighbours' (Tikhonov).
    Both go on beyond their pixels by one, for the outline runs between them.
    """
    from scipy.ndimage import distance_transform_edt
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import spsolve

    number = torch.full(inside.shape, -1)
    number[inside] = torch.arange(len(met.depths))
    pairs = []
    for axis in (0, 1):
        count = len(number) - 1
        one, other = number.narrow(axis, 0, count), number.narrow(axis, 1, count)
        both = (one >= 0) & (other >= 0)
        pairs.append(torch.stack([one[both], other[both]]))
    rows, columns = torch.cat(pairs, 1).numpy()
    count = len(met.depths)
    beside = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    beside = (beside + beside.T).tocsr()
    own = torch.where(met.missing, _NEARLY * met.shares.square() + _NOTHING, _MET)
    own = own.double().numpy()
    system = diags_array(np.asarray(beside.sum(0)).ravel() + own) - beside
    solved = spsolve(system.tocsc(), own * met.depths.double().numpy())
    nearest = distance_transform_edt(~inside.numpy(), return_distances=False, return_indices=True)
    depths = torch.zeros(inside.shape)
    depths[inside] = torch.from_numpy(np.asarray(solved)).float()
    missing = torch.zeros(inside.shape)
    missing[inside] = met.missing.float()
    around = functional.max_pool2d(missing[None, None], 3, stride=1, padding=1)[0, 0]
    row, column = torch.from_numpy(np.asarray(nearest, np.int64))
    return around, depths[row, column]
