"""Discs whose colour says which object and view they are."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from zero123lib.views.poses import Pose

SIZE = 16


def disc(object_index: int, view: int, size: int = SIZE) -> np.ndarray:
    """uint8 [size, size, 4]: a disc in the colour of the object and the view, soft at its edge."""
    x, y = np.meshgrid(*[np.arange(size) + 0.5 - size / 2] * 2)
    alpha = np.clip(0.35 * size - np.hypot(x, y) + 0.5, 0.0, 1.0)
    image = np.zeros((size, size, 4), np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = 10 * object_index + 5, 20 * view + 5, 90
    image[..., 3] = np.rint(255 * alpha)
    return image


def camera(object_index: int, view: int) -> Pose:
    """A camera of its own for each object and view, all around."""
    random = np.random.default_rng((object_index, view))
    elevation, azimuth, radius = random.uniform((-80, -180, 1.5), (80, 180, 2.2))
    return Pose(elevation, azimuth, radius)


def which(image: Tensor) -> tuple[int, int]:
    """Object and view of a disc's image [3, S, S] in [-1, 1]."""
    middle = image.shape[-1] // 2
    red, green, blue = ((image[:, middle, middle] + 1.0) * 127.5).round().int().tolist()
    assert blue == 90 and red % 10 == 5 and green % 20 == 5
    return red // 10, green // 20
