"""Where a field's surface is: the density that parts solid from empty."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from zero123lib.fields.hull import check_masks
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.sampling import cube_spans, uniform_edges
from zero123lib.fields.volume import RadianceField
from zero123lib.views.cameras import FOV_DEG, rays

_LEVELS_PER_DECADE = 16
_CHUNK = 4096


def silhouette_iso_level(
    field: RadianceField,
    masks: Tensor,
    cameras_to_world: Tensor,
    fov_deg: float = FOV_DEG,
    *,
    samples: int = 192,
    occupancy: OccupancyGrid | None = None,
    between: tuple[float, float] = (0.5, 500.0),
) -> float:
    """Return the density, per world unit, at which the solid has the silhouettes that were fitted.

    A ray meets the solid where its largest density exceeds the level. Over the pixels of all
    views, the level of the largest intersection over union wins: no fixed density does for soft
    fields and hard ones.

    Args:
        masks: ``[V, H, H]``, boolean or alpha in [0, 1], of which one half counts.
        cameras_to_world: OpenGL, ``[V, 4, 4]``.
        samples: along each ray.
        occupancy: where it is empty the field is not asked.
        between: the least and the largest level; 16 are tried per factor of ten.

    Raises:
        ValueError: shapes that do not fit, or a field that is at the least level nowhere in the
            views.
    """
    check_masks(masks, cameras_to_world)
    wanted = masks.reshape(-1) >= 0.5
    most = max_density(
        field.density,
        field.half_extent,
        cameras_to_world,
        masks.shape[-1],
        fov_deg,
        samples,
        occupancy,
    )
    if not bool((most > between[0]).any()):
        raise ValueError(
            f"field: expected densities above {between[0]:g} in the views, got "
            f"{float(most.max()):.3g} at most: the field is empty"
        )
    return best_level(most, wanted, between)


def best_level(most: Tensor, wanted: Tensor, between: tuple[float, float]) -> float:
    """Return the level above which ``most`` ``[P]`` best tells ``wanted`` ``[P]``, by IoU.

    The middle one of several that are equally good.
    """
    low, high = (math.log10(end) for end in between)
    levels = torch.logspace(low, high, round((high - low) * _LEVELS_PER_DECADE) + 1).to(most)
    within, without = most[wanted].sort().values, most[~wanted].sort().values
    both = len(within) - torch.searchsorted(within, levels, right=True)
    more = len(without) - torch.searchsorted(without, levels, right=True)
    agreement = both / (len(within) + more).clamp_min(1)
    best = (agreement == agreement.max()).nonzero()[:, 0]
    return float(levels[best[len(best) // 2]])


@torch.no_grad()
def max_density(
    density: Callable[[Tensor], Tensor],
    half_extent: float,
    cameras_to_world: Tensor,
    size: int,
    fov_deg: float = FOV_DEG,
    samples: int = 192,
    occupancy: OccupancyGrid | None = None,
) -> Tensor:
    """Find the largest density that each pixel's ray meets.

    Args:
        density: per world unit ``[P]`` of points ``[P, 3]``.
        half_extent: half the side of the cube that holds everything.
        cameras_to_world: OpenGL, ``[V, 4, 4]``.
        size: pixels of a square image.
        samples: along each ray.
        occupancy: where it is empty the density is not asked.

    Returns:
        ``[V size size]``, 0 for a ray that misses the cube.
    """
    found = []
    for camera in cameras_to_world:
        parts = [part.reshape(-1, 3) for part in rays(camera, size, fov_deg)]
        for o, d in zip(*(part.split(_CHUNK) for part in parts), strict=True):
            near, far = cube_spans(o, d, half_extent)
            edges = uniform_edges(near, far, samples)
            middles = (edges[:, 1:] + edges[:, :-1]) / 2
            points = (o[:, None] + middles[..., None] * d[:, None]).reshape(-1, 3)
            densities = points.new_zeros(len(points))
            kept = (far > near).repeat_interleave(samples)
            if occupancy is not None:
                kept &= occupancy.occupied(points)
            densities[kept] = density(points[kept])
            found.append(densities.reshape(-1, samples).amax(-1))
    return torch.cat(found)
