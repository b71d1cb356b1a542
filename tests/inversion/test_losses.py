"""The loss as a function of the camera: the training's own, and its slope."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from zero123lib import RelativePose, Zero123Pipeline
from zero123lib._errors import NotFiniteError
from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.schedule import Schedule
from zero123lib.inversion.landscape import landscape
from zero123lib.inversion.losses import Draw, Photo, channel_weights, draws, encoded, pose_losses


@pytest.fixture(scope="module")
def pair(pipe: Zero123Pipeline) -> tuple[Photo, Photo]:
    random = torch.Generator().manual_seed(3)
    size = pipe.image_size
    images = [torch.rand(3, size, size, generator=random) * 2 - 1 for _ in range(2)]
    one, other = (encoded(pipe, pipe.prepare(image)) for image in images)
    return one, other


def one_draw(pipe: Zero123Pipeline, timestep: int) -> list[Draw]:
    return draws(pipe, [timestep], torch.Generator().manual_seed(0))


@pytest.mark.parametrize("timestep", [999, 400])
def test_it_is_the_error_of_what_the_model_predicts(
    pipe: Zero123Pipeline, pair: tuple[Photo, Photo], timestep: int
) -> None:
    source, target = pair
    (draw,) = one_draw(pipe, timestep)
    poses = [RelativePose(20, 40, 0.1), RelativePose(-10, -120, 0)]
    schedule = Schedule.from_scheduler(pipe.scheduler)
    noisy = schedule.add_noise(target.latents, draw.noise, timestep).expand(2, -1, -1, -1)
    context = pipe.context(source.condition, poses)
    with torch.no_grad():
        (made,) = guided(
            pipe.unet, noisy, torch.tensor(timestep), source.condition.concat, context, [1.0], 8
        )
    wanted = schedule.target(target.latents, draw.noise, timestep)
    expected = ((made - wanted).square() * channel_weights(pipe)).mean((1, 2, 3))
    here = torch.tensor([[5.0, 0.0, 0.0]])
    there = here + torch.tensor([[20.0, 40.0, 0.1], [-10.0, -120.0, 0.0]])
    found = pose_losses(pipe, source, target, here.expand(2, -1), there, [draw])
    torch.testing.assert_close(found.detach(), expected)


def test_several_draws_are_averaged_and_batches_change_nothing(
    pipe: Zero123Pipeline, pair: tuple[Photo, Photo]
) -> None:
    here = torch.zeros(3, 3)
    there = torch.tensor([[0.0, 30.0, 0.0], [10.0, 60.0, 0.0], [0.0, -90.0, 0.2]])
    noises = [*one_draw(pipe, 999), *one_draw(pipe, 500)]
    with torch.no_grad():
        apart = [pose_losses(pipe, *pair, here, there, [one]) for one in noises]
        both = pose_losses(pipe, *pair, here, there, noises, max_batch_size=2)
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2)


def test_its_gradient_is_its_slope(pipe: Zero123Pipeline, pair: tuple[Photo, Photo]) -> None:
    here, there = torch.zeros(1, 3), torch.tensor([[10.0, 50.0, 0.1]], requires_grad=True)
    noises = one_draw(pipe, 999)
    (slope,) = torch.autograd.grad(pose_losses(pipe, *pair, here, there, noises).sum(), [there])
    for axis, step in enumerate((2.0, 2.0, 0.04)):
        move = torch.zeros(1, 3)
        move[0, axis] = step
        with torch.no_grad():
            up, down = (
                pose_losses(pipe, *pair, here, there + way * move, noises) for way in (1, -1)
            )
        measured = float((up - down)[0]) / (2 * step)
        assert float(slope[0, axis]) == pytest.approx(measured, rel=0.1, abs=1e-5)


def test_weighted_latents_of_patches_are_pixels(pipe: Zero123Pipeline) -> None:
    """Up to one factor for all images: the transform is orthonormal."""
    size = pipe.image_size
    one, other = torch.rand(2, 4, 3, size, size, generator=torch.Generator().manual_seed(1))
    vae: Any = pipe.vae
    made = [vae.encode(images).latent_dist.mode() for images in (one, other)]
    apart = ((made[0] - made[1]).square() * channel_weights(pipe)).mean((1, 2, 3))
    ratio = apart / (one - other).square().mean((1, 2, 3))
    torch.testing.assert_close(ratio, ratio[:1].expand(4), rtol=1e-3, atol=0)


def test_what_is_not_finite_is_named(pipe: Zero123Pipeline, pair: tuple[Photo, Photo]) -> None:
    source, target = pair
    broken = replace(target, latents=target.latents * torch.nan)
    with pytest.raises(NotFiniteError, match="losses: expected finite numbers"):
        landscape(pipe, source, broken, one_draw(pipe, 999))
