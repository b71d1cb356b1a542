"""The mesh of a finished field: its surface, refined against the views and coloured.

The colours are the field's or, where the recipe says so, those of the input and of the views that
the field was fitted to. Whatever fails leaves the mesh of the step before, and a note.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from zero123lib._optional import MissingExtraError
from zero123lib.fields.silhouettes import Silhouette, with_silhouette
from zero123lib.fields.voxels import VoxelField
from zero123lib.meshes.cleanup import Cleaning, clean
from zero123lib.meshes.colors import colors_at_vertices
from zero123lib.meshes.extract import extract
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.refine import Refinement, fixed, refine
from zero123lib.meshes.texture import bake, surface_colors, with_vertex_colors
from zero123lib.meshes.texture_views import ViewFit, texture_from_views
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import Recipe

# Of a texture that gives its colours to the vertices alone, texels.
_SIZE_FOR_VERTICES = 1024


class Meshing:
    """A mesh that is made step by step.

    Attributes:
        mesh: with colours at its vertices; None where there is no surface.
        textured: with a texture; None where there is none.
        notes: what to tell the user.
        refined: numbers of the refinement, for JSON; None without.
    """

    def __init__(
        self,
        recipe: Recipe,
        field: VoxelField,
        views: PosedViews | None,
        silhouette: Silhouette | None = None,
        *,
        seed: int,
        device: torch.device,
        stop: Callable[[], bool],
    ) -> None:
        """
        Args:
            field: on ``device``, without gradients.
            views: what the mesh should look like; None where there is none but the field.
            silhouette: which the surface is to have exactly.
            seed: of the order in which images are taken.
            device: where the field is asked and, if it is a CUDA GPU, the mesh is refined; meshes
                themselves lie on the CPU.
            stop: asked between steps of refinement; True leaves the mesh unrefined.
        """
        self.mesh: Mesh | None = None
        self.textured: Mesh | None = None
        self.notes: list[str] = []
        self.refined: dict[str, Any] | None = None
        self._recipe, self._field, self._views = recipe, field, views
        self._silhouette = None if silhouette is None else silhouette.to(device)
        self._seed, self._device, self._stop = seed, device, stop

    def make(self, level: float) -> Iterator[int]:
        """Make all; yields after each step of refinement.

        Args:
            level: the density per world unit that is the surface.
        """
        surface = self._surface(level)
        if surface is None:
            return
        outputs = self._recipe.embedded.outputs
        self.mesh = with_vertex_colors(surface, self._field.color)
        if self._recipe.embedded.refine.steps and self._views is not None:
            yield from self._refine(self.mesh, self._views)
        if outputs.texture_from == "views" and self._views is not None:
            self._paint(self.mesh, self._views)
        if outputs.texture_size and self.textured is None:
            self.textured = self._baked(self.mesh)

    def _surface(self, level: float) -> Mesh | None:
        field, density = self._field, self._field.density
        outputs = self._recipe.embedded.outputs
        if self._silhouette is not None:
            density = with_silhouette(density, field.half_extent, self._silhouette, level)
        try:
            surface = extract(
                density,
                half_extent=field.half_extent,
                resolution=outputs.mesh_resolution,
                level=level,
                device=self._device,
            )
        except ValueError as error:
            self.notes.append(f"no mesh: {error}")
            return None
        try:
            return clean(surface, Cleaning(max_faces=outputs.max_faces)).mesh
        except MissingExtraError as error:
            self.notes.append(f"the mesh is as it was extracted, not cleaned: {error}")
            return surface

    def _refine(self, mesh: Mesh, views: PosedViews) -> Iterator[int]:
        taken: list[Refinement] = []
        started = time.perf_counter()
        try:
            for one in refine(
                mesh.to(self._device if self._device.type == "cuda" else "cpu"),
                views.images,
                views.cameras,
                self._recipe.embedded.refine,
                seed=self._seed,
                view_weights=views.weights,
            ):
                taken.append(one)
                yield one.step
                if one.mesh is None and self._stop():
                    self.notes.append("the mesh is not refined: the run was stopped")
                    return
            refined = taken[-1].mesh
            assert refined is not None, "the last step has the mesh"
            self.mesh = fixed(refined.to("cpu"))
        except (ValueError, RuntimeError, MissingExtraError) as error:
            # RuntimeError is PyTorch's, of a device that has not the memory, say.
            self.notes.append(f"the mesh is not refined: {error}")
            return
        self.refined = {
            "steps": len(taken),
            "seconds": round(time.perf_counter() - started, 2),
            "first_losses": dict(taken[0].losses),
            "last_losses": dict(taken[-1].losses),
        }

    def _paint(self, mesh: Mesh, views: PosedViews) -> None:
        """Put the views' colours into a texture, and at the vertices."""
        size = self._recipe.embedded.outputs.texture_size
        bare = replace(mesh, vertex_colors=None)
        try:
            painted = texture_from_views(
                bare,
                views.images,
                views.cameras,
                size or _SIZE_FOR_VERTICES,
                ViewFit(steps=self._recipe.embedded.outputs.texture_steps),
                view_weights=views.weights,
                trusted=0 if views.first_is_true else None,
                detail=views.detail,
                upscale=self._recipe.embedded.outputs.texture_upscale,
            )
        except (ValueError, RuntimeError, MissingExtraError) as error:
            self.notes.append(f"the mesh has the field's colours, not the views': {error}")
            return
        self.mesh = replace(mesh, vertex_colors=colors_at_vertices(painted))
        self.textured = painted if size else None

    def _baked(self, mesh: Mesh) -> Mesh | None:
        """Return the mesh with a texture of the field's colours, or of refined ones; None
        without."""
        try:
            color = self._field.color if self.refined is None else surface_colors(mesh)
            return bake(mesh, color, self._recipe.embedded.outputs.texture_size)
        except (ValueError, MissingExtraError) as error:  # more faces than can be unwrapped, say
            self.notes.append(f"mesh.glb has colours at its vertices, and no texture: {error}")
            return None
