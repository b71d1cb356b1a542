"""Pictures of known cameras, as `zero123 orbit` and `zero123 mesh render` leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib.meshes.mesh import Camera
from zero123lib.views.cameras import cameras_from_transforms

MAX_PIXELS = 2**28


def read_pictures(folder: str | Path) -> tuple[Tensor, list[Camera]]:
    """The pictures that a folder's ``transforms.json`` lists, and their cameras.

    Returns:
        sRGB with straight alpha in [0, 1] ``[V, S, S, 4]``, opaque where a file has no alpha; and
        a camera for each, in our world.

    Raises:
        ValueError: there is no such file, or what it lists is missing, damaged, outside the
            folder, not square, or not of one size.
    """
    folder = Path(folder)
    listing = folder / "transforms.json"
    try:
        names, cameras_to_world, fov_deg = cameras_from_transforms(json.loads(listing.read_text()))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"views: expected pictures with a transforms.json in {str(folder)!r}, got {reason}"
        ) from error
    if not names:
        raise ValueError(f"views: expected pictures in {str(listing)!r}, got none")
    pictures: list[Tensor] = []
    for name in names:
        pictures.append(_picture(folder, name))
        if pictures[-1].shape != pictures[0].shape:
            first, this = (
                f"{one.shape[1]} x {one.shape[0]}" for one in (pictures[0], pictures[-1])
            )
            raise ValueError(f"views: expected pictures of one size, got {first} and {this}")
        if len(names) * pictures[0].shape[0] ** 2 > MAX_PIXELS:
            raise ValueError(
                f"views: expected at most {MAX_PIXELS} pixels, got {len(names)} pictures of "
                f"{pictures[0].shape[0]} x {pictures[0].shape[0]}"
            )
    size = pictures[0].shape[0]
    return torch.stack(pictures), [Camera(one, size, fov_deg) for one in cameras_to_world]


def _picture(folder: Path, name: str) -> Tensor:
    """``[S, S, 4]``."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ValueError(f"views: expected pictures within {str(folder)!r}, got {name!r}")
    try:
        with Image.open(path) as file:
            if file.width != file.height or file.width**2 > MAX_PIXELS:
                raise ValueError(f"expected a square picture, got {file.width} x {file.height}")
            pixels = np.asarray(file.convert("RGBA"), np.float32)
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"views: {str(path)!r}: {reason}") from error
    return torch.from_numpy(pixels / 255)
