"""From a place on the sphere to a camera: descent in the pose, several photos at once.

Cameras of n photos are relative to the first one's, which stays where it is; since relative poses
are differences of elevation, azimuth and radius, those of all pairs follow from n - 1 of them, and
every ordered pair has its say (symmetric, as iFusion has it, and for any number of photos).

Axes: S starts, n photos; cameras ``[S, n, 3]`` as in :mod:`zero123lib.inversion.losses`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.inversion.landscape import Landscape
from zero123lib.inversion.losses import Draw, Photo, draws, pose_losses

# What one unit of a descent's variables is: degrees, degrees, scene units.
_UNITS = (10.0, 10.0, 0.1)
_LEARNING_RATE = 0.4
# Training saw radii 1.5 to 2.2.
_MOST_RADIUS = 0.7
# How often the tables are gone through, photo by photo, until all agree.
_ROUNDS = 4

Pair = tuple[int, int]


def starts(tables: Mapping[Pair, Landscape], photos: int, count: int) -> Tensor:
    """Find where to start from: cameras ``[S, n, 3]`` that the landscapes of all pairs agree on.

    Each of the ``count`` deepest places of the second photo fixes the others, photo by photo, until
    nothing changes (iterated conditional modes).

    Args:
        tables: one per pair (i, j), i < j, of photo j relative to photo i.
    """
    found = []
    for second in tables[0, 1].minima(count):
        cameras = torch.zeros(photos, 3)
        cameras[1] = second
        for place in range(2, photos):
            cameras[place] = _best_place(tables, cameras[:place], place)
        for _, place in itertools.product(range(_ROUNDS), range(2, photos)):
            cameras[place] = _best_place(tables, cameras, place)
        found.append(cameras)
    return torch.stack(found)


def _best_place(tables: Mapping[Pair, Landscape], cameras: Tensor, place: int) -> Tensor:
    """Return the camera ``[3]`` of one photo that fits those of the others best."""
    places = tables[0, 1].cameras()
    total = torch.zeros(len(places))
    for other in range(len(cameras)):
        if other != place:
            pair = (min(other, place), max(other, place))
            sign = 1.0 if other < place else -1.0
            total += _looked_up(tables[pair], sign * (places - cameras[other]))
    return places[total.argmin()]


def _looked_up(table: Landscape, cameras: Tensor) -> Tensor:
    """Return losses ``[N]`` at cameras of the table's own steps; above and below it goes on."""
    elevations, azimuths = table.losses.shape
    step = table.elevations_deg[1] - table.elevations_deg[0]
    row = ((cameras[:, 0] - table.elevations_deg[0]) / step).round().long()
    column = ((cameras[:, 1] + 180.0) / (360.0 / azimuths)).round().long() % azimuths
    return table.losses[row.clamp(0, elevations - 1), column]


def refined(
    pipe: Zero123Pipeline,
    photos: Sequence[Photo],
    begin: Tensor,
    *,
    elevation_deg: float,
    bounds_deg: tuple[float, float],
    steps: int,
    timesteps: tuple[int, int],
    generator: torch.Generator,
    max_batch_size: int,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Descend from each start by Adam; fresh noise at each step, at ever lower timesteps.

    Args:
        begin: ``[S, n, 3]``.
        elevation_deg: of the first camera, for models that are conditioned on it.
        bounds_deg: of elevations, relative to the first camera's.
        timesteps: the first step's and the last one's.
        on_step: told of each step and of how many there are.

    Returns:
        ``[S, n, 3]``.
    """
    units, place = torch.tensor(_UNITS), torch.tensor([elevation_deg, 0.0, 0.0])
    free = (begin[:, 1:] / units).clone().requires_grad_()
    optimizer = torch.optim.Adam([free], lr=_LEARNING_RATE)
    for step in range(steps):
        share = step / max(steps - 1, 1)
        rate = _LEARNING_RATE * max(0.1, math.cos(share * math.pi / 2))
        optimizer.param_groups[0]["lr"] = rate
        timestep = round(timesteps[0] + share * (timesteps[1] - timesteps[0]))
        noises = draws(pipe, [timestep], generator)
        cameras = torch.cat([torch.zeros_like(free[:, :1]), free * units], 1)
        loss = total_losses(pipe, photos, cameras + place, noises, max_batch_size).sum()
        (free.grad,) = torch.autograd.grad(loss, [free])
        optimizer.step()
        with torch.no_grad():
            free[..., 0].clamp_(bounds_deg[0] / _UNITS[0], bounds_deg[1] / _UNITS[0])
            free[..., 2].clamp_(-_MOST_RADIUS / _UNITS[2], _MOST_RADIUS / _UNITS[2])
        if on_step is not None:
            on_step(step + 1, steps)
    return torch.cat([torch.zeros_like(free[:, :1]), free * units], 1).detach()


def total_losses(
    pipe: Zero123Pipeline,
    photos: Sequence[Photo],
    cameras: Tensor,
    noises: Sequence[Draw],
    max_batch_size: int,
) -> Tensor:
    """Compute the mean loss ``[S]`` over all ordered pairs of photos, of cameras ``[S, n, 3]``."""
    pairs = list(itertools.permutations(range(len(photos)), 2))
    return torch.stack(
        [
            pose_losses(
                pipe, photos[i], photos[j], cameras[:, i], cameras[:, j], noises, max_batch_size
            )
            for i, j in pairs
        ]
    ).mean(0)
