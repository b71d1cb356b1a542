"""Where rays are sampled, and what each sample weighs.

N rays, each cut into S intervals with edges ``[N, S + 1]``; distances are world units along unit
directions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cube_spans(origins: Tensor, directions: Tensor, half_extent: float) -> tuple[Tensor, Tensor]:
    """Tell where rays ``[N, 3]`` enter and leave the cube (Kay and Kajiya 1986), each ``[N]``.

    Nothing behind an origin counts. A ray that misses the cube has both where it comes nearest the
    world's origin.
    """
    # A ray that runs along a face stays within that pair of planes or outside it.
    slopes = torch.where(directions.abs() < 1e-12, 1e-12, directions)
    first, second = (-half_extent - origins) / slopes, (half_extent - origins) / slopes
    near = torch.minimum(first, second).amax(-1).clamp_min(0)
    far = torch.maximum(first, second).amin(-1)
    nearest = -(origins * directions).sum(-1).clamp(max=0)
    missed = far <= near
    return torch.where(missed, nearest, near), torch.where(missed, nearest, far)


def uniform_edges(near: Tensor, far: Tensor, samples: int) -> Tensor:
    """Return edges ``[N, S + 1]`` of S equal intervals between ``near`` and ``far`` ``[N]``."""
    steps = torch.linspace(0, 1, samples + 1, dtype=near.dtype, device=near.device)
    return torch.lerp(near[:, None], far[:, None], steps)


def importance_edges(
    edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return distances drawn in proportion to weights (Mildenhall et al. 2020, section 5.2).

    The density of the draw is constant within an interval; its distribution function is inverted
    at stratified places.

    Args:
        edges: ``[N, S + 1]``, ascending.
        weights: ``[N, S]`` >= 0; a ray without any is drawn from evenly.
        count: F.
        generator: None takes the middle of each stratum.

    Returns:
        ``[N, F]``, ascending, without gradient.
    """
    with torch.no_grad():
        total = weights.sum(-1, keepdim=True)
        shares = torch.where(total > 0, weights / total.clamp_min(1e-12), 1 / weights.shape[-1])
        reached = functional.pad(shares.cumsum(-1), (1, 0))
        reached = reached / reached[:, -1:]
        places = places_within(shares.new_empty(len(edges), count), generator) + torch.arange(
            count, dtype=edges.dtype, device=edges.device
        )
        places = places / count
        above = torch.searchsorted(reached, places, right=True).clamp(1, weights.shape[-1])
        low, high = reached.gather(-1, above - 1), reached.gather(-1, above)
        within = ((places - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return torch.lerp(edges.gather(-1, above - 1), edges.gather(-1, above), within)


def spread_weights(weights: Tensor) -> Tensor:
    """Return weights ``[N, S]`` that count in the neighbouring intervals too.

    Barron et al. 2021, "Mip-NeRF", equation 18, without its padding: half the sum of the larger of
    each interval and either neighbour. A surface behind the middle of an interval is first seen in
    the next one.
    """
    larger = functional.max_pool1d(functional.pad(weights, (1, 1))[:, None], 2, stride=1)[:, 0]
    return (larger[:, 1:] + larger[:, :-1]) / 2


def ray_weights(densities: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights ``[N, S]`` and optical depth ``[N]`` of intervals (Max 1995, equation 5).

    ``w_i = T_i (1 - exp(-density_i width_i))``; ``T_i`` is what passes all before.

    Args:
        densities, widths: ``[N, S]`` >= 0.
    """
    depths = densities * widths
    reached = depths.cumsum(-1)
    return torch.exp(-exclusive_cumsum(reached)) * -torch.expm1(-depths), reached[:, -1]


def exclusive_cumsum(reached: Tensor) -> Tensor:
    """Return the sum before each interval, of the sums up to each ``[N, S]``."""
    return functional.pad(reached[:, :-1], (1, 0))


def places_within(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a number in [0, 1) per element, or one half where nothing is drawn."""
    if generator is None:
        return torch.full_like(like, 0.5)
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
