"""What a recipe says of its results: the sections ``embedded.outputs`` and ``embedded.refine``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zero123lib._errors import ArgumentError
from zero123lib.meshes.settings import MAX_SIZE, MIN_SIZE, RefineSettings
from zero123lib.reconstruction import checks

# field: the colours of the field
# views: those of the input and the generated views, by `texture_from_views`
TextureSource = Literal["field", "views"]


@dataclass(frozen=True)
class Outputs:
    """``embedded.outputs``: what is written at the end.

    Attributes:
        frames: of the turntable and of the depth and normal videos.
        size: their side, pixels.
        elevation_deg: of their cameras.
        mesh_resolution: nodes along the cube's side; 0 writes no mesh.
        mesh_level: density per world unit where the surface is; null takes the one that has the
            picture's silhouette.
        texture_size: side of the texture in mesh.glb, texels; 0 gives it vertices' colours, as
            mesh.ply has them.
        texture_from: see :data:`TextureSource`; of files, a mesh without has the field's colours.
        texture_steps: of the descent to the views' colours. 0 leaves each texel the mean of what
            the views show of it; many speckle it where views disagree.
    """

    frames: int = 36
    size: int = 160
    elevation_deg: float = 15.0
    mesh_resolution: int = 128
    mesh_level: float | None = None
    texture_size: int = 1024
    texture_from: TextureSource = "field"
    texture_steps: int = 4

    def __post_init__(self) -> None:
        checks.least(self, frames=1, size=8, mesh_resolution=0, texture_steps=0)
        if self.texture_size and not MIN_SIZE <= self.texture_size <= MAX_SIZE:
            raise ArgumentError(
                "texture_size", f"0, or {MIN_SIZE} to {MAX_SIZE} texels", str(self.texture_size)
            )
        if not -90 <= self.elevation_deg <= 90:
            raise ArgumentError("elevation_deg", "degrees in [-90, 90]", f"{self.elevation_deg:g}")


@dataclass(frozen=True)
class Refine(RefineSettings):
    """``embedded.refine``: the mesh's shape and colours, changed until it looks as the input and
    the generated views do.

    Attributes:
        steps: 0 leaves the mesh as it was extracted.
    """

    steps: int = 0

    def __post_init__(self) -> None:
        checks.least(self, steps=0)
        # The other keys are held to what they are there, also where nothing is refined.
        RefineSettings(**{**vars(self), "steps": max(self.steps, 1)})
