"""What training is fed with: numbered pairs of views, in batches that depend on nothing else.

Pair n of a source is a pure function of (seed, n); batch b of B pairs holds the pairs b * B to
(b + 1) * B - 1. So it makes no difference to the data how many processes share the work, how many
workers load it, or where a run was interrupted: process r of W takes the batches k * W + r.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.views.images import MIN_SIDE_PX
from zero123lib.views.poses import Encoding, Pose, RelativePose, check_encoding, encode_poses

# condition, target: float32 [B, 3, S, S] in [-1, 1], on white; pose: float32 [B, 4], encoded;
# camera: float32 [B, 4], see `pair_camera`
Batch = dict[str, Tensor]


class PairSource(Protocol):
    """Gives training pairs."""

    @property
    def skipped(self) -> Mapping[str, str]:
        """Name -> reason of what could not be used, as far as this process has met it."""
        ...

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        """Yield the batches number first, first + step, first + 2 * step, ... without end.

        Args:
            first: at least 0.
            step: at least 1.
            batch_size: pairs per batch, at least 1.

        Raises:
            ValueError: an argument is out of range, or nothing usable is left.
        """
        ...


@dataclass(frozen=True, eq=False)
class Pair:
    """Two views of one object.

    Attributes:
        condition, target: float32 [3, S, S] in [-1, 1], on white.
        pose: float32 [4], target minus condition, in the checkpoint's encoding.
        camera: float32 [4], the same as plain numbers, see `pair_camera`.
    """

    condition: Tensor
    target: Tensor
    pose: Tensor
    camera: Tensor


def pair_pose(condition: Pose, target: Pose, encoding: Encoding) -> Tensor:
    """Return the target's camera as seen from the condition's, encoded, float32 [4]."""
    return encode_poses([target.relative_to(condition)], encoding, condition.elevation_deg)[0]


def pair_camera(condition: Pose, target: Pose) -> Tensor:
    """Return the target's camera as seen from the condition's as plain numbers, float32 [4]: how
    far up, degrees, how far round, degrees, how much farther; and the condition's own elevation,
    degrees."""
    turn = target.relative_to(condition)
    numbers = (turn.elevation_deg, turn.azimuth_deg, turn.radius, condition.elevation_deg)
    return torch.tensor(numbers, dtype=torch.float32)


def camera_of(batch: Batch, index: int) -> tuple[RelativePose, float]:
    """Return the camera of a batch's pair, and its condition's elevation in degrees."""
    *turn, elevation_deg = batch["camera"][index].tolist()
    return RelativePose(*turn), elevation_deg


def collate(pairs: Sequence[Pair]) -> Batch:
    """Make one batch of at least one pair."""
    return {
        "condition": torch.stack([pair.condition for pair in pairs]),
        "target": torch.stack([pair.target for pair in pairs]),
        "pose": torch.stack([pair.pose for pair in pairs]),
        "camera": torch.stack([pair.camera for pair in pairs]),
    }


def check_whole(name: str, value: Any, low: int) -> int:
    """Return the value as int, where it is a whole number of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ArgumentError(name, f"a whole number of at least {low}", repr(value))
    return value


def check_numbers(first: int, step: int, batch_size: int) -> None:
    """Raise ValueError where the arguments of `PairSource.batches` are out of range."""
    check_whole("first", first, 0)
    check_whole("step", step, 1)
    check_whole("batch_size", batch_size, 1)


def check_source(size: int, encoding: str, seed: int) -> None:
    """Raise ValueError where what every source is made with is out of range."""
    check_whole("size", size, MIN_SIDE_PX)
    check_whole("seed", seed, 0)
    check_encoding(encoding)
