"""Do silhouettes show one solid? The test that tells how high their cameras stood.

Views at known relative poses fix their cameras up to the elevation of the first: at the true one
the silhouettes are those of one solid, at others their cones have less in common. This is
One-2-3-45's argument (Liu et al. 2023, section 3.2) with silhouettes in place of matched points,
which blurred views do not have.

Axes: V views, P places in space, masks ``[V, S, S]``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.fields.occupancy import lattice
from zero123lib.fields.projection import interpolate, project
from zero123lib.views.cameras import FOV_DEG

# The object's longest side is 1; places are looked at in a cube a little larger.
_HALF_EXTENT, _PLACES = 0.62, 22


def agreement(masks: Tensor, cameras_to_world: Tensor, fov_deg: float = FOV_DEG) -> Tensor:
    """Compute how well one solid explains silhouettes: a share in [0, 1], 1 for a solid's own.

    A place belongs to the solid as far as the silhouettes have it inside, on average; a pixel is
    explained by the best place that projects to it.

    Args:
        masks: ``[V, S, S]`` in [0, 1].
        cameras_to_world: OpenGL ``[V, 4, 4]``.
        fov_deg: of all of them.

    Returns:
        Scalar: the mean over the pixels of all silhouettes.
    """
    size = masks.shape[-1]
    places = lattice(_PLACES, _HALF_EXTENT, centers=True).reshape(-1, 3)
    share, pixels = torch.zeros(len(places)), []
    for mask, camera in zip(masks, cameras_to_world, strict=True):
        positions, _ = project(places, camera, fov_deg)
        share += interpolate(functional.pad(mask, (1, 1, 1, 1)), positions * size / (size + 2))
        column, row = ((positions + 1) / 2 * size).long().clamp(0, size - 1).unbind(-1)
        pixels.append(row * size + column)
    share = share / len(masks)
    explained = torch.zeros(())
    for mask, pixel in zip(masks, pixels, strict=True):
        best = torch.zeros(size * size).scatter_reduce(0, pixel, share, "amax")
        # Places are about a pixel apart: neighbours fill what they miss.
        best = functional.max_pool2d(best.reshape(1, size, size), 3, 1, 1)[0]
        explained = explained + (best * mask).sum()
    return explained / masks.sum().clamp_min(1e-6)
