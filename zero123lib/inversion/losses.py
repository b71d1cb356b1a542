"""The denoising loss as a function of the camera: how well a pose explains a second photo.

Zero-1-to-3 is trained to denoise a view given another one and the pose between them. Asked the
other way round (ID-Pose, Cheng et al. 2023; iFusion, Wu et al. 2023), with both images fixed, the
loss is least at the pose that fits. It is differentiable in the pose.

Axes: N cameras, given as ``[N, 3]``: elevation and azimuth in degrees, radius in scene units, of
which differences alone matter, but for the elevation that stable-zero123 is conditioned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123lib.diffusion.guidance import guided
from zero123lib.diffusion.outputs import Condition
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.views.images import Prepared
from zero123lib.views.poses import Encoding, stable_zero123_vector, zero123_vector


@dataclass(frozen=True, eq=False)
class Photo:
    """Hold an image as the model sees it: as a condition, and as clean ``latents`` ``[1, C, h, w]``
    that it is to denoise."""

    prepared: Prepared
    condition: Condition
    latents: Tensor


@dataclass(frozen=True, eq=False)
class Draw:
    """Hold what chance decides: one ``timestep``, and unit ``noise`` ``[1, C, h, w]``.

    All cameras are asked about the same draws, so that their losses differ by the camera alone.
    """

    timestep: int
    noise: Tensor


def encoded(pipe: Zero123Pipeline, prepared: Prepared) -> Photo:
    """Encode an image once, for any number of :func:`pose_losses`."""
    condition = pipe.encode(prepared)
    scale = float(pipe.vae.config["scaling_factor"])
    return Photo(prepared, condition, condition.concat.float() * scale)


def draws(
    pipe: Zero123Pipeline, timesteps: Sequence[int], generator: torch.Generator
) -> list[Draw]:
    """Draw noise for each timestep, on the generator's device."""
    # Where the model runs, also while offloading has its weights elsewhere.
    shape, device = (1, *pipe.latent_shape), pipe._execution_device
    return [
        Draw(t, torch.randn(shape, generator=generator, device=generator.device).to(device))
        for t in timesteps
    ]


def channel_weights(pipe: Zero123Pipeline) -> Tensor:
    """Return how much each latent channel counts, ``[C, 1, 1]``, 1 on average.

    All alike, but for :class:`~zero123lib.diffusion.patches.PatchAutoencoder`: its gains make fine
    detail, which made views do not have, as large as outlines. Without them errors are those of
    pixels, since its transform is orthonormal.
    """
    vae, device = pipe.vae, pipe._execution_device
    if not isinstance(vae, PatchAutoencoder):
        return torch.ones(pipe.latent_shape[0], 1, 1, device=device)
    energy = vae.synthesis.to(device).float().flatten(1).square().sum(1)
    return (energy / energy.mean())[:, None, None]


def pose_losses(
    pipe: Zero123Pipeline,
    source: Photo,
    target: Photo,
    source_cameras: Tensor,
    target_cameras: Tensor,
    noises: Sequence[Draw],
    max_batch_size: int = 8,
) -> Tensor:
    """Compute the denoising loss of the target photo given the source photo, per pair of cameras.

    It is the mean squared error of what the model is trained to predict (Zero-1-to-3, equation 1),
    without guidance, over the latents, weighted by :func:`channel_weights`, and over the draws.

    Args:
        source_cameras, target_cameras: ``[N, 3]``, see the top of the module.
        max_batch_size: rows in one batch of the UNet.

    Returns:
        ``[N]`` float32, with a gradient in the cameras where they ask for one.
    """
    schedule = Schedule.from_scheduler(pipe.scheduler)
    tokens = camera_tokens(pipe, source.condition, source_cameras, target_cameras)
    count, device = len(tokens), tokens.device
    total, weights = torch.zeros(count, device=device), channel_weights(pipe)
    for draw in noises:
        noisy = schedule.add_noise(target.latents, draw.noise, draw.timestep)
        wanted = schedule.target(target.latents, draw.noise, draw.timestep)
        (made,) = guided(
            pipe.unet,
            noisy.expand(count, -1, -1, -1),
            torch.tensor(draw.timestep, device=noisy.device),
            source.condition.concat,
            tokens,
            [1.0],
            max_batch_size,
        )
        total = total + ((made - wanted).square() * weights).flatten(1).mean(1)
    return total / len(noises)


def camera_tokens(
    pipe: Zero123Pipeline, condition: Condition, source_cameras: Tensor, target_cameras: Tensor
) -> Tensor:
    """Return context tokens ``[N, 1, D]`` of a photo for pairs of cameras ``[N, 3]``, with a
    gradient in the cameras where they ask for one."""
    vectors = _vectors(source_cameras, target_cameras, pipe.config["encoding"])
    embedding = condition.embedding.to(pipe.camera_projection.dtype)
    return pipe.camera_projection(embedding.expand(len(vectors), -1), vectors.to(embedding))


def _vectors(source: Tensor, target: Tensor, encoding: Encoding) -> Tensor:
    """Encode cameras ``[N, 3]`` as :func:`zero123lib.views.poses.encode_poses` does, in a way that
    passes gradients on."""
    elevation_deg, azimuth_deg, radius = (target - source).unbind(-1)
    if encoding == "zero123":
        return zero123_vector(elevation_deg, azimuth_deg, radius)
    return stable_zero123_vector(elevation_deg, azimuth_deg, source[:, 0])
