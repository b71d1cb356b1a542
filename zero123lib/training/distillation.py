"""Distillation of a model into a student of few steps, its guidance folded in.

The teacher goes from noise to clean latents by DDIM in N steps, with guidance; the student goes the
same way in S, without. Its way has S parts, and from every point in one it learns to step where
the teacher's way leaves that part: a consistency model in each part (Heek et al. 2024, "Multistep
Consistency Models"; in latent space with guidance Wang et al. 2024, "Phased Consistency Model"),
by the guided teacher of Meng et al. 2023. With one part, this is the distillation of Luo et al.
2023, "Latent Consistency Models"; with several the student stays deterministic and needs no sampler
of its own: DDIM's S steps end where its parts do.

Points of the way are numbered k = 0 .. N, more noise for more; 0 is clean. Latents are
``[B, C, h, w]``, points ``[B]``. It has nothing to do with score distillation
(:mod:`zero123lib.diffusion.distillation`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from zero123lib._errors import ArgumentError
from zero123lib.datasets.batches import Batch
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.model import clip_embedding
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.training.config import DistillationConfig, ObjectiveConfig
from zero123lib.training.objective import (
    Draws,
    condition_of,
    decoded,
    encode,
    image_loss,
    perceptual_weight,
    timesteps,
)

# Clean latents as a network predicts them, from noisy ones at points of the way.
Predict = Callable[[Tensor, Tensor], Tensor]


class Way:
    """The teacher's N steps, which the student takes as S.

    Args:
        schedule: noise levels.
        config: its S and N.

    Attributes:
        timesteps: ``[N + 1]``, where a network is asked at each point; at 0 none is.
        part: N / S, the teacher's steps in one of the student's.

    Raises:
        ArgumentError: the schedule has fewer timesteps.
    """

    def __init__(self, schedule: Schedule, config: DistillationConfig) -> None:
        try:
            rising = schedule.timesteps(config.teacher_steps)[::-1]
        except ArgumentError as error:
            raise error.renamed("objective.distillation.teacher_steps") from error
        self.part = config.teacher_steps // config.steps
        self.timesteps = torch.tensor([rising[0], *rising])
        levels = torch.tensor([schedule.level(t) for t in (None, *rising)], dtype=torch.float64)
        self._alpha, self._sigma = levels.unbind(-1)

    def drawn(self, uniform: Tensor, power: float) -> Tensor:
        """Return points from 1 on, ``1 + floor(N * u ** power)``."""
        return 1 + timesteps(uniform, len(self.timesteps) - 1, power)

    def end(self, points: Tensor) -> Tensor:
        """Return where the part of each point, from 1 on, ends: a point below it."""
        return (points - 1) // self.part * self.part

    def level(self, points: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return (alpha, sigma) ``[B, 1, 1, 1]`` at points."""
        alpha, sigma = (
            table.to(like)[points.to(like.device)].reshape(-1, 1, 1, 1)
            for table in (self._alpha, self._sigma)
        )
        return alpha, sigma

    def step(self, x: Tensor, x0: Tensor, points: Tensor, to: Tensor) -> Tensor:
        """Go by DDIM from noisy latents x to a lower point, along the line that x0 says.

        To the point itself it is the identity, whatever x0 is.
        """
        (alpha, sigma), (alpha_to, sigma_to) = self.level(points, x), self.level(to, x)
        return alpha_to * x0 + sigma_to * (x - alpha * x0) / sigma

    def aim(self, x: Tensor, reached: Tensor, points: Tensor, to: Tensor) -> Tensor:
        """Return the x0 by which :meth:`step` goes from x to the latents ``reached``, its inverse
        (Salimans and Ho 2022, appendix G)."""
        (alpha, sigma), (alpha_to, sigma_to) = self.level(points, x), self.level(to, x)
        return (reached - sigma_to / sigma * x) / (alpha_to - sigma_to / sigma * alpha)


class Teacher:
    """The initial model, which stays as it is while its student is trained.

    Args:
        pipe: the initial model on the CPU, before anything is trained or adapted; what can be
            trained of it is copied.
        config: of the distillation.
        trains_clip: the student's image encoder is trained.
    """

    def __init__(
        self, pipe: Zero123Pipeline, config: DistillationConfig, trains_clip: bool
    ) -> None:
        self.schedule = Schedule.from_scheduler(pipe.scheduler)
        self.way = Way(self.schedule, config)
        _, self.guidance_scale = pipe.recommended(None, config.guidance_scale)
        networks: list[Any] = [pipe.unet, pipe.camera_projection]
        networks += [pipe.image_encoder] * trains_clip
        self._networks = [copy.deepcopy(one).eval().requires_grad_(False) for one in networks]
        self.unet, self.camera_projection = self._networks[:2]
        self.image_encoder = self._networks[2] if trains_clip else None

    def to(self, device: torch.device, dtype: torch.dtype) -> Teacher:
        """Move it in place."""
        for network in self._networks:
            nn.Module.to(network, device=device, dtype=dtype)
        return self

    def predict(self, condition: Tensor, pose: Tensor, concat: Tensor) -> Predict:
        """Return its guided prediction for a batch, whose arguments are those of the student's.

        Args:
            condition: CLIP embeddings, or images where the student's CLIP is trained.
            pose: ``[B, 4]``.
            concat: latents of the input views, not scaled.
        """
        if self.image_encoder is not None:
            condition = clip_embedding(self.image_encoder, condition.to(self.image_encoder.dtype))
        tokens = self.camera_projection(condition.to(self.camera_projection.dtype), pose)

        def ask(x: Tensor, points: Tensor) -> Tensor:
            t = self.way.timesteps.to(points.device)[points]
            (output,) = guided(self.unet, x, t, concat, tokens, [self.guidance_scale], len(x))
            return self.schedule.x0_and_eps(output, x, t)[0]

        return ask


def distillation_loss(
    model: Any,
    teacher: Teacher,
    pipe: Zero123Pipeline,
    batch: Batch,
    draws: Draws,
    config: ObjectiveConfig,
    step: int | None = None,
) -> Tensor:
    """Mean squared error of the student's clean latents, times ``max(alpha^2 / sigma^2, 1)``
    (Salimans and Ho 2022, section 4: truncated SNR), a scalar; ``perceptual.weight`` times LPIPS
    between the two is added to it.

    While it trains, the target is where one step of the teacher and one of the student itself,
    without gradient, lead. In validation nothing rests on the student: it is asked at its own
    points alone, and the target is where all steps of the teacher through the part lead.

    Arguments are those of :func:`zero123lib.training.objective.denoising_loss`; ``step`` is None
    in validation.
    """
    way, device = teacher.way, batch["target"].device
    clean, concat = encode(pipe, batch, draws)
    condition, keep = condition_of(model, pipe, batch), torch.ones(len(clean), device=device)
    schedule = replace(teacher.schedule, clip_range=None)  # what is clipped has no gradient

    def said(x: Tensor, points: Tensor) -> Tensor:
        t = way.timesteps.to(device)[points]
        return model(torch.cat([x, concat], 1), t, condition, batch["pose"], keep, keep).float()

    def predict(x: Tensor, points: Tensor) -> Tensor:
        return schedule.x0_and_eps(said(x, points), x, way.timesteps.to(device)[points])[0]

    points = way.drawn(draws.timestep.to(device), config.timestep_power)
    if step is None:
        points = way.end(points) + way.part
    alpha, sigma = way.level(points, clean)
    x = alpha * clean + sigma * draws.noise.to(clean)
    # First with gradients: autocast would keep weights that were cast without, and use them again.
    output, t = said(x, points), way.timesteps.to(device)[points]
    with torch.no_grad():
        asked = teacher.predict(condition, batch["pose"], concat)
        target = aimed(way, x, points, asked, None if step is None else predict)
    weights = (alpha / sigma).square().clamp_min(1)
    loss = (weights * (schedule.x0_and_eps(output, x, t)[0] - target).square()).mean()
    weight = perceptual_weight(config, step)
    if weight:
        with torch.no_grad():
            images = decoded(pipe, target)
        loss = loss + image_loss(pipe, output, x, t, images, draws.shift, weight)
    return loss


def aimed(way: Way, x: Tensor, points: Tensor, teacher: Predict, student: Predict | None) -> Tensor:
    """Return what a student is to predict: the x0 whose step from x ends where others lead to.

    Args:
        x: noisy latents at points, which are the highest of their parts where there is no student.
        student: goes on to the part's end after one step of the teacher; None lets the teacher go
            all the way.
    """
    end, reached, at = way.end(points), x, points
    for _ in range(way.part if student is None else 1):
        reached, at = way.step(reached, teacher(reached, at), at, at - 1), at - 1
    if student is not None:
        # A point at its end is gone no further; what is asked there, at 1 in place of 0, is left.
        at = at.clamp_min(1)
        own = way.step(reached, student(reached, at), at, end)
        reached = torch.where((points - 1 == end)[:, None, None, None], reached, own)
    return way.aim(x, reached, points, end)


def student_settings(pipe: Zero123Pipeline, config: DistillationConfig) -> dict[str, Any]:
    """Return a student's name, its scheduler and what it recommends, so that calls that name no
    steps, no guidance and no sampler take the student's: DDIM's steps, in diffusers' own DDIM
    too.

    Nothing is clipped, as in its training; schedulers that know no clipping leave DDIM its default.
    """
    own = DDIMScheduler.from_config(
        pipe.scheduler.config,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
        clip_sample=False,
    )
    return {
        "model_name": f"{pipe.model_name}-{config.steps}-steps",
        "scheduler": own,
        "num_inference_steps": config.steps,
        "guidance_scale": 1.0,
    }
