"""A fixed batch with fixed noise: its loss, and views sampled from it, by the averaged weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from zero123lib.datasets.batches import Batch, PairSource, camera_of
from zero123lib.training.objective import Draws, draw
from zero123lib.training.processes import on_main, told_by_main
from zero123lib.training.state import TrainState

# Of the noise: no number that training draws for.
_SEED = 7_000_003


@dataclass(frozen=True, eq=False)
class Validation:
    """Pairs and all that is drawn for them, on the CPU; timesteps are spread evenly."""

    batch: Batch
    draws: Draws

    @classmethod
    def of(cls, state: TrainState, source: PairSource) -> Validation:
        """Return the first pairs of a source."""
        count, shape = state.config.validation.pairs, state.pipe.latent_shape
        drawn = draw(_SEED, range(count), shape, state.config.objective.posterior == "sample")
        even = (torch.arange(count) + 0.5) / count
        kept = torch.full((count,), 1.0)  # beyond every group: nothing is dropped
        draws = replace(drawn, dropout=kept, timestep=even)
        return cls(next(source.batches(0, 1, count)), draws)

    def loss(self, state: TrainState) -> float:
        """Mean squared error of the averaged weights; called by all processes, told to all."""
        if state.skeletons:
            return told_by_main(state.accelerator, self._loss(state))
        return on_main(state.accelerator, lambda: self._loss(state))

    @torch.no_grad()
    def _loss(self, state: TrainState) -> float:
        config, device = state.config, state.accelerator.device
        count, total = len(self.batch["pose"]), 0.0
        model = state.accelerator.unwrap_model(state.model)
        with _averaged(state):
            for start in range(0, count, config.batch.per_device):
                part = slice(start, start + config.batch.per_device)
                batch = {name: tensor[part].to(device) for name, tensor in self.batch.items()}
                drawn = _part(self.draws, part)
                loss = state.loss(model, batch, drawn)
                total += float(loss) * len(batch["pose"])
        return total / count

    def views(self, state: TrainState) -> Tensor:
        """Return a sheet ``[3, n S, 3 S]`` in [0, 1], a row per pair: condition, target, sampled
        view.

        By the first process; by all where weights are sharded.
        """
        config, pipe = state.config.validation, state.pipe
        rows = []
        with _averaged(state):
            for index in range(min(config.views, config.pairs)):
                images = [self.batch[name][index] for name in ("condition", "target")]
                pose, elevation_deg = camera_of(self.batch, index)
                made = pipe.views(
                    pipe.encode(pipe.prepare(images[0])),
                    [pose],
                    num_inference_steps=config.steps,
                    guidance_scale=config.guidance_scale,
                    generator=torch.Generator().manual_seed(index),
                    condition_elevation_deg=elevation_deg,
                )
                rows.append(torch.cat([*images, made[0].cpu()], -1))
        return ((torch.cat(rows, -2) + 1) / 2).clamp(0, 1)


def _part(draws: Draws, part: slice) -> Draws:
    parts: dict[str, Any] = {}
    for one in fields(draws):
        value = getattr(draws, one.name)
        parts[one.name] = None if value is None else value[part]
    return Draws(**parts)


@contextmanager
def _averaged(state: TrainState) -> Iterator[None]:
    """Use the averaged weights in evaluation mode for as long as it lasts."""
    model = state.accelerator.unwrap_model(state.model)
    model.eval()
    try:
        with state.average.applied():
            yield
    finally:
        model.train()
