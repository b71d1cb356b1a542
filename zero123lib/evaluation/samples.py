"""Held-out samples of procedural scenes: an input view, and true views from other cameras.

Always the same ones. Object seeds count up from ``HELD_OUT_SEED``; their kinds are drawn from all,
or from those asked for. The cameras of an object follow from its own seed alone: radius U(1.5,
2.2), any azimuth, elevation -10 to 60 degrees, uniform in its sine. Cameras from which the object
covers at least half of less than 15 % of the pixels are passed over; an object that has too few
others among the first eight times as many gives way to the next seed. So sample number i does not
depend on how many there are.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

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
from zero123lib.views.poses import Pose, elevation_on_sphere_deg

ELEVATIONS_DEG = (-10.0, 60.0)
RADII = (1.5, 2.2)
LEAST_COVERAGE = 0.15
DRAWS_PER_VIEW = 8
# Cameras drawn and rendered at once, whatever number of views is asked for.
_ROUND = 8
_MEAN_SCENES = 256


@dataclass(frozen=True, eq=False)
class Sample:
    """One held-out object: an input view, target cameras and the true views.

    Attributes:
        index: 0 for the first object.
        name: of the object, for captions: a scene's kind, or a folder's name.
        seed: of the noise that a model starts from; of a scene, the scene's own.
        condition: ``[3, S, S]`` in [-1, 1] on white.
        condition_pose: its camera.
        target_poses: N cameras.
        targets: ``[N, 3, S, S]`` in [0, 1] on white.
        silhouettes: ``[N, S, S]``, where the target shows any of the object.
        inside: ``[N, S, S]``, where the input or the target shows any of the object.
        mean: the mean of training images ``[3, S, S]`` in [0, 1], a baseline.
    """

    index: int
    name: str
    seed: int
    condition: Tensor
    condition_pose: Pose
    target_poses: tuple[Pose, ...]
    targets: Tensor
    silhouettes: Tensor
    inside: Tensor
    mean: Tensor

    @classmethod
    def of_views(cls, images: Tensor, alpha: Tensor, poses: Sequence[Pose], **others: Any) -> Self:
        """Make a sample of views: the first is the input, the others are targets.

        Args:
            images: ``[1 + N, 3, S, S]`` in [0, 1] on white.
            alpha: ``[1 + N, S, S]``, above 0 where the object is.
            poses: of each.
            **others: attributes that do not follow from these.
        """
        seen = alpha > 0
        return cls(
            condition=images[0] * 2 - 1,
            condition_pose=poses[0],
            target_poses=tuple(poses[1:]),
            targets=images[1:],
            silhouettes=seen[1:],
            inside=seen[1:] | seen[0],
            **others,
        )

    @property
    def object(self) -> object:
        """Return what tells the object from others."""
        return self.name

    def fingerprint(self) -> str:
        """Compute a digest of the object, the cameras, the input and the true views."""
        asked = (self.object, self.condition_pose, self.target_poses)
        digest = hashlib.sha256(repr(asked).encode())
        for tensor in (self.condition, self.targets):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class SceneSample(Sample):
    """A sample of a scene, which can be rendered from any other camera too.

    Attributes:
        scene: the object.
        kinds: that it was drawn from.
    """

    scene: Scene
    kinds: frozenset[str]

    @property
    def object(self) -> Scene:
        """Return the scene itself, for two of one kind differ."""
        return self.scene

    @property
    def replaced(self) -> int:
        """Tell how many scenes have given way up to this one."""
        return self.seed - HELD_OUT_SEED - self.index


def scene_samples(
    objects: int, views: int, size: int, kinds: Collection[str] | None = None
) -> Iterator[SceneSample]:
    """Yield held-out scenes, always the same; a prefix of those for more objects.

    Args:
        objects: how many, at least 1.
        views: targets per object, at least 1.
        size: S, pixels.
        kinds: of objects, names in ``zero123lib.scenes.KINDS``; None for all.

    Raises:
        ValueError: for a number below 1, or an unknown kind.
    """
    check_counts(objects=objects, views=views, size=size)
    if kinds is not None:
        check_kinds(kinds)
    chosen = frozenset(KINDS if kinds is None else kinds)
    return _samples(objects, views, size, chosen)


def check_counts(**counts: int) -> None:
    """Raise ArgumentError where a number of something is below 1."""
    for name, value in counts.items():
        if value < 1:
            raise ArgumentError(name, "at least 1", repr(value))


def _samples(objects: int, views: int, size: int, kinds: frozenset[str]) -> Iterator[SceneSample]:
    seed = HELD_OUT_SEED
    for index in range(objects):
        sample = None
        while sample is None:
            sample = _sample(index, random_scene(seed, kinds=kinds), seed, views, size, kinds)
            seed += 1
        yield sample


def _sample(
    index: int, scene: Scene, seed: int, views: int, size: int, kinds: frozenset[str]
) -> SceneSample | None:
    """Make a scene's sample, or None where too few cameras show enough of it."""
    random = torch.Generator().manual_seed(seed)
    poses: list[Pose] = []
    kept: list[Tensor] = []
    for _ in range(math.ceil((views + 1) * DRAWS_PER_VIEW / _ROUND)):
        drawn = [held_out_camera(random) for _ in range(_ROUND)]
        rgba = render(scene, drawn, size).rgba
        for pose, image in zip(drawn, rgba, strict=True):
            if (image[..., 3] >= 0.5).double().mean() >= LEAST_COVERAGE:
                poses.append(pose)
                kept.append(image)
        if len(kept) > views:
            break
    else:
        return None
    rgba, cameras = torch.stack(kept[: views + 1]), poses[: views + 1]
    rgb, alpha = rgba[..., :3], rgba[..., 3:]
    images = (rgb * alpha + 1 - alpha).permute(0, 3, 1, 2).contiguous()
    mean = mean_training_image(size, kinds)
    return SceneSample.of_views(
        images,
        alpha[..., 0],
        cameras,
        index=index,
        name=scene.name,
        seed=seed,
        mean=mean,
        scene=scene,
        kinds=kinds,
    )


def held_out_camera(random: torch.Generator) -> Pose:
    """Draw a camera as this protocol has them, see the top of the module."""
    u, v, w = torch.rand(3, generator=random, dtype=torch.float64).tolist()
    elevation_deg = elevation_on_sphere_deg(u, ELEVATIONS_DEG)
    return Pose(elevation_deg, 360 * v - 180, RADII[0] + (RADII[1] - RADII[0]) * w)


def mean_training_image(size: int, kinds: Collection[str] | None = None) -> Tensor:
    """Compute the mean ``[3, S, S]`` in [0, 1] of one training view of each of 256 scenes.

    Args:
        size: S, pixels.
        kinds: of objects, names in ``zero123lib.scenes.KINDS``; None for all.
    """
    return _mean_image(size, frozenset(KINDS if kinds is None else kinds))


@lru_cache(maxsize=4)
def _mean_image(size: int, kinds: frozenset[str]) -> Tensor:
    random = torch.Generator().manual_seed(0)
    total = torch.zeros(3, size, size)
    for seed in range(_MEAN_SCENES):
        pose = random_camera(random)
        rgba = render(random_scene(seed, kinds=kinds), [pose], size, background="white").rgba
        total += rgba[0, ..., :3].permute(2, 0, 1)
    return total / _MEAN_SCENES
