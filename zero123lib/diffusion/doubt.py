"""How sure is the model of what it shows? The same views by several seeds, and how far they differ.

What the photo determines comes out alike whatever the noise; what the model invents does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion import arguments
from zero123lib.diffusion.outputs import Condition
from zero123lib.views.poses import RelativePose

if TYPE_CHECKING:
    from zero123lib.diffusion.pipeline import Zero123Pipeline


@dataclass(frozen=True, eq=False)
class DoubtfulViews:
    """Views by K seeds at N cameras.

    Attributes:
        views: ``[K, N, 3, H, W]`` in [-1, 1].
    """

    views: Tensor

    @property
    def mean(self) -> Tensor:
        """Return the mean over the seeds, ``[N, 3, H, W]``: the safest answer, the blurriest."""
        return self.views.mean(0)

    @property
    def doubt(self) -> Tensor:
        """Return :func:`spread` of every view, ``[N, H, W]`` in [0, 0.5]."""
        return spread((self.views + 1) / 2)

    @property
    def view_doubt(self) -> Tensor:
        """Return the doubt of every view as a whole, ``[N]``: the root of the mean square over what
        is not white in all of its seeds."""
        shown = ((1 - self.views).amax(2) > 2 * _WHITE).any(0)
        square = (self.doubt.square() * shown).sum((1, 2)) / shown.sum((1, 2)).clamp_min(1)
        return square.sqrt()


# What differs from white by less, of [0, 1], shows nothing.
_WHITE = 0.02
# From here on the spread hardly follows errors better.
_LEAST_STEPS = 4


def spread(images: Tensor) -> Tensor:
    """Compute how much images by several seeds differ: ``[..., H, W]`` in [0, 0.5].

    The standard deviation over the seeds, root mean square over the channels.

    Args:
        images: ``[K, ..., 3, H, W]`` in [0, 1].
    """
    return images.var(0, correction=0).mean(-3).sqrt()


def doubtful_views(
    pipe: Zero123Pipeline,
    condition: Condition | Sequence[Condition],
    poses: Sequence[RelativePose],
    seeds: Sequence[int],
    *,
    num_inference_steps: int | None = None,
    **options: Any,
) -> DoubtfulViews:
    """Make views by several seeds in one call.

    A seed makes the views that it makes alone.

    Args:
        seeds: at least two.
        num_inference_steps: None takes what the model recommends, and 4 at least: one step of a
            model that answers sharply in one is much the same whatever the noise.
        **options: of :meth:`~zero123lib.diffusion.pipeline.Zero123Pipeline.views`, but for what
            noise is drawn from.

    Raises:
        ArgumentError: fewer than two seeds, or another argument is out of range.
    """
    if not isinstance(seeds, Sequence) or len(seeds) < 2:
        raise ArgumentError("seeds", "a list of at least two", repr(seeds))
    arguments.check_poses(poses)
    for seed in seeds:
        arguments.check_whole("seeds", seed)
    generators = [g for seed in seeds for g in [torch.Generator().manual_seed(seed)] * len(poses)]
    if num_inference_steps is None:
        num_inference_steps = max(_LEAST_STEPS, pipe.recommended()[0])
    options |= {"num_inference_steps": num_inference_steps, "generator": generators}
    views = pipe.views(condition, list(poses) * len(seeds), **options)
    return DoubtfulViews(views.unflatten(0, (len(seeds), len(poses))))
