"""The stage `sds`: a field that looks like the input from there, and right to the model elsewhere.

In every step the input's camera sees the field, which is compared with the image, and some random
cameras see it, about which the model is asked (threestudio, ``systems/zero123.py``; the losses and
their names are its own, but for the two on depth, which the official recipe has).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.sds import Guidance
from zero123lib.fields import regularisers
from zero123lib.fields.occupancy import OccupancyGrid
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.reconstruction.cameras import OrbitCamera, pose_at, random_cameras
from zero123lib.reconstruction.input_view import InputView
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.rendered_views import (
    NORMAL_LOSSES,
    RenderedViews,
    depth_roughness,
    regularization_losses,
    render_views,
)
from zero123lib.reconstruction.schedules import C, at_milestone
from zero123lib.reconstruction.start import first_field
from zero123lib.views.cameras import camera_to_world

# What is taken as empty, per world unit, and how often that is looked at anew.
LEAST_DENSITY = 0.05
_OCCUPANCY_STEPS = 16


class Distilling:
    """A field under distillation.

    Attributes:
        field: as it stands; another object after each of its milestones.
        step: how many steps were taken.
    """

    name = "sds"

    def __init__(
        self,
        recipe: Recipe,
        view: InputView,
        pipe: Zero123Pipeline,
        seed: int,
        field: VoxelField | None = None,
    ) -> None:
        """Begin.

        Args:
            field: go on from a copy of this one, in place of a first one.
        """
        self._recipe, self._view, self._device = recipe, view, pipe._execution_device
        self._guidance = Guidance(
            pipe, view.prepared, condition_elevation_deg=view.camera.pose.elevation_deg
        )
        # Cameras are drawn on the CPU, what a rendering needs where it is rendered.
        cameras, draws = (int(one) for one in np.random.SeedSequence(seed).generate_state(2))
        self._camera_draws = torch.Generator().manual_seed(cameras)
        self._draws = torch.Generator(self._device).manual_seed(draws)
        self._latent = recipe.embedded.field.latent
        self.total, self.step = recipe.trainer.max_steps, 0
        if field is None:
            channels = self._guidance.latent_shape[0] if self._latent else 3
            field = first_field(recipe, view, channels)
        self.field = deepcopy(field).to(self._device)
        self._white = self._white_latents() if self._latent else torch.ones(3).to(self._device)
        self._begin()

    def advance(self) -> Mapping[str, float]:
        """Take a step; losses by threestudio's names, unweighted, and their weighted ``total``.

        The field stays as it was where a loss is not finite.
        """
        self._refine()
        weights = {
            name.removeprefix("lambda_"): C(value, self.step)
            for name, value in asdict(self._recipe.loss).items()
        }
        embedded = self._recipe.embedded
        for name in ("near_view", "depth_smooth", "depth_smooth_input", "density_variation"):
            weights[name] = C(getattr(embedded, name), self.step)
        total, values = torch.zeros((), device=self._device), {}
        losses = [*self._input_losses(weights), *self._novel_losses(weights)]
        if weights["density_variation"]:
            rough = regularisers.total_variation(self.field.raw_density)
            losses.append(("density_variation", rough))
        for name, loss in losses:
            values[name] = values.get(name, 0.0) + float(loss.detach())
            total = total + weights[name] * loss
        values["total"] = float(total.detach())
        if bool(torch.isfinite(total)):
            self._optimizer.zero_grad()
            total.backward()
            self._optimizer.step()
            self.step += 1
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes, as tensors and numbers."""
        return {
            "step": self.step,
            "settings": asdict(self.field.settings),
            "field": self.field.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "cameras": self._camera_draws.get_state(),
            "draws": self._draws.get_state(),
            "occupancy": self._occupancy.cells,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.field = VoxelField(VoxelSettings(**state["settings"])).to(self._device)
        self.field.load_state_dict(state["field"])
        self._begin(state["occupancy"].to(self._device))
        self._optimizer.load_state_dict(state["optimizer"])
        self._camera_draws.set_state(state["cameras"])
        self._draws.set_state(state["draws"])
        self.step = state["step"]

    def _refine(self) -> None:
        """Refine the grid where it is time to, and look at what is occupied."""
        voxels = self._recipe.embedded.field
        stage = sum(self.step >= round(share * self.total) for share in voxels.milestones)
        if self.field.resolution < voxels.resolutions[stage]:
            self.field = self.field.upsampled(voxels.resolutions[stage])
            self._begin()
        elif self.step % _OCCUPANCY_STEPS == 0:
            self._occupancy = self._occupied()

    def _begin(self, cells: Tensor | None = None) -> None:
        optimizer = self._recipe.optimizer
        kind = getattr(torch.optim, optimizer.name)
        rate = self._recipe.embedded.field.learning_rate
        args = {**asdict(optimizer.args), **({} if rate is None else {"lr": rate})}
        self._optimizer = kind(self.field.parameters(), **args)
        self._occupancy = (
            self._occupied() if cells is None else OccupancyGrid(cells, self.field.half_extent)
        )

    def _occupied(self) -> OccupancyGrid:
        field = self.field
        grid = OccupancyGrid.of(
            field.density,
            field.half_extent,
            field.resolution - 1,
            LEAST_DENSITY,
            device=self._device,
        )
        return grid.dilated()

    def _input_losses(self, weights: Mapping[str, float]) -> list[tuple[str, Tensor]]:
        data = self._recipe.data
        size = at_milestone(data.height, data.resolution_milestones, self.step)
        target = functional.interpolate(
            self._view.rgba.to(self._device).permute(2, 0, 1)[None],
            (self._guidance.latent_shape[1],) * 2 if self._latent else (size, size),
            mode="area",
        )[0]
        seen = self._see([self._view.camera], target.shape[-1], weights)
        losses = []
        if weights["rgb"]:
            image = self._decoded(seen.colors)[0] if self._latent else seen.colors[0]
            wanted = self._on_white(image.shape[0])
            losses.append(("rgb", (image - wanted).square().mean()))
        if weights["mask"]:
            losses.append(("mask", (seen.opacity[0] - target[3]).square().mean()))
        if weights["depth_smooth_input"]:
            losses.append(("depth_smooth_input", depth_roughness(seen.depth)))
        return losses + regularization_losses(seen, self.field, weights, self._draws)

    def _novel_losses(self, weights: Mapping[str, float]) -> list[tuple[str, Tensor]]:
        recipe = self._recipe
        cameras = random_cameras(recipe, self.step, self._camera_draws)
        camera, guidance = recipe.data.random_camera, recipe.guidance
        size = at_milestone(camera.height, camera.resolution_milestones, self.step)
        if self._latent:
            size = self._guidance.latent_shape[1]
        seen = self._see(cameras, size, weights)
        losses = []
        if weights["sds"]:
            losses.append(("sds", self._distilled(seen, cameras, guidance.guidance_scale)))
        if weights["sparsity"]:
            losses.append(("sparsity", regularisers.sparsity(seen.opacity)))
        if weights["depth_smooth"]:
            losses.append(("depth_smooth", depth_roughness(seen.depth)))
        if weights["near_view"]:
            losses.append(("near_view", self._near_view(seen, cameras, size)))
        return losses + regularization_losses(seen, self.field, weights, self._draws)

    def _distilled(self, seen: RenderedViews, cameras: list[OrbitCamera], scale: float) -> Tensor:
        guidance, embedded = self._recipe.guidance, self._recipe.embedded
        share = (C(guidance.min_step_percent, self.step), C(guidance.max_step_percent, self.step))
        clip = guidance.grad_clip
        ask = self._guidance.distil if self._latent else self._guidance
        found = ask(
            seen.colors.permute(0, 3, 1, 2),
            [camera.pose.relative_to(self._view.camera.pose) for camera in cameras],
            timesteps=(min(share), max(share)),
            guidance_scale=scale,
            variant=embedded.variant,
            weighting=embedded.weighting,
            max_gradient=None if clip is None else C(clip, self.step),
            generator=self._draws,
        )
        return found.loss

    def _near_view(self, seen: RenderedViews, cameras: list[OrbitCamera], size: int) -> Tensor:
        """Return how much the image and depth change as eyes move a little (the official
        recipe)."""
        shift = self._recipe.embedded.near_view_shift
        moved = []
        for camera in cameras:
            way = functional.normalize(torch.randn(3, generator=self._camera_draws), dim=0)
            eye = camera_to_world(camera.pose)[:3, 3] + shift * way
            moved.append(OrbitCamera(pose_at(eye), camera.fov_deg))
        near = self._see(moved, size, {})
        return (near.colors - seen.colors).abs().mean() + (near.depth - seen.depth).abs().mean()

    def _see(
        self, cameras: list[OrbitCamera], size: int, weights: Mapping[str, float]
    ) -> RenderedViews:
        return render_views(
            self.field,
            cameras,
            size,
            self._recipe.embedded.field.samples,
            background=self._white,
            occupancy=self._occupancy,
            generator=self._draws,
            normals=any(weights.get(name) for name in NORMAL_LOSSES),
        )

    def _on_white(self, size: int) -> Tensor:
        image = self._view.on_white.to(self._device).permute(2, 0, 1)[None]
        sized = functional.interpolate(image, (size, size), mode="area")
        return sized[0].permute(1, 2, 0)

    def _decoded(self, latents: Tensor) -> Tensor:
        """Return images ``[B, S, S, 3]`` in [0, 1] of latents ``[B, h, w, C]``, with gradient."""
        pipe = self._guidance.pipe
        unscaled = latents.permute(0, 3, 1, 2) / pipe.vae.config["scaling_factor"]
        images = cast(Any, pipe.vae.decode(unscaled.to(pipe.vae.dtype))).sample.float()
        return (images.permute(0, 2, 3, 1) + 1) / 2

    def _white_latents(self) -> Tensor:
        """Return what the model has for a white image, pixel by pixel, ``[h w, C]``."""
        vae, size = self._guidance.pipe.vae, self._guidance.pipe.image_size
        white = torch.ones(1, 3, size, size, device=self._device, dtype=vae.dtype)
        with torch.no_grad():
            latents = cast(Any, vae.encode(white)).latent_dist.mode().float()
        return latents.flatten(2)[0].T * vae.config["scaling_factor"]
