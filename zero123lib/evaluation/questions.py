"""What is asked: held-out objects whose other sides are known, always the same ones.

Object seeds count up from ``HELD_OUT_SEED``; their kinds are drawn from all, or from those asked
for. The cameras of an object follow from its own seed alone: radius U(1.5, 2.2), any azimuth,
elevation -10 to 60 degrees, uniform in its sine. Cameras from which the object covers at least half
of less than 15 % of the pixels are passed over; an object that has too few others among the first
eight times as many gives way to the next seed. So question number i does not depend on how many are
asked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.scenes import (
    HELD_OUT_SEED,
    KINDS,
    Scene,
    check_kinds,
    random_camera,
    random_scene,
    render,
)
from zero123lib.views.poses import Pose

ELEVATIONS_DEG = (-10.0, 60.0)
RADII = (1.5, 2.2)
LEAST_COVERAGE = 0.15
DRAWS_PER_VIEW = 8
# Cameras drawn and rendered at once, whatever number of views is asked for.
_ROUND = 8
_MEAN_SCENES = 256


@dataclass(frozen=True, eq=False)
class Question:
    """One held-out object: an input view, target cameras and the true answers.

    Attributes:
        index: 0 for the first object.
        scene: the object; its seed is ``HELD_OUT_SEED`` plus ``index`` plus the number of objects
            that have given way so far.
        condition: ``[3, S, S]`` in [-1, 1] on white.
        condition_pose: its camera.
        target_poses: N cameras.
        targets: ``[N, 3, S, S]`` in [0, 1] on white.
        silhouettes: ``[N, S, S]``, where the target shows any of the object.
        inside: ``[N, S, S]``, where the input or the target shows any of the object.
        kinds: that the object's was drawn from.
    """

    index: int
    scene: Scene
    condition: Tensor
    condition_pose: Pose
    target_poses: tuple[Pose, ...]
    targets: Tensor
    silhouettes: Tensor
    inside: Tensor
    kinds: frozenset[str]

    @property
    def seed(self) -> int:
        """Of the object."""
        assert self.scene.seed is not None, "random_scene names its seed"
        return self.scene.seed

    @property
    def replaced(self) -> int:
        """How many objects have given way up to this one."""
        return self.seed - HELD_OUT_SEED - self.index

    def fingerprint(self) -> str:
        """A digest of the object, the cameras, the input and the true answers."""
        asked = (self.scene, self.condition_pose, self.target_poses)
        digest = hashlib.sha256(repr(asked).encode())
        for tensor in (self.condition, self.targets):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def held_out_questions(
    objects: int, views: int, size: int, kinds: Collection[str] | None = None
) -> Iterator[Question]:
    """Always the same questions; a prefix of those for more objects.

    Args:
        objects: how many, at least 1.
        views: targets per object, at least 1.
        size: S, pixels.
        kinds: of objects, names in ``zero123lib.scenes.KINDS``; None for all.

    Raises:
        ValueError: for a number below 1, or an unknown kind.
    """
    for name, value in (("objects", objects), ("views", views), ("size", size)):
        if value < 1:
            raise ArgumentError(name, "at least 1", str(value))
    if kinds is not None:
        check_kinds(kinds)
    chosen = frozenset(KINDS if kinds is None else kinds)
    return _questions(objects, views, size, chosen)


def _questions(objects: int, views: int, size: int, kinds: frozenset[str]) -> Iterator[Question]:
    seed = HELD_OUT_SEED
    for index in range(objects):
        question = None
        while question is None:
            question = _question(index, random_scene(seed, kinds=kinds), seed, views, size, kinds)
            seed += 1
        yield question


def _question(
    index: int, scene: Scene, seed: int, views: int, size: int, kinds: frozenset[str]
) -> Question | None:
    """The question about a scene, or None where too few cameras show enough of it."""
    random = torch.Generator().manual_seed(seed)
    poses: list[Pose] = []
    kept: list[Tensor] = []
    for _ in range(math.ceil((views + 1) * DRAWS_PER_VIEW / _ROUND)):
        drawn = [held_out_camera(random) for _ in range(_ROUND)]
        rgba = render(scene, drawn, size).rgba
        for pose, picture in zip(drawn, rgba, strict=True):
            if (picture[..., 3] >= 0.5).double().mean() >= LEAST_COVERAGE:
                poses.append(pose)
                kept.append(picture)
        if len(kept) > views:
            break
    else:
        return None
    rgba = torch.stack(kept[: views + 1])
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    pictures = (rgb * alpha + 1 - alpha).permute(0, 3, 1, 2).contiguous()
    alpha = alpha[..., 0]
    return Question(
        index,
        scene,
        pictures[0] * 2 - 1,
        poses[0],
        tuple(poses[1 : views + 1]),
        pictures[1:],
        alpha[1:] > 0,
        (alpha[1:] > 0) | (alpha[0] > 0),
        kinds,
    )


def held_out_camera(random: torch.Generator) -> Pose:
    """A camera as this protocol has them, see the top of the module."""
    u, v, w = torch.rand(3, generator=random, dtype=torch.float64).tolist()
    low, high = (math.sin(math.radians(value)) for value in ELEVATIONS_DEG)
    elevation_deg = math.degrees(math.asin(low + (high - low) * u))
    return Pose(elevation_deg, 360 * v - 180, RADII[0] + (RADII[1] - RADII[0]) * w)


def mean_training_picture(size: int, kinds: Collection[str] | None = None) -> Tensor:
    """Mean ``[3, S, S]`` in [0, 1] of one training view of each of 256 scenes.

    Args:
        size: S, pixels.
        kinds: of objects, names in ``zero123lib.scenes.KINDS``; None for all.
    """
    return _mean_picture(size, frozenset(KINDS if kinds is None else kinds))


@lru_cache(maxsize=4)
def _mean_picture(size: int, kinds: frozenset[str]) -> Tensor:
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(3, size, size)
    for seed in range(_MEAN_SCENES):
        pose = random_camera(random)
        rgba = render(random_scene(seed, kinds=kinds), [pose], size, background="white").rgba
        total += rgba[0, ..., :3].permute(2, 0, 1)
    return total / _MEAN_SCENES
