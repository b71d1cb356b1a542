"""Colours for a field of latents: views of it are decoded, and a field is coloured after them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.volume import render_camera
from zero123lib.fields.voxels import VoxelField
from zero123lib.reconstruction.input_view import InputView
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.poses import Pose

_ELEVATIONS_DEG, _AZIMUTHS = (-10.0, 20.0, 50.0), 8


def decoded_field(
    latents: VoxelField, pipe: Zero123Pipeline, recipe: Recipe, view: InputView, seed: int
) -> VoxelField:
    """Return a field of the same density with colours in [0, 1].

    Args:
        latents: colours are the model's latents.
        seed: of the rays that are drawn.
    """
    radius, fov_deg = view.camera.pose.radius, view.camera.fov_deg
    poses = [view.camera.pose] + [
        Pose(elevation, 360 * i / _AZIMUTHS, radius)
        for elevation in _ELEVATIONS_DEG
        for i in range(_AZIMUTHS)
    ]
    cameras = camera_to_world(poses)
    size, device = pipe.latent_shape[-1], latents.raw_density.device
    images = [view.rgba]
    for camera in cameras[1:]:
        with torch.no_grad():
            seen = render_camera(latents, camera.to(device), size, fov_deg, background=0.0)
        decoded = (pipe.decode(seen.rgb.permute(2, 0, 1)[None]).cpu() + 1) / 2
        alpha = functional.interpolate(
            seen.opacity[None, None].cpu(), decoded.shape[-2:], mode="bilinear"
        )
        images.append(torch.cat([decoded, alpha], 1)[0].permute(1, 2, 0))
    field = VoxelField(replace(latents.settings, channels=3, bounds="unit"))
    with torch.no_grad():
        field.raw_density.copy_(latents.raw_density)
    settings = FitSettings(
        steps=recipe.embedded.fit.steps,
        resolutions=(field.resolution,),
        milestones=(),
        samples=recipe.embedded.field.samples,
        half_extent=field.half_extent,
        density_rate=0.0,
    )
    seen_on = torch.stack(images).to(device)
    fitting = Fitting(seen_on, cameras, fov_deg, settings, seed=seed, field=field)
    while not fitting.finished:
        fitting.advance()
    return fitting.field
