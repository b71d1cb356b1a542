"""Images of known cameras, as textures are made from them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from zero123lib.meshes.mesh import Camera
from zero123lib.views.folder import read_views
from zero123lib.views.squaring import squared


def read_posed_images(place: str | Path) -> tuple[Tensor, list[Camera]]:
    """Read the images that a transforms.json of any make lists, and their cameras.

    Args:
        place: a folder with a transforms.json, or such a file.

    Returns:
        sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``, opaque where a file has no alpha; and
        a camera for each, in our world. Images that are not square, not of one size, or whose axis
        is not in their middle, are moved and scaled to squares.

    Raises:
        ArgumentError: as :func:`zero123lib.views.folder.read_views`.
    """
    posed = read_views(place)
    images, angles = squared(posed)
    size = images.shape[1]
    return images, [
        Camera(one.camera_to_world, size, angle) for one, angle in zip(posed, angles, strict=True)
    ]
