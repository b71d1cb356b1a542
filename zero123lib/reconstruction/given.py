"""Images that one has already, of known cameras, made ready for a reconstruction.

Their world is as large as it is, and the object anywhere in it. A field fills a cube about the
origin; so the cameras are moved and scaled until the object fits, and what is made of it goes back.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.fields.hull import view_consensus
from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.reconstruction.posed import PosedViews, World
from zero123lib.views.cameras import focal_px
from zero123lib.views.cutout import cut_out, has_meaningful_alpha
from zero123lib.views.errors import ImageError
from zero123lib.views.folder import PosedImage, read_views
from zero123lib.views.squaring import squared_about_object

MAX_SIZE_PX = 256
# As large they are read: the object may be small in them.
_READ_PX = 1024
_LEAST_VIEWS = 3
# The object is looked for on a grid of so many nodes along each side, this often, each time within
# the box of the time before.
_NODES, _ROUNDS = 64, 3
# The share of the images that may not show a place that belongs to it.
_TOLERANCE = 0.1
# Objects whose longest side lies between these, within a cube of this half width, stay where they
# are: most are of a world like ours.
_LONGEST, _WITHIN = (0.4, 1.1), 0.6


def given_views(place: str | Path, size: int | None = None) -> PosedViews:
    """Read posed images for :func:`zero123lib.reconstruction.engine.reconstruct_views`.

    Images without transparency are cut out, see :func:`zero123lib.views.cutout.cut_out`.

    Args:
        place: a folder with a transforms.json of any make, see :mod:`zero123lib.views.transforms`.
        size: pixels of the squares that the images are brought to; None takes the longest side of
            any image, and 256 at most.

    Raises:
        ArgumentError: the folder is of no use, or the images show no object in common.
        ImageError: nothing stands out from an image's background.
    """
    images = [_cut_out(one) for one in read_views(place, _READ_PX)]
    if len(images) < _LEAST_VIEWS:
        raise ArgumentError("views", f"at least {_LEAST_VIEWS} images", str(len(images)))
    longest = max(max(one.image.size) for one in images)
    pixels, fov_deg = squared_about_object(images, size or min(longest, MAX_SIZE_PX))
    cameras = torch.stack([one.camera_to_world for one in images])
    world = find_world(pixels[..., 3], cameras, fov_deg)
    weights = torch.ones(len(images))
    return PosedViews(pixels, world.cameras_from(cameras), fov_deg, weights, world=world)


def find_world(masks: Tensor, cameras_to_world: Tensor, fov_deg: float) -> World:
    """Find where the object is that silhouettes have in common.

    It is looked for about the point that the images are centred on, nearer to it than any camera.

    Args:
        masks: alpha ``[V, S, S]``.
        cameras_to_world: OpenGL ``[V, 4, 4]``.

    Raises:
        ArgumentError: they have nothing in common.
    """
    middle = looked_at(masks, cameras_to_world, fov_deg)
    away = torch.linalg.vector_norm(cameras_to_world[:, :3, 3] - middle, dim=-1)
    nearest = float(away.min())
    low, high = middle - nearest, middle + nearest
    for _ in range(_ROUNDS):
        points = low + (lattice(_NODES, 0.5) + 0.5) * (high - low)
        share = evaluate(lambda p: view_consensus(p, masks, cameras_to_world, fov_deg), points)
        inside = torch.linalg.vector_norm(points - middle, dim=-1) < nearest
        found = points[(share >= 1 - _TOLERANCE - 1e-6) & inside]
        if not len(found):
            raise ArgumentError(
                "views",
                "images whose silhouettes have something in common",
                "none: are the matrices OpenGL camera-to-world, and is the object cut out?",
            )
        cell = (high - low) / (_NODES - 1)
        low, high = found.amin(0) - cell, found.amax(0) + cell
    longest = float((found.amax(0) - found.amin(0)).max())
    reach = float(torch.maximum(low.abs(), high.abs()).max())
    if _LONGEST[0] <= longest <= _LONGEST[1] and reach <= _WITHIN:
        return World()
    x, y, z = ((low + high) / 2).tolist()
    return World((x, y, z), 1.0 / longest)


def looked_at(masks: Tensor, cameras_to_world: Tensor, fov_deg: float) -> Tensor:
    """Find the point ``[3]`` nearest to the rays through the silhouettes' centres."""
    size = masks.shape[-1]
    ticks = (torch.arange(size) + 0.5 - size / 2) / focal_px(size, fov_deg)
    weight = masks.sum((1, 2)).clamp_min(1e-6)
    x = (masks.sum(1) * ticks).sum(-1) / weight
    y = -(masks.sum(2) * ticks).sum(-1) / weight
    local = torch.stack([x, y, -torch.ones_like(x)], -1)
    way = torch.nn.functional.normalize(
        torch.einsum("vij,vj->vi", cameras_to_world[:, :3, :3], local), dim=-1
    ).double()
    origins = cameras_to_world[:, :3, 3].double()
    # The sum over rays of the squared distances to them is least where its gradient is 0.
    across = torch.eye(3, dtype=torch.float64) - way[:, :, None] * way[:, None, :]
    total = across.sum(0) + 1e-9 * torch.eye(3, dtype=torch.float64)
    return torch.linalg.solve(total, (across @ origins[..., None]).sum(0)[:, 0]).float()


def _cut_out(posed: PosedImage) -> PosedImage:
    if has_meaningful_alpha(posed.image):
        return posed
    try:
        return replace(posed, image=cut_out(posed.image).image)
    except ImageError as error:
        raise error.within(posed.name) from error
