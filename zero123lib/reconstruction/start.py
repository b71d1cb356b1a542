"""The field that distillation begins with where there is none yet."""

from __future__ import annotations

import torch
from torch.nn import functional

from zero123lib.fields.hull import view_consensus
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.reconstruction.input_view import InputView
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.cameras import camera_to_world

# Magic3D's blob as threestudio has it: softplus(10 (1 - r / 0.5)).
_BLOB_SCALE, _BLOB_RADIUS = 10.0, 0.5
_HULL_RADIUS, _HULL_DENSITY = 0.5, 8.0
_EMPTY = 0.01


def first_field(recipe: Recipe, view: InputView, channels: int) -> VoxelField:
    """Return a blob, or a ball cut by the input's silhouette, grey (latents: zero).

    Args:
        channels: of the colour; 3 are kept in [0, 1], another number are latents.
    """
    voxels = recipe.embedded.field
    field = VoxelField(
        VoxelSettings(
            voxels.resolutions[0],
            voxels.half_extent,
            channels,
            "none" if voxels.latent else "unit",
            initial_density=_EMPTY,
        )
    )
    nodes = field.nodes()
    radius = nodes.norm(dim=-1)
    if voxels.initial == "blob":
        density = functional.softplus(_BLOB_SCALE * (1 - radius / _BLOB_RADIUS))
    else:
        inside = view_consensus(
            nodes.reshape(-1, 3),
            view.rgba[None, ..., 3],
            camera_to_world([view.camera.pose]),
            view.camera.fov_deg,
        ).reshape(radius.shape)
        density = _HULL_DENSITY * ((inside > 0.5) & (radius < _HULL_RADIUS))
    with torch.no_grad():
        field.raw_density[0, 0] = field.raw_of(density.float().clamp_min(_EMPTY))
    return field
