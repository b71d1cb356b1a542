"""Does a model know what an image shows? Asked for the input's own view, it tells itself.

There the answer is at hand: a model that cannot draw what it is shown, from where it is shown, will
not do better from elsewhere. The distance is LPIPS (Zhang et al. 2018) between the image and the
model's view from the image's own camera, in one step without guidance. It is not blind to
content as statistics of pixels are, and it says nothing of sides that nobody has seen: an object
with a surprise on its back passes as near.

Images are ``[B, 3, H, W]`` in [-1, 1], composited on white, framed as for the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.lpips import lpips_alex

# Of held-out images that count as near. What is beyond is drawn worst, known or not.
COVERAGE = 0.9


@dataclass(frozen=True)
class DomainStatistics:
    """What is known of a model's answers to images of its own world.

    Attributes:
        own_view_lpips: for most of them, :func:`own_view_distance` is at most this.
    """

    own_view_lpips: float

    def to_config(self) -> dict[str, Any]:
        """Return plain JSON values, for the pipeline's config."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DomainStatistics:
        """Undo :meth:`to_config`."""
        return cls(**config)


@torch.no_grad()
def own_view_distance(views: Tensor, images: Tensor) -> Tensor:
    """Compute LPIPS ``[B]`` between images and a model's views from their own cameras.

    Args:
        views, images: ``[B, 3, H, W]`` in [-1, 1].
    """
    images = images.to(views)
    return lpips_alex(views.device)((views + 1) / 2, (images + 1) / 2)


def fit_domain(distances: Tensor, coverage: float = COVERAGE) -> DomainStatistics:
    """Say what is near, from the distances ``[B]`` of images of the model's world.

    Args:
        distances: of :func:`own_view_distance`, of images that training has not seen.
        coverage: the share of them that counts as near, in (0, 1).

    Raises:
        ArgumentError: too few for such a share to mean anything.
    """
    needed = round(1 / (1 - coverage))
    if len(distances) < needed:
        raise ArgumentError("distances", f"at least {needed}", str(len(distances)))
    return DomainStatistics(float(distances.quantile(coverage)))
