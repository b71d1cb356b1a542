"""Pairs of views of procedural objects, rendered as training goes on.

Rendering an object costs more than training on a pair, so each object's views serve many pairs.
Pair n takes an object from a window that slides on by one object every ``pairs_per_scene`` pairs
and holds ``shuffle_buffer`` of them; the window starts out smaller, so that a run starts soon.

Its objects stand in shards, and some pairs in a row are of one shard's objects: processes and
workers that take turns batch by batch then meet different objects, and none renders what another
does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from zero123lib.datasets.batches import (
    Batch,
    Pair,
    check_numbers,
    check_source,
    collate,
    pair_camera,
    pair_pose,
)
from zero123lib.scenes import HELD_OUT_SEED, random_camera, random_scene, render
from zero123lib.training.data_config import ScenesConfig
from zero123lib.views.eight_bits import to_uint8
from zero123lib.views.poses import Encoding, Pose

# What a number is drawn for; see zero123lib.datasets.drawing.
_CAMERAS, _PAIR = 8, 9
# In the window before the first pair.
_FIRST_SCENES = 32
# Held-out objects of validation begin here, far behind those that evaluation asks about.
_VALIDATION_SEED = HELD_OUT_SEED + 500_000_000


class ScenePairs:
    """Pairs of procedural objects, a ``PairSource``.

    Args:
        config: its window and views.
        size: pixels of the images.
        encoding: of the poses.
        seed: of all that is drawn but the objects, whose seeds count up from ``first_scene``.
        held_out: take held-out objects, for validation, and none of training's.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        config: ScenesConfig,
        size: int,
        *,
        encoding: Encoding = "zero123",
        seed: int = 0,
        held_out: bool = False,
    ) -> None:
        check_source(size, encoding, seed)
        self.config, self.size, self.seed = config, size, seed
        self.encoding: Encoding = encoding
        self.held_out = held_out
        self._views: dict[int, tuple[Tensor, list[Pose]]] = {}

    @property
    def skipped(self) -> Mapping[str, str]:
        """Return nothing, for what is drawn is never corrupt."""
        return {}

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        check_numbers(first, step, batch_size)
        return self._batches(first, step, batch_size)

    def _batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        number = first
        while True:
            start = number * batch_size
            yield collate([self._pair(n) for n in range(start, start + batch_size)])
            oldest, _ = self.window(start + step * batch_size)
            self._views = {i: kept for i, kept in self._views.items() if i >= oldest}
            number += step

    def window(self, pair: int) -> tuple[int, int]:
        """First and last index of the objects that a pair may be of."""
        first = max(_FIRST_SCENES, 4 * self.config.shards)
        last = min(first, self.config.shuffle_buffer) - 1
        last += int(pair / self.config.pairs_per_scene)
        return max(0, last + 1 - self.config.shuffle_buffer), last

    def candidates(self, pair: int) -> range:
        """Return the indices of the objects that a pair may be of: one shard of the window."""
        oldest, last = self.window(pair)
        shards = min(self.config.shards, self.config.shuffle_buffer)
        shard = pair // self.config.shard_pairs % shards
        return range(oldest + (shard - oldest) % shards, last + 1, shards)

    def _pair(self, pair: int) -> Pair:
        random = np.random.default_rng((self.seed, _PAIR, pair))
        index = int(random.choice(self.candidates(pair)))
        condition, target = random.permutation(self.config.views)[:2].tolist()
        images, poses = self._scene_views(index)
        return Pair(
            images[condition].float() / 127.5 - 1,
            images[target].float() / 127.5 - 1,
            pair_pose(poses[condition], poses[target], self.encoding),
            pair_camera(poses[condition], poses[target]),
        )

    def _scene_views(self, index: int) -> tuple[Tensor, list[Pose]]:
        """Return images uint8 ``[views, 3, S, S]`` on white, and their cameras."""
        if index not in self._views:
            key = np.random.SeedSequence((self.seed, _CAMERAS, index)).generate_state(1)
            random = torch.Generator().manual_seed(int(key[0]))
            poses = [random_camera(random) for _ in range(self.config.views)]
            scene = random_scene(self.scene_seed(index), kinds=self.config.kinds)
            rgba = render(scene, poses, self.size, background="white", supersample=2).rgba
            images = to_uint8(rgba[..., :3]).permute(0, 3, 1, 2)
            self._views[index] = images.contiguous(), poses
        return self._views[index]

    def scene_seed(self, index: int) -> int:
        """Return the seed of an object: below HELD_OUT_SEED unless they are held out."""
        if self.held_out:
            return _VALIDATION_SEED + index
        return (self.config.first_scene + index) % HELD_OUT_SEED
