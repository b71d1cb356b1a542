"""What a recipe says of its results: the sections ``embedded.outputs`` and ``embedded.refine``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from zero123lib._choices import Upscale
from zero123lib._config import Number, settings
from zero123lib.meshes.settings import MAX_SIZE, MIN_SIZE, RefineSettings

Elevation = Annotated[Number, Field(ge=-90, le=90, description="degrees in [-90, 90]")]

# What an environment says, as `${oc.env:STEPS}` does, is a text.
Int = Annotated[int, BeforeValidator(lambda v: int(v) if isinstance(v, str) else v)]
Whole = Annotated[Int, Field(ge=0)]
Count = Annotated[Int, Field(ge=1)]

# field: the colours of the field
# views: those of the input and the generated views, by `texture_from_views`
TextureSource = Literal["field", "views"]


@settings
class Outputs:
    """``embedded.outputs``: what is written at the end.

    Attributes:
        frames: of the turntable and of the depth and normal videos; 0 makes none of them.
        size: their side, pixels.
        elevation_deg: of their cameras.
        mesh_resolution: nodes along the cube's side; 0 writes no mesh.
        mesh_level: density per world unit where the surface is; null takes the one that has the
            silhouettes that are known.
        max_faces: of the mesh as it is extracted, thinned to so many; null keeps all.
        texture_size: side of the texture in mesh.glb, texels; 0 gives it vertices' colours, as
            mesh.ply has them.
        texture_from: see :data:`TextureSource`.
        texture_steps: of the descent to the views' colours. 0 leaves each texel the mean of what
            the views show of it; many speckle it where views disagree.
        texture_upscale: how many times larger the views are made for it, by a network.
    """

    frames: Whole = 36
    size: Int = Field(default=160, ge=8)
    elevation_deg: Elevation = 15.0
    mesh_resolution: Whole = 128
    mesh_level: Number | None = None
    max_faces: Annotated[Int, Field(ge=4)] | None = None
    texture_size: Literal[0] | Annotated[Int, Field(ge=MIN_SIZE, le=MAX_SIZE)] = 1024
    texture_from: TextureSource = "field"
    texture_steps: Whole = 4
    texture_upscale: Upscale = 1

    @property
    def even_size(self) -> int:
        """Return the videos' side, even as H.264 wants it."""
        return self.size - self.size % 2


@settings
class Refine(RefineSettings):
    """``embedded.refine``: the mesh's shape and colours, changed until it looks as the input and
    the generated views do.

    Attributes:
        steps: 0 leaves the mesh as it was extracted.
    """

    steps: Whole = 0
    views_per_step: Count = 4
