"""Pairs made of pairs: framed, seen in a mirror, in other colours, by the input's own camera.

What is done to a pair follows from the seed and the pair's number alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123lib.views.framing import dark_boxes
from zero123lib.views.poses import Encoding

from .batches import Batch, PairSource
from .drawing import AUGMENT, generator

# Ranges of what another colouring multiplies: the distance from white, and from grey.
_STRENGTH, _SATURATION = (0.7, 1.15), (0.4, 1.3)
# What is so much darker than white is the object, of [0, 1].
_DARKNESS = 0.04


@dataclass(frozen=True)
class Augmentation:
    """Shares of the pairs, in [0, 1], that something is done to, each drawn for itself.

    Attributes:
        same_camera: the target is the condition itself: a model that is asked for the input's own
            camera should give the input back.
        mirrored: both images are mirrored left to right, and the azimuth changes its sign.
        recolored: both images get the same other hue, saturation and strength; white and grey keep
            their hue.
        centered: the condition is moved, by whole pixels, until its object is in the middle, where
            photos of users are framed; a camera that looks at the origin leaves it a little aside.
    """

    same_camera: float = 0.0
    mirrored: float = 0.0
    recolored: float = 0.0
    centered: float = 0.0


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
        drawn = [generator(self.seed, AUGMENT, number).random(7) for number in numbers]
        draws = torch.from_numpy(np.stack(drawn)).float()
        shares = (self.shares.same_camera, self.shares.mirrored, self.shares.recolored)
        same, mirrored, recolored = (draws[:, :3] < torch.tensor(shares)).unbind(1)
        moved = draws[:, 6] < self.shares.centered
        condition = batch["condition"].clone()
        condition[moved] = centered(condition[moved])
        target = torch.where(_columns(same), condition, batch["target"])
        colors = color_matrices(*draws[:, 3:6].unbind(1))
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


def centered(images: Tensor) -> Tensor:
    """Move what is not white to the middle, ``[B, 3, S, S]`` in [-1, 1], by whole pixels.

    What comes in at an edge is white; an image that is white all over stays.
    """
    size, found = images.shape[-1], torch.ones_like(images)
    middles = dark_boxes(images, _DARKNESS)[:, :2] * size
    for image, moved, (x, y) in zip(
        images, found, (size / 2 - middles).round().tolist(), strict=True
    ):
        (to_x, from_x), (to_y, from_y) = _spans(int(x), size), _spans(int(y), size)
        moved[:, to_y, to_x] = image[:, from_y, from_x]
    return found


def _spans(shift: int, size: int) -> tuple[slice, slice]:
    """Return along one axis where pixels come to, and where they come from."""
    kept = size - abs(shift)
    to, come = max(shift, 0), max(-shift, 0)
    return slice(to, to + kept), slice(come, come + kept)


def _seen(images: Tensor, mirrored: Tensor, recolored: Tensor, colors: Tensor) -> Tensor:
    """Mirror some images ``[B, 3, H, W]`` in [-1, 1], and recolour some."""
    images = torch.where(_columns(mirrored), images.flip(-1), images)
    changed = 1 - torch.einsum("bij,bjhw->bihw", colors, 1 - images)
    return torch.where(_columns(recolored), changed.clamp(-1, 1), images)


def _columns(chosen: Tensor) -> Tensor:
    return chosen[:, None, None, None]
