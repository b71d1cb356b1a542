"""The visual hull: what no silhouette rules out (Laurentini 1994)."""

from __future__ import annotations

from torch import Tensor

from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.fields.projection import interpolate, project
from zero123lib.views.cameras import FOV_DEG


def visual_hull(
    masks: Tensor,
    cameras_to_world: Tensor,
    fov_deg: float = FOV_DEG,
    resolution: int = 64,
    *,
    half_extent: float = 0.6,
    tolerance: float = 0.0,
) -> Tensor:
    """Return the cells whose centre lies within the silhouettes.

    Args:
        masks: ``[V, H, W]``, boolean or alpha in [0, 1], square images.
        cameras_to_world: OpenGL, ``[V, 4, 4]``.
        resolution: R, cells along each axis of the cube.
        half_extent: half the side of the cube.
        tolerance: share of the views that may disagree about a cell, for silhouettes that do not
            fit one another.

    Returns:
        Boolean ``[R, R, R]``, indexed [x, y, z].
    """
    cells = lattice(resolution, half_extent, centers=True)
    share = evaluate(lambda p: view_consensus(p, masks, cameras_to_world, fov_deg), cells)
    return share >= 1 - tolerance - 1e-6


def view_consensus(
    points: Tensor, masks: Tensor, cameras_to_world: Tensor, fov_deg: float = FOV_DEG
) -> Tensor:
    """Return the share ``[P]`` of the views whose silhouette has points ``[P, 3]`` inside.

    Alpha is interpolated between pixel centres and has to reach one half. Outside its image a
    silhouette goes on as it is at the border: images show all of the object, or what they cut
    off goes on. What lies behind a camera counts as inside.
    """
    check_masks(masks, cameras_to_world)
    agree = points.new_zeros(len(points))
    for mask, camera in zip(masks, cameras_to_world, strict=True):
        positions, depth = project(points, camera, fov_deg)
        agree += (interpolate(mask, positions) >= 0.5) | (depth <= 0)
    return agree / len(masks)


def check_masks(masks: Tensor, cameras_to_world: Tensor) -> None:
    """Refuse masks and cameras that are not square ``[V, H, H]`` and one for each.

    Raises:
        ValueError: other shapes.
    """
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks: expected square [V, H, H], got {list(masks.shape)}")
    if cameras_to_world.shape != (len(masks), 4, 4):
        raise ValueError(
            f"cameras_to_world: expected [{len(masks)}, 4, 4], got {list(cameras_to_world.shape)}"
        )
