"""Surface patterns: how far, in [0, 1], each canonical point goes to a part's second colour.

All are functions of the point alone, so they run on unbroken across the edges of a solid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

Pattern = Literal[
    "plain",
    "stripes",  # alternating slabs across the canonical z axis
    "sectors",  # alternating slabs across the canonical x axis
    "checks",  # alternating cells along all three axes
    "dots",  # balls on a lattice
    "two-tone",  # one colour below the canonical equator, one above
    "front-back",  # one colour where canonical x is negative, one where it is positive
    "left-right",  # the same along canonical y
    "fade",  # linear from bottom to top
    "wood",  # soft rings about a slanted axis: grain on the faces of a board
    "planks",  # dark joints across the canonical y axis, each board a little different
    "bricks",  # light joints around shifted stones, rows along z
    "tiles",  # rows along z, each darker towards its lower edge
    "spots",  # irregular islands, as on a cow
    "patches",  # large islands parted by thin lines, as on a giraffe
    "zebra",  # wavy slabs across the canonical x axis
    "knit",  # fine zigzags in rows along z
    "marble",  # thin soft veins
]

_PHASE = 0.5  # keeps the canonical faces, at +-1, away from the edges of a cell


def blend(pattern: Pattern, frequency: float, points: Tensor) -> Tensor:
    """Return the share ``[M]`` of the second colour at canonical points ``[M, 3]``."""
    return _BLENDS[pattern](points, frequency)


def _cells(p: Tensor, axis: int, frequency: float) -> Tensor:
    return (p[:, axis] * frequency + _PHASE).floor() % 2


def _checks(p: Tensor, f: float) -> Tensor:
    return (p * f + _PHASE).floor().sum(-1) % 2


def _dots(p: Tensor, f: float) -> Tensor:
    return ((p * f - (p * f).round()).norm(dim=-1) < 0.34).to(p)


def _wood(p: Tensor, f: float) -> Tensor:
    x, y, z = p.unbind(-1)
    ring = ((y + 0.3 * x + 1.5).square() + (z + 0.15 * x - 0.4).square()).sqrt()
    return 0.5 + 0.5 * torch.sin(4 * f * ring + torch.sin(3 * x))


def _planks(p: Tensor, f: float) -> Tensor:
    u = p[:, 1] * f + _PHASE
    board = u.floor()
    return torch.where(u - board < 0.14, 1.0, 0.35 * (board * 0.618) % 0.35)


def _bricks(p: Tensor, f: float) -> Tensor:
    row = (p[:, 2] * 2 * f + _PHASE).floor()
    along = (p[:, 0] + p[:, 1]) * f + 0.5 * row + 0.25
    up = p[:, 2] * 2 * f + _PHASE - row
    return ((up < 0.2) | (along - along.floor() < 0.1)).to(p)


def _tiles(p: Tensor, f: float) -> Tensor:
    u = p[:, 2] * 2 * f + _PHASE
    return (1 - (u - u.floor())).square()


def _waves(p: Tensor, f: float) -> Tensor:
    x, y, z = (p * (2 * f)).unbind(-1)
    return torch.sin(x + 1.3 * z) * torch.sin(y - 0.7 * x + 1) + torch.sin(z + 0.6 * y - 0.5)


def _spots(p: Tensor, f: float) -> Tensor:
    return (_waves(p, f) > 0.45).to(p)


def _patches(p: Tensor, f: float) -> Tensor:
    return (_waves(p, 1.4 * f).abs() < 0.28).to(p)


def _zebra(p: Tensor, f: float) -> Tensor:
    return (torch.sin(5 * f * p[:, 0] + torch.sin(3 * p[:, 2])) > 0.2).to(p)


def _knit(p: Tensor, f: float) -> Tensor:
    zigzag = (8 * (p[:, 0] + p[:, 1])) % 2 - 1
    return 0.5 + 0.5 * torch.sin(9 * f * p[:, 2] + 1.5 * zigzag.abs())


def _marble(p: Tensor, f: float) -> Tensor:
    x, y, z = p.unbind(-1)
    wave = torch.sin(f * (2 * z + x) + 1.5 * torch.sin(2.2 * y + x) + torch.sin(3 * x - z))
    return (1 - wave.abs()).square()


_BLENDS: dict[Pattern, Callable[[Tensor, float], Tensor]] = {
    "plain": lambda p, f: torch.zeros_like(p[:, 0]),
    "stripes": lambda p, f: _cells(p, 2, f),
    "sectors": lambda p, f: _cells(p, 0, f),
    "checks": _checks,
    "dots": _dots,
    "two-tone": lambda p, f: (p[:, 2] > 0).to(p),
    "front-back": lambda p, f: (p[:, 0] > 0).to(p),
    "left-right": lambda p, f: (p[:, 1] > 0).to(p),
    "fade": lambda p, f: ((p[:, 2] + 1) / 2).clamp(0, 1),
    "wood": _wood,
    "planks": _planks,
    "bricks": _bricks,
    "tiles": _tiles,
    "spots": _spots,
    "patches": _patches,
    "zebra": _zebra,
    "knit": _knit,
    "marble": _marble,
}
