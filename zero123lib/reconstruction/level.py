"""Which density is the surface: the one at which the field looks like the picture from there.

A field that was fitted to views that disagree is soft: its density says how many of them it
satisfies. The input's silhouette is the one thing that is known, and a threshold is one number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from zero123lib.fields.volume import RadianceField, cube_spans, uniform_edges
from zero123lib.reconstruction.cameras import Shot
from zero123lib.views.cameras import camera_to_world, rays

_SIZE_PX = 96
_SAMPLES = 128
_CANDIDATES = 40
# Of the largest density: what is tried runs from this share of it to this.
_LOWEST, _HIGHEST = 0.01, 0.9
# Agreement within this much of the best counts as equal.
_EQUAL = 0.005


def silhouette_level(field: RadianceField, mask: Tensor, shot: Shot) -> float | None:
    """The density per world unit whose surface has the silhouette of the picture.

    A ray meets the surface of a level where its largest density reaches it. Of levels that do
    about equally well, the middle one, by its logarithm.

    Args:
        mask: the picture's alpha ``[S, S]`` in [0, 1].
        shot: its camera.

    Returns:
        None where the field is empty along all its rays.
    """
    most = _largest_along_rays(field, shot)
    highest = float(most.max())
    if not highest > 0:
        return None
    alpha = functional.interpolate(mask[None, None].to(most), (_SIZE_PX,) * 2, mode="area")
    wanted = alpha.reshape(-1)
    levels = torch.logspace(
        math.log10(_LOWEST * highest), math.log10(_HIGHEST * highest), _CANDIDATES
    )
    seen = (most[None] >= levels[:, None].to(most)).to(most)
    agreement = torch.minimum(seen, wanted).sum(1) / torch.maximum(seen, wanted).sum(1)
    good = (agreement >= agreement.max() - _EQUAL).nonzero()[:, 0].cpu()
    return float(levels[good].log().mean().exp())


@torch.no_grad()
def _largest_along_rays(field: RadianceField, shot: Shot) -> Tensor:
    """The largest density ``[P]`` along each ray of a picture of `_SIZE_PX` pixels."""
    camera = camera_to_world(shot.pose)
    origins, directions = (part.reshape(-1, 3) for part in rays(camera, _SIZE_PX, shot.fov_deg))
    near, far = cube_spans(origins, directions, field.half_extent)
    edges = uniform_edges(near, far, _SAMPLES)
    middles = (edges[:, 1:] + edges[:, :-1]) / 2
    parts = [
        field.density(o[:, None] + m[..., None] * d[:, None]).amax(-1)
        for o, d, m in zip(
            origins.split(2048), directions.split(2048), middles.split(2048), strict=True
        )
    ]
    return torch.cat(parts)
