"""Pairs of views of procedural objects, drawn as training goes on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from zero123lib.scenes import HELD_OUT_SEED, random_camera, random_scene, render
from zero123lib.training.recipe import TrainConfig
from zero123lib.views.poses import Pose, encode_poses


class ScenePairs(IterableDataset):
    """Endless batches of (condition, target, pose) from a pool of rendered scenes.

    Yields dicts: ``condition`` and ``target`` ``[B, 3, S, S]`` float in [-1, 1] on white, and
    ``pose`` ``[B, 4]``, the zero123 encoding. Scene seeds count up from ``first_seed``.
    """

    def __init__(self, config: TrainConfig, first_seed: int) -> None:
        self.config, self.first_seed = config, first_seed

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        torch.set_num_threads(1)
        config = self.config
        random = torch.Generator().manual_seed(config.seed + self.first_seed)
        pool: list[tuple[Tensor, list[Pose]]] = []
        seed = self.first_seed
        while True:
            for _ in range(config.fresh_scenes if pool else config.batch_size):
                pool.append(self._views(seed % HELD_OUT_SEED, random))
                seed += 1
            del pool[: -config.pool_scenes]
            yield self._batch(pool, random)

    def _views(self, seed: int, random: torch.Generator) -> tuple[Tensor, list[Pose]]:
        poses = [random_camera(random) for _ in range(self.config.views)]
        rendered = render(random_scene(seed), poses, self.config.size, background="white")
        pictures = rendered.rgba[..., :3].permute(0, 3, 1, 2)
        return (pictures * 255).round().to(torch.uint8), poses

    def _batch(self, pool: list, random: torch.Generator) -> dict[str, Tensor]:
        conditions, targets, poses = [], [], []
        for index in torch.randint(len(pool), (self.config.batch_size,), generator=random).tolist():
            views, cameras = pool[index]
            source, target = torch.randperm(len(cameras), generator=random)[:2].tolist()
            conditions.append(views[source])
            targets.append(views[target])
            poses.append(cameras[target].relative_to(cameras[source]))
        return {
            "condition": torch.stack(conditions).float() / 127.5 - 1,
            "target": torch.stack(targets).float() / 127.5 - 1,
            "pose": encode_poses(poses),
        }
