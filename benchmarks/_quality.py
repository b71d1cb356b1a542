"""Views by a tier of speed or by a student, beside exact ones and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from _measuring import Stages
from torch import Tensor

from zero123lib._choices import Speed
from zero123lib.diffusion import samplers
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.speed import TIERS
from zero123lib.evaluation.samples import Sample
from zero123lib.lpips import lpips_alex
from zero123lib.metrics import psnr
from zero123lib.views.poses import RelativePose

# What the published models recommend.
GUIDANCE, PUBLISHED_STEPS = 3.0, 50

# Views [N, 3, S, S] in [-1, 1] of an image, by cameras and the seed of the noise.
Views = Callable[[Tensor, Sequence[RelativePose], int, Stages], Tensor]


def tier_views(
    pipe: Zero123Pipeline, speed: Speed, steps: int, guidance_scale: float = GUIDANCE
) -> Views:
    """Make views as a tier has them; it takes its share of other steps than 50."""
    count, sampler = TIERS[speed].planned(PUBLISHED_STEPS, "ddim")
    count = max(round(count * steps / PUBLISHED_STEPS), 1)
    return _views(
        pipe,
        num_inference_steps=count,
        sampler=sampler,
        speed=speed,
        guidance_scale=guidance_scale,
    )


def own_views(pipe: Zero123Pipeline) -> Views:
    """Make views as the model recommends."""
    return _views(pipe)


def _views(pipe: Zero123Pipeline, **options: Any) -> Views:
    def views(image: Tensor, poses: Sequence[RelativePose], seed: int, stages: Stages) -> Tensor:
        with stages("encode"):
            condition = pipe.encode(pipe.prepare(image, "none"))
        with stages("sample"):
            noise = noise_of(pipe, len(poses), seed)
            final = samplers.last(pipe.sample(condition, poses, latents=noise, **options))
        with stages("decode"):
            return pipe.finish(final, condition, poses, speed=options.get("speed", "exact"))

    return views


def noise_of(pipe: Zero123Pipeline, count: int, seed: int) -> Tensor:
    """Draw the noise that all ways start from."""
    generator = torch.Generator().manual_seed(seed)
    return samplers.unit_noise(pipe.latent_shape, count, generator, pipe.device)


def compared(
    ways: Mapping[str, Views], samples: Sequence[Sample], with_truth: bool
) -> list[dict[str, Any]]:
    """Compare each way's views with those of the way "exact", and with the truth.

    Args:
        samples: whose noise is the same for all ways.
        with_truth: the model knows such objects.
    """
    lpips, found = lpips_alex(), []
    made = {name: _made(make, samples) for name, make in ways.items()}
    truth = torch.cat([sample.targets for sample in samples])
    for name, images in made.items():
        line: dict[str, Any] = {"way": name}
        others = {"exact": made["exact"]} if name != "exact" else {}
        if with_truth:
            others["the truth"] = truth
        for other, wanted in others.items():
            line[f"PSNR to {other}, dB"] = round(float(psnr(images, wanted).mean()), 3)
            line[f"LPIPS to {other}"] = round(float(lpips(images, wanted).mean()), 4)
        found.append(line)
    return found


def _made(make: Views, samples: Sequence[Sample]) -> Tensor:
    """Return all views ``[N, 3, S, S]`` in [0, 1], on the CPU."""
    parts = [
        make(
            sample.condition,
            [pose.relative_to(sample.condition_pose) for pose in sample.target_poses],
            sample.seed,
            Stages(),
        )
        for sample in samples
    ]
    return (torch.cat(parts).float().cpu() + 1) / 2


def show(lines: Sequence[dict[str, Any]]) -> None:
    """Print a table, one way per column."""
    for name in dict.fromkeys(key for line in lines for key in line):
        cells = "".join(f"{line.get(name, ''):>14}" for line in lines)
        print(f"{name:26s}{cells}")
