"""Settings of what is done to meshes, for whoever checks them before torch is there."""

from __future__ import annotations

from zero123lib._config import Count, NonNegative, settings

# Texels along a texture's side.
MIN_SIZE, MAX_SIZE = 16, 8192
# Of a rendered image, pixels times supersampling.
MAX_SAMPLES_PER_SIDE = 8192


@settings
class RefineSettings:
    """Says how a mesh is refined.

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

    steps: Count = 200
    views_per_step: Count = 4
    vertex_rate: NonNegative = 5e-3
    smoothness: NonNegative = 0.05
    color_rate: NonNegative = 0.02
    color: NonNegative = 1.0
    mask: NonNegative = 1.0
    laplacian: NonNegative = 0.02
    edges: NonNegative = 0.01
    normals: NonNegative = 0.01
