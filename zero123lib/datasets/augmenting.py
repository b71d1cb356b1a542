"""Pairs made of pairs: seen in a mirror, in other colours, by the input's own camera.

What is done to a pair follows from the seed and the pair's number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123lib.views.poses import Encoding

from .batches import Batch, PairSource
from .drawing import AUGMENT, generator

# Ranges of what another colouring multiplies: the distance from white, and from grey.
_STRENGTH, _SATURATION = (0.7, 1.15), (0.4, 1.3)


@dataclass(frozen=True)
class Augmentation:
    """Shares of the pairs, in [0, 1], that something is done to, each drawn for itself.

    Attributes:
        same_camera: the target is the condition itself: a model that is asked for the input's own
            camera should give the input back.
        mirrored: both images are mirrored left to right, and the azimuth changes its sign.
        recolored: both images get the same other hue, saturation and strength; white and grey keep
            their hue.
    """

    same_camera: float = 0.0
    mirrored: float = 0.0
    recolored: float = 0.0


class AugmentedPairs:
    """A source whose pairs are augmented, a `PairSource`.

    Args:
        source: of the pairs.
        shares: of what is done.
        seed: of what is drawn.
        encoding: of the source's poses.
    """

    def __init__(
        self, source: PairSource, shares: Augmentation, seed: int, encoding: Encoding
    ) -> None:
        self.source, self.shares, self.seed, self.encoding = source, shares, seed, encoding

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what the source could not use."""
        return self.source.skipped

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches; see `PairSource.batches`."""
        for index, batch in enumerate(self.source.batches(first, step, batch_size)):
            yield self._augmented(batch, (first + index * step) * batch_size)

    def _augmented(self, batch: Batch, first_pair: int) -> Batch:
        numbers = range(first_pair, first_pair + len(batch["pose"]))
        drawn = [generator(self.seed, AUGMENT, number).random(6) for number in numbers]
        draws = torch.from_numpy(np.stack(drawn)).float()
        shares = (self.shares.same_camera, self.shares.mirrored, self.shares.recolored)
        same, mirrored, recolored = (draws[:, :3] < torch.tensor(shares)).unbind(1)
        condition, target = (
            batch["condition"],
            torch.where(_columns(same), batch["condition"], batch["target"]),
        )
        colors = color_matrices(*draws[:, 3:].unbind(1))
        return {
            "condition": _seen(condition, mirrored, recolored, colors),
            "target": _seen(target, mirrored, recolored, colors),
            "pose": self._pose(batch["pose"], same, mirrored),
            "camera": _camera(batch["camera"], same, mirrored),
        }

    def _pose(self, pose: Tensor, same: Tensor, mirrored: Tensor) -> Tensor:
        """Encoded poses ``[B, 4]`` of the augmented pairs.

        The last entry is the radius' change, or the condition's elevation, which no augmentation
        changes.
        """
        pose = pose.clone()
        pose[same, :3] = pose.new_tensor([0.0, 0.0, 1.0])
        if self.encoding == "zero123":
            pose[same, 3] = 0.0
        pose[mirrored, 1] *= -1
        return pose


def _camera(camera: Tensor, same: Tensor, mirrored: Tensor) -> Tensor:
    """Cameras ``[B, 4]`` of the augmented pairs; the condition's elevation stays."""
    camera = camera.clone()
    camera[same, :3] = 0.0
    camera[mirrored, 1] *= -1
    return camera


def color_matrices(hue: Tensor, saturation: Tensor, strength: Tensor) -> Tensor:
    """Give the matrices ``[B, 3, 3]`` that recolour distances from white.

    A turn about the grey axis by ``2 pi hue``, then a scaling away from that axis, then one of all.
    Being linear, they keep the blend with white at an object's rim exact.

    Args:
        hue, saturation, strength: ``[B]``, each in [0, 1).
    """
    grey = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    angle = (2 * math.pi * hue)[:, None, None]
    turned = angle.cos() * (torch.eye(3) - grey) + angle.sin() * across
    low, high = _SATURATION
    turned = turned * (low + (high - low) * saturation)[:, None, None]
    low, high = _STRENGTH
    return (grey + turned) * (low + (high - low) * strength)[:, None, None]


def _seen(images: Tensor, mirrored: Tensor, recolored: Tensor, colors: Tensor) -> Tensor:
    """Mirror some images ``[B, 3, H, W]`` in [-1, 1], and recolour some."""
    images = torch.where(_columns(mirrored), images.flip(-1), images)
    changed = 1 - torch.einsum("bij,bjhw->bihw", colors, 1 - images)
    return torch.where(_columns(recolored), changed.clamp(-1, 1), images)


def _columns(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
