"""The stage `views`: views of the object by the model, and a field fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import fields
from typing import Any

import torch

from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.levels import silhouette_iso_level
from zero123lib.fields.occupancy import evaluate
from zero123lib.fields.silhouettes import Silhouette, with_silhouette
from zero123lib.fields.voxels import VoxelField
from zero123lib.reconstruction.cameras import ring_poses
from zero123lib.reconstruction.input_view import made_views
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.schedules import C
from zero123lib.reconstruction.subject import Photo

_STEEPNESS = 3
# Densities per world unit: opaque within a cell or two, and nothing to see.
_SOLID, _EMPTY = 300.0, 1e-3


class MakingViews:
    """Views made so far. One step is some of them.

    Attributes:
        images: ``[N, 3, S, S]`` in [0, 1] on white, in the order of `poses`.
        poses: of all.
    """

    name = "views"

    def __init__(self, recipe: Recipe, subject: Photo, seed: int) -> None:
        size = subject.pipe.image_size
        self.poses = ring_poses(recipe.embedded.views, subject.camera.pose)
        self.images = torch.zeros(0, 3, size, size)
        self._recipe, self._subject, self._seed = recipe, subject, seed
        self._making = None
        self.field = None

    @property
    def step(self) -> int:
        """Count the views that are made."""
        return len(self.images)

    @property
    def total(self) -> int:
        """Count the views to make."""
        return len(self.poses)

    def advance(self) -> Mapping[str, float]:
        """Make some more views."""
        if self._making is None:
            subject = self._subject
            self._making = made_views(
                subject.pipe,
                [subject.pipe.encode(one.prepared) for one in subject.photos],
                subject.input_poses,
                self._recipe,
                subject.camera,
                self.poses,
                self._seed,
                self.step,
            )
        self.images = torch.cat([self.images, next(self._making)])
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"images": self.images}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.images, self._making = state["images"], None


class FittingViews:
    """A field that is fitted to views.

    Views that disagree leave it soft: its density says how many of them it satisfies. Where all
    steps but the last `color_steps` are taken, it is made solid about the level at which it has the
    silhouettes that are known; what is left goes to its colours.
    """

    name = "fit"

    def __init__(
        self,
        recipe: Recipe,
        views: PosedViews,
        seed: int,
        silhouette: Silhouette | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Begin with the views' hull.

        Args:
            seed: of the rays that are drawn.
            silhouette: which the field is to have exactly.
            device: where the field lies and is fitted.

        Raises:
            ValueError: the views' silhouettes leave nothing to fit.
        """
        self._recipe, self._views, self._seed = recipe, views.to(device), seed
        self._silhouette = None if silhouette is None else silhouette.to(device)
        self._fitting = self._shaping()
        self._shaped = False
        self.total = recipe.embedded.fit.steps + recipe.embedded.fit.color_steps

    @property
    def step(self) -> int:
        """Count the steps taken."""
        return self._fitting.step + (self._recipe.embedded.fit.steps if self._shaped else 0)

    @property
    def field(self) -> VoxelField:
        """Return the field as it stands."""
        return self._fitting.field

    def advance(self) -> Mapping[str, float]:
        """Take a step."""
        if self._fitting.finished and not self._shaped:
            self._shaped, self._fitting = True, self._coloring(self._solid())
        return self._fitting.advance().losses

    def state_dict(self) -> dict[str, Any]:
        """Return all that changes."""
        return {"shaped": self._shaped, **self._fitting.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._shaped = state["shaped"]
        if self._shaped:
            self._fitting = self._coloring(self.field)
        self._fitting.load_state_dict(state)

    def _shaping(self) -> Fitting:
        return self._fit(_fit_settings(self._recipe), None)

    def _coloring(self, field: VoxelField) -> Fitting:
        embedded = self._recipe.embedded
        settings = _fit_settings(
            self._recipe,
            steps=embedded.fit.color_steps,
            resolutions=(field.resolution,),
            milestones=(),
            samples=2 * embedded.field.samples,
            density_rate=0.0,
            density_variation=0.0,
            # The recipe's are for finding the density, which stays.
            rgb=1.0,
            mask=0.5,
            opaque=0.0,
        )
        return self._fit(settings, field)

    def _fit(self, settings: FitSettings, field: VoxelField | None) -> Fitting:
        views = self._views
        return Fitting(
            views.images,
            views.cameras_to_world,
            views.fov_deg,
            settings,
            seed=self._seed,
            field=field,
            view_weights=views.weights,
            silhouette=self._silhouette,
        )

    def _solid(self) -> VoxelField:
        field, views = self._fitting.field, self._views
        # What a model made of the input may contradict it, and has no say.
        known = 1 if views.first_is_true else len(views.images)
        masks, cameras = views.images[:known, ..., 3], views.cameras_to_world[:known]
        try:
            level = silhouette_iso_level(field, masks, cameras, views.fov_deg)
        except ValueError:
            return field  # empty, which the engine sees too and says
        return solid(field, level, self._silhouette)


def solid(field: VoxelField, level: float, silhouette: Silhouette | None = None) -> VoxelField:
    """Make a field whose density rises more steeply through a level.

    ``level (density / level) ^ 3``, at most ``_SOLID``: the surface stays where it is, but for
    what a silhouette changes of it. The old field stays.

    Args:
        silhouette: which the surface gets, to half a cell.
    """
    density = field.density
    if silhouette is not None:
        density = with_silhouette(
            density, field.half_extent, silhouette, level, slack=field.cell / 2
        )
    with torch.no_grad():
        found = evaluate(density, field.nodes())
        steep = (level * (found / level) ** _STEEPNESS).clamp(_EMPTY, _SOLID)
        new = deepcopy(field)
        new.raw_density[0, 0].copy_(field.raw_of(steep))
    return new


def _fit_settings(recipe: Recipe, **others: Any) -> FitSettings:
    """Return what a recipe says of the field and the fit, by the same names, and others in its
    place."""
    said = vars(recipe.embedded.field) | vars(recipe.embedded.fit)
    names = [one.name for one in fields(FitSettings) if one.name in said]
    return FitSettings(**({name: _scheduled(said[name]) for name in names} | others))


def _scheduled(value: Any) -> Any:
    return (lambda step: C(value, step)) if isinstance(value, list) else value
