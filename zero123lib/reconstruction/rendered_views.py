"""What cameras see of a field while it is distilled, and how it should look besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123lib.fields import regularisers
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.volume import Rendering, density_normals, render
from zero123lib.fields.voxels import VoxelField
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.views.cameras import camera_to_world, rays

NORMAL_LOSSES = ("orient", "normal_smooth", "3d_normal_smooth")
# Samples of less weight get neither a colour nor a normal.
_NEGLIGIBLE = 1e-4
# As far as threestudio moves points to see whether normals agree there.
_NEARBY = 0.01


@dataclass(frozen=True, eq=False)
class RenderedViews:
    """What B cameras see.

    Attributes:
        colors: ``[B, S, S, C]`` over the background.
        opacity, depth: ``[B, S, S]``.
        normals: ``[B, S, S, 3]``; None unless asked for.
        rendering, directions: of the same rays, in a row.
    """

    colors: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None
    rendering: Rendering
    directions: Tensor


def render_views(
    field: VoxelField,
    cameras: Sequence[OrbitCamera],
    size: int,
    samples: int,
    *,
    background: Tensor,
    occupancy: OccupancyGrid,
    generator: torch.Generator,
    normals: bool = False,
) -> RenderedViews:
    """Return square images of a field, with gradient.

    Args:
        background: ``[C]``, or ``[S S, C]`` pixel by pixel.
        generator: on the field's device; of the places along the rays.
    """
    device = field.raw_density.device
    parts = [rays(camera_to_world(one.pose).to(device), size, one.fov_deg) for one in cameras]
    origins, directions = (torch.stack(part).reshape(-1, 3) for part in zip(*parts, strict=True))
    found = render(
        field,
        origins,
        directions,
        samples=samples,
        background=background if background.ndim == 1 else background.repeat(len(cameras), 1),
        occupancy=occupancy,
        generator=generator,
        normals=normals,
        normal_step=field.cell / 2,
        negligible=_NEGLIGIBLE,
    )
    shape = (len(cameras), size, size)
    return RenderedViews(
        found.rgb.reshape(*shape, -1),
        found.opacity.reshape(shape),
        found.depth.reshape(shape),
        None if found.normals is None else found.normals.reshape(*shape, 3),
        found,
        directions,
    )


def regularization_losses(
    seen: RenderedViews, field: VoxelField, weights: Mapping[str, float], generator: torch.Generator
) -> list[tuple[str, Tensor]]:
    """Return the regularisers that have a weight, by threestudio's names, unweighted."""
    losses = []
    if weights["opaque"]:
        losses.append(("opaque", regularisers.opaque(seen.opacity)))
    normals = seen.rendering.sample_normals
    if seen.normals is None or normals is None:
        return losses
    if weights["orient"]:
        turned = regularisers.orientation(seen.rendering.weights, normals, seen.directions)
        losses.append(("orient", turned))
    if weights["normal_smooth"]:
        # threestudio compares (n + 1) / 2.
        losses.append(("normal_smooth", regularisers.normal_smoothness_2d(seen.normals) / 4))
    looked = seen.rendering.weights.detach() > _NEGLIGIBLE
    if weights["3d_normal_smooth"] and bool(looked.any()):
        points = seen.rendering.points[looked]
        shift = torch.randn(points.shape, generator=generator, device=points.device)
        nearby = density_normals(field, points + _NEARBY * shift, field.cell / 2)
        agreed = regularisers.normal_smoothness_3d(normals[looked], nearby)
        losses.append(("3d_normal_smooth", agreed))
    return losses


def depth_roughness(depth: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring depths ``[..., H, W]``, of both directions.

    The official recipe's (``3drec/my3d.py: depth_smooth_loss``).
    """
    return (depth.diff(dim=-1).abs().mean() + depth.diff(dim=-2).abs().mean()) / 2
