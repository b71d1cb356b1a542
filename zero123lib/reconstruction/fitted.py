"""The stage `views`: views of the object by the model, and a field fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.fitting import FitSettings, Fitting, Schedule
from zero123lib.fields.voxels import VoxelField
from zero123lib.reconstruction.cameras import ring_poses
from zero123lib.reconstruction.pictures import InputView, cut_from_white, made_views
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.schedules import C
from zero123lib.views.cameras import camera_to_world


class MakingViews:
    """Views made so far. One step is some of them.

    Attributes:
        pictures: ``[N, 3, S, S]`` in [0, 1] on white, in the order of `poses`.
        poses: of all.
    """

    name = "views"

    def __init__(self, recipe: Recipe, view: InputView, pipe: Zero123Pipeline, seed: int) -> None:
        self.poses = ring_poses(recipe.embedded.views, view.shot.pose)
        self.pictures = torch.zeros(0, 3, pipe.image_size, pipe.image_size)
        self._recipe, self._view, self._pipe, self._seed = recipe, view, pipe, seed
        self._making = None
        self.field = None

    @property
    def step(self) -> int:
        """Views made."""
        return len(self.pictures)

    @property
    def total(self) -> int:
        """Views to make."""
        return len(self.poses)

    def advance(self) -> Mapping[str, float]:
        """Make some more views."""
        if self._making is None:
            self._making = made_views(
                self._pipe,
                self._pipe.encode(self._view.prepared),
                self._recipe,
                self._view.shot,
                self.poses,
                self._seed,
                self.step,
            )
        self.pictures = torch.cat([self.pictures, next(self._making)])
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return {"pictures": self.pictures}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.pictures, self._making = state["pictures"], None


class FittingViews:
    """A field that is fitted to the input and to the views that were made of it."""

    name = "fit"

    def __init__(self, recipe: Recipe, view: InputView, made: MakingViews, seed: int) -> None:
        fit, voxels = recipe.embedded.fit, recipe.embedded.field
        rgba = cut_from_white(made.pictures, recipe.embedded.views.opaque_darkness)
        images = torch.cat([view.rgba[None], rgba])
        poses = [view.shot.pose, *made.poses[: made.step]]
        weights = torch.ones(len(images))
        weights[0] = fit.input_weight
        settings = FitSettings(
            steps=fit.steps,
            resolutions=voxels.resolutions,
            milestones=voxels.milestones,
            rays=fit.rays,
            samples=voxels.samples,
            half_extent=voxels.half_extent,
            density_rate=fit.density_rate,
            color_rate=fit.color_rate,
            rgb=_scheduled(fit.rgb),
            mask=_scheduled(fit.mask),
            opaque=_scheduled(fit.opaque),
            density_variation=_scheduled(fit.density_variation),
            color_variation=_scheduled(fit.color_variation),
            robust=fit.robust,
            hull_tolerance=fit.hull_tolerance,
            hull_margin_px=fit.hull_margin_px,
            hull_density=fit.hull_density,
        )
        self._fitting = Fitting(
            images,
            camera_to_world(poses),
            view.shot.fov_deg,
            settings,
            seed=seed,
            view_weights=weights,
        )
        self.total = fit.steps

    @property
    def step(self) -> int:
        """Steps taken."""
        return self._fitting.step

    @property
    def field(self) -> VoxelField:
        """As it stands."""
        return self._fitting.field

    def advance(self) -> Mapping[str, float]:
        """Take a step."""
        return self._fitting.advance().losses

    def state_dict(self) -> dict[str, Any]:
        """All that changes."""
        return self._fitting.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._fitting.load_state_dict(state)


def _scheduled(value: Any) -> Schedule:
    return value if isinstance(value, int | float) else lambda step: C(value, step)
