"""A folder of views (:mod:`zero123lib.views.folder`) as what textures are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.mesh import Camera
from zero123lib.views.folder import read_views


def read_pictures(folder: str | Path) -> tuple[Tensor, list[Camera]]:
    """Read a folder of views.

    Returns:
        sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``, opaque where a file has no alpha; and
        a camera for each, in our world.

    Raises:
        ArgumentError: as :func:`~zero123lib.views.folder.read_views`.
    """
    images, cameras_to_world, fov_deg = read_views(folder)
    pixels = np.stack([np.asarray(image) for image in images])
    size = images[0].width
    cameras = [Camera(one, size, fov_deg) for one in cameras_to_world]
    return torch.from_numpy(pixels.astype(np.float32) / 255), cameras
