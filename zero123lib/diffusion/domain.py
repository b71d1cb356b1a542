"""Does a picture look like what a model was trained on? An honest, cheap measure.

A model that has only seen drawn objects answers a photo with a guess. What tells the two apart is
neither content nor colour but grain: between its edges a drawn surface is smooth to the last bit,
a photographed one hardly anywhere. The measure needs no network, so that a better or worse model
does not change it. It is blind to everything else: a smooth drawing of something that the model
has never seen passes as near.

Pictures are ``[B, 3, H, W]`` in [-1, 1], composited on white, framed as for the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# All in levels of 8 bits. Brighter than this in all channels counts as the white background;
_WHITE = 252.0
# a pixel is next to an edge where the Laplacian of some neighbour, or its own, reaches this;
_EDGE = 20.0
# and a smooth pixel's is at most this: rounding alone makes 2 out of a linear ramp.
_SMOOTH = 2.0
# The object's outline is an edge in every picture: so many pixels along it do not count.
_RIM_PX = 3


@dataclass(frozen=True)
class DomainStatistics:
    """What is known of a model's training pictures.

    Attributes:
        grain_threshold: nearly all of them have a :func:`grain` up to this.
    """

    grain_threshold: float

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values, for the pipeline's config."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DomainStatistics:
        """Inverse of :meth:`to_config`."""
        return cls(**config)


def grain(pictures: Tensor) -> Tensor:
    """The share of an object's calm pixels that are not smooth: ``[B]`` in [0, 1].

    Calm pixels lie inside the object, away from edges of its pattern and shape. Where there are
    none, the picture is all edges, grain 1; an object too thin to have an inside has grain 0.

    Args:
        pictures: ``[B, 3, H, W]`` in [-1, 1].
    """
    levels = ((pictures.float() + 1) * 127.5).round()
    covered = (levels < _WHITE).any(1, keepdim=True).float()
    inside = -F.max_pool2d(-covered, 2 * _RIM_PX + 1, 1, _RIM_PX)
    kernel = levels.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    each = F.conv2d(levels, kernel.expand(3, 1, 3, 3), padding=1, groups=3)
    laplacian = each.abs().amax(1, keepdim=True)
    calm = inside * (F.max_pool2d(laplacian, 3, 1, 1) < _EDGE)
    rough = calm * (laplacian > _SMOOTH)
    counts = [mask.sum((1, 2, 3)) for mask in (rough, calm, inside)]
    return torch.where(counts[1] > 0, counts[0] / counts[1].clamp_min(1), counts[2].clamp_max(1))


def fit_domain(pictures: Tensor, coverage: float = 0.99) -> DomainStatistics:
    """Statistics of training pictures ``[B, 3, H, W]``, B of some hundreds.

    Args:
        pictures: framed in every way that users' pictures will be.
        coverage: the share of them that counts as near, in (0, 1).

    Raises:
        ValueError: too few pictures for such a share to mean anything.
    """
    needed = round(1 / (1 - coverage))
    if len(pictures) < needed:
        raise ValueError(f"pictures: expected at least {needed}, got {len(pictures)}")
    return DomainStatistics(float(grain(pictures).quantile(coverage)))


def domain_distance(statistics: DomainStatistics, pictures: Tensor) -> Tensor:
    """How far pictures ``[B, 3, H, W]`` are from the training pictures: ``[B]``.

    Their grain over the threshold: up to 1 is near, more is far.
    """
    return grain(pictures) / max(statistics.grain_threshold, 1e-3)
