"""Does an image look like what a model was trained on? An honest, cheap measure.

A model that has only seen drawn objects answers a photo with a guess. What tells the two apart is
neither content nor colour but grain: somewhere on a drawn object, if not everywhere, its surface
is smooth to the last bit, on a photographed one nowhere. The measure needs no network, so that a
better or worse model does not change it. It is blind to everything else: a smooth drawing of
something that the model has never seen passes as near, and a drawn object that is thin or
textured all over, such as a bench of slats, may pass as far.

Images are ``[B, 3, H, W]`` in [-1, 1], composited on white, framed as for the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Brighter than this in all channels, in levels of 8 bits, counts as the white background.
_WHITE = 252.0
# The object's outline is an edge in every image: so many pixels along it do not count.
_RIM_PX = 3
# Of the windows of so many pixels, the calmest share decides.
_WINDOW_PX, _CALMEST = 3, 0.05
# Of drawn images that count as near: a threshold that took in the thinnest and most textured too
# would take in photographs.
COVERAGE = 0.88


@dataclass(frozen=True)
class DomainStatistics:
    """What is known of a model's training images.

    Attributes:
        grain_threshold: most of them have a :func:`grain` up to this.
    """

    grain_threshold: float

    def to_config(self) -> dict[str, Any]:
        """Plain JSON values, for the pipeline's config."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DomainStatistics:
        """Undo :meth:`to_config`."""
        return cls(**config)


def grain(images: Tensor) -> Tensor:
    """Measure how rough the calmest places of an object are, in levels of 8 bits: ``[B]``.

    The 5 % quantile, over windows of 3 x 3 pixels inside the object, of the window's mean absolute
    Laplacian, in each pixel the largest of the channels. Rounding alone makes about 1 of a linear
    ramp. An object too thin to have an inside has grain 0.

    Args:
        images: ``[B, 3, H, W]`` in [-1, 1].
    """
    levels = ((images.float() + 1) * 127.5).round()
    covered = (levels < _WHITE).any(1, keepdim=True).float()
    reach = 2 * _RIM_PX + _WINDOW_PX
    inside = -F.max_pool2d(-F.pad(covered, (reach // 2,) * 4), reach, 1) > 0
    kernel = levels.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    each = F.conv2d(F.pad(levels, (1,) * 4, mode="replicate"), kernel.expand(3, 1, 3, 3), groups=3)
    rough = F.avg_pool2d(each.abs().amax(1, keepdim=True), _WINDOW_PX, 1, _WINDOW_PX // 2)
    calmest = [
        values[mask].quantile(_CALMEST) if mask.any() else values.new_zeros(())
        for values, mask in zip(rough, inside, strict=True)
    ]
    return torch.stack(calmest)


def fit_domain(images: Tensor, coverage: float = COVERAGE) -> DomainStatistics:
    """Return statistics of training images ``[B, 3, H, W]``, B of some hundreds.

    Args:
        images: framed in every way that users' images will be.
        coverage: the share of them that counts as near, in (0, 1). At 128 px 0.88 parts drawn
            images from photographs; at 64 px nothing does.

    Raises:
        ValueError: too few images for such a share to mean anything.
    """
    needed = round(1 / (1 - coverage))
    if len(images) < needed:
        raise ValueError(f"images: expected at least {needed}, got {len(images)}")
    return DomainStatistics(float(grain(images).quantile(coverage)))


def domain_distance(statistics: DomainStatistics, images: Tensor) -> Tensor:
    """Measure how far images ``[B, 3, H, W]`` are from the training images: ``[B]``.

    Their grain over the threshold: up to 1 is near, more is far.
    """
    return grain(images) / max(statistics.grain_threshold, 1e-3)
