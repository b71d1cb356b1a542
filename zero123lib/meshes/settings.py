"""Settings of what is done to meshes, for whoever checks them before torch is there."""

from __future__ import annotations

from dataclasses import dataclass

from zero123lib._errors import ArgumentError

# Texels along a texture's side.
MIN_SIZE, MAX_SIZE = 16, 8192


@dataclass(frozen=True)
class RefineSettings:
    """How a mesh is refined.

    Attributes:
        steps: of Adam (Kingma and Ba 2015).
        views_per_step: images that a step sees, drawn without repeats.
        vertex_rate: learning rate of positions, as a share of the mesh's longest side.
        smoothness: how far around a vertex a step moves the surface along, as a share of the
            mesh's longest side. 0 moves each for itself, which makes fine meshes rough.
        color_rate: learning rate of texels, or of vertices' colours, in sRGB.
        color, mask: weights of the mean squared errors of colours and of coverage.
        laplacian: weight of `refine.laplacian_loss` of what the vertices have moved by, over the
            longest side: neighbours move together.
        edges: weight of the mean squared change of edges, over their mean length.
        normals: weight of `refine.normal_loss`.
    """

    steps: int = 200
    views_per_step: int = 4
    vertex_rate: float = 5e-3
    smoothness: float = 0.05
    color_rate: float = 0.02
    color: float = 1.0
    mask: float = 1.0
    laplacian: float = 0.02
    edges: float = 0.01
    normals: float = 0.01

    def __post_init__(self) -> None:
        for name in ("steps", "views_per_step"):
            if getattr(self, name) < 1:
                raise ArgumentError(name, "at least 1", str(getattr(self, name)))
        names = ("vertex_rate", "smoothness", "color_rate", "color", "mask", "laplacian", "edges")
        for name in (*names, "normals"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(name, "at least 0", str(getattr(self, name)))
