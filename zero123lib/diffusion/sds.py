"""Distillation: what a Zero123 model thinks of rendered views, as a loss with a gradient.

    guidance = Guidance(pipe, pipe.prepare("photo.png"))
    found = guidance(rendered, poses, timesteps=(0.2, 0.6))   # rendered [B, 3, H, W] in [0, 1]
    found.loss.backward()                                     # through the VAE into the renderer

The input view is encoded once. Which way the gradient points is the business of
:mod:`zero123lib.diffusion.distillation.variants`; schedules over a run are the caller's.

Axes as there: B views, latents ``[B, C, h, w]``, scaled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from zero123lib._errors import ArgumentError
from zero123lib.diffusion import arguments, samplers
from zero123lib.diffusion.distillation import variants
from zero123lib.diffusion.distillation.denoiser import denoiser
from zero123lib.diffusion.distillation.variants import Denoiser, Variant, Weighting
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.schedule import Schedule
from zero123lib.views.images import Prepared
from zero123lib.views.poses import RelativePose, encode_poses

# sample: drawn from the VAE's posterior, as the official code and threestudio do;  mode: its mean
Posterior = Literal["sample", "mode"]


@dataclass(frozen=True, eq=False)
class Draw:
    """Hold what chance decides: ``timesteps`` ``[B]`` and unit ``noise`` ``[B, C, h, w]``."""

    timesteps: Tensor
    noise: Tensor


@dataclass(frozen=True, eq=False)
class Distillation:
    """Hold one call's outcome; all but ``loss`` without gradient.

    Attributes:
        loss: scalar ``sum(gradient ** 2) / 2 / B``, as threestudio has it, whose derivative with
            respect to the latents is ``gradient / B``, exactly.
        gradient: ``[B, C, h, w]``, ``w(t)`` times the variant's residual.
        gradient_norm: scalar, of all views together.
        timesteps: ``[B]``.
        noisy: latents that the model was asked about.
        predicted: the clean latents that it saw there, for previews: ``pipe.decode`` them.
        not_finite: views whose gradient was infinite or NaN, as half precision can bring; they
            take no part.
    """

    loss: Tensor
    gradient: Tensor
    gradient_norm: Tensor
    timesteps: Tensor
    noisy: Tensor
    predicted: Tensor
    not_finite: int


class Guidance:
    """Distil a Zero123-family model, conditioned on one image.

    Args:
        pipe: any checkpoint, whatever it predicts and however it encodes poses. Its VAE is
            frozen: it passes gradients on and gathers none.
        prepared: the input view, as ``pipe.prepare`` makes it.
        condition_elevation_deg: elevation of the input view's camera, degrees; needed by a
            stable-zero123 checkpoint and used by no other.
        posterior: see :data:`Posterior`.
        max_batch_size: views per batch of UNet and VAE, the bound on memory; None means 8. A VAE
            batch that is one of several is encoded a second time on the way back.

    Raises:
        ArgumentError: an argument is out of range.
    """

    def __init__(
        self,
        pipe: Zero123Pipeline,
        prepared: Prepared,
        *,
        condition_elevation_deg: float | None = None,
        posterior: Posterior = "sample",
        max_batch_size: int | None = None,
    ) -> None:
        arguments.check_choice("posterior", posterior, Posterior)
        if condition_elevation_deg is not None:
            arguments.check_number("condition_elevation_deg", condition_elevation_deg, -90.0, 90.0)
        # Said now and not at the first step: a stable-zero123 checkpoint without the elevation.
        encode_poses([], pipe.config["encoding"], condition_elevation_deg)
        self.pipe = pipe
        self.schedule = Schedule.from_scheduler(pipe.scheduler)
        self.condition = pipe.encode(prepared)
        self.condition_elevation_deg = condition_elevation_deg
        self.posterior = posterior
        self._batch = arguments.batch_size(max_batch_size)
        pipe.vae.requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return (C, h, w) of one view's latents."""
        return self.pipe.latent_shape

    def __call__(
        self,
        rgb: Tensor,
        poses: Sequence[RelativePose],
        *,
        timesteps: tuple[float, float] = (0.02, 0.98),
        guidance_scale: float | None = None,
        variant: Variant = "sds",
        weighting: Weighting | None = None,
        max_gradient: float | None = None,
        generator: torch.Generator | None = None,
        draw: Draw | None = None,
    ) -> Distillation:
        """Distil views that are images: :meth:`encode`, then :meth:`distil`.

        Args:
            rgb: ``[B, 3, H, W]`` in [0, 1] on white, with gradient; resized to the model's size.
            poses: the B views' cameras relative to the input view's.
            timesteps: the lowest and the highest, as shares of all of them in [0, 1].
            guidance_scale: 0 and above, over both conditions; 1 makes no unconditional pass. None
                takes what the checkpoint recommends: 3 for the published ones.
            variant: see :data:`zero123lib.diffusion.distillation.variants.Variant`.
            weighting: see :data:`zero123lib.diffusion.distillation.variants.Weighting`; None is the
                variant's own.
            max_gradient: bound on each entry of the gradient; None is none.
            generator: source of timesteps and noise, and of the posterior's.
            draw: timesteps and noise to use in place of drawn ones.

        Raises:
            ArgumentError: an argument is out of range.
        """
        arguments.check_generator(generator, 1)
        self._check(rgb, "rgb", 3, poses)
        latents = self.encode(rgb, generator)
        return self.distil(
            latents,
            poses,
            timesteps=timesteps,
            guidance_scale=guidance_scale,
            variant=variant,
            weighting=weighting,
            max_gradient=max_gradient,
            generator=generator,
            draw=draw,
        )

    def encode(self, rgb: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return scaled latents ``[B, C, h, w]``, float32, of images ``[B, 3, H, W]`` in [0, 1],
        with gradient; resized to the model's size (bilinear, corners not aligned, as in
        threestudio).

        Args:
            generator: of the posterior's noise.
        """
        size = self.pipe.image_size
        with torch.autocast(rgb.device.type, enabled=False):
            sized = rgb.float()
            if rgb.shape[-2:] != (size, size):
                sized = F.interpolate(sized, (size, size), mode="bilinear", align_corners=False)
            images = (sized * 2 - 1).to(self.pipe.vae.dtype).split(self._batch)
            alone = len(images) == 1
            # Of several parts, each keeps its input alone for the way back.
            parts = [
                self._moments(part)
                if alone
                else cast(Tensor, checkpoint(self._moments, part, use_reentrant=False))
                for part in images
            ]
            found = DiagonalGaussianDistribution(torch.cat(parts).float())
            latents = found.mode() if self.posterior == "mode" else found.sample(generator)
            return latents * self.pipe.vae.config["scaling_factor"]

    def denoiser(self, poses: Sequence[RelativePose]) -> Denoiser:
        """Make the model on views from these cameras, for one's own use of it."""
        context = self.pipe.context(self.condition, poses, self.condition_elevation_deg)
        return denoiser(self.pipe, self.schedule, self.condition, context, self._batch)

    def draw(
        self,
        count: int,
        timesteps: tuple[float, float] = (0.02, 0.98),
        generator: torch.Generator | None = None,
    ) -> Draw:
        """Draw random timesteps and noise for ``count`` views.

        Timesteps are uniform from ``int(T low)`` to ``int(T high)``, both included, as in
        threestudio. All is drawn where the generator lives (the CPU without one), so that a seed
        means the same on every device.

        Raises:
            ArgumentError: not two shares in [0, 1], in order.
        """
        low, high = _share_pair(timesteps)
        total, device = self.schedule.num_train_timesteps, self.condition.concat.device
        first, last = min(int(total * low), total - 1), min(int(total * high), total - 1)
        place = generator.device if generator else "cpu"
        drawn = torch.randint(first, last + 1, (count,), generator=generator, device=place)
        noise = samplers.unit_noise(self.latent_shape, count, generator, device)
        return Draw(drawn.to(device), noise)

    def distil(
        self,
        latents: Tensor,
        poses: Sequence[RelativePose],
        *,
        timesteps: tuple[float, float] = (0.02, 0.98),
        guidance_scale: float | None = None,
        variant: Variant = "sds",
        weighting: Weighting | None = None,
        max_gradient: float | None = None,
        generator: torch.Generator | None = None,
        draw: Draw | None = None,
    ) -> Distillation:
        """Distil views that are latents already, ``[B, C, h, w]`` with gradient, scaled.

        Other arguments and errors as for :meth:`__call__`.
        """
        channels, height, width = self.latent_shape
        self._check(latents, "latents", channels, poses, (height, width))
        arguments.check_choice("variant", variant, Variant)
        _, scale = self.pipe.recommended(guidance_scale=guidance_scale)
        arguments.check_number("guidance_scale", scale, 0.0, math.inf)
        if max_gradient is not None:
            arguments.check_number("max_gradient", max_gradient, 0.0, math.inf)
        arguments.check_generator(generator, 1)
        draw = draw or self.draw(len(poses), timesteps, generator)
        chosen = weighting or variants.WEIGHTINGS[variant]
        clean = latents.detach().float()
        weights = variants.weight(chosen, self.schedule, draw.timesteps, clean)
        run = variants.VARIANTS[variant]
        with torch.no_grad(), torch.autocast(latents.device.type, enabled=False):
            denoise = self.denoiser(poses)
            noise = draw.noise.to(clean)
            found = run(denoise, self.schedule, clean, draw.timesteps, noise, float(scale))
        gradient = weights * found.residual
        finite = torch.isfinite(gradient).flatten(1).all(1)
        gradient = torch.where(finite[:, None, None, None], gradient, torch.zeros_like(gradient))
        if max_gradient is not None:
            gradient = gradient.clamp(-max_gradient, max_gradient)
        return Distillation(
            loss_with_gradient(latents, gradient),
            gradient,
            gradient.norm(),
            draw.timesteps,
            found.noisy,
            found.predicted,
            int((~finite).sum()),
        )

    def _moments(self, images: Tensor) -> Tensor:
        """Return the posterior's mean and log-variance, ``[B, 2C, h, w]``."""
        return cast(Any, self.pipe.vae.encode(images)).latent_dist.parameters

    def _check(
        self,
        views: Any,
        name: str,
        channels: int,
        poses: Any,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Raise ArgumentError unless ``views`` are B float maps of so many channels for B poses."""
        arguments.check_poses(poses)
        height, width = size or ("H", "W")
        fits = isinstance(views, Tensor) and views.is_floating_point() and views.ndim == 4
        shape = tuple(views.shape) if fits else ()
        fits = fits and shape[:2] == (len(poses), channels) and (size is None or shape[2:] == size)
        if not fits:
            got = f"{views.dtype} {list(views.shape)}" if isinstance(views, Tensor) else repr(views)
            wanted = f"[{len(poses)}, {channels}, {height}, {width}]"
            raise ArgumentError(name, f"a floating tensor {wanted}, one view per pose", got[:80])


def loss_with_gradient(latents: Tensor, gradient: Tensor) -> Tensor:
    """Return ``sum(gradient ** 2) / 2 / B``, with ``gradient / B`` as its derivative.

    threestudio's value (``zero123_guidance.py``), without the rounding of its detour over
    ``latents - gradient``.
    """
    product = (latents.float() * gradient).sum()
    return (product - product.detach() + gradient.square().sum() / 2) / len(latents)


def _share_pair(timesteps: Any) -> tuple[float, float]:
    """Return two shares in [0, 1], in order, else raise ArgumentError."""
    try:
        low, high = (float(share) for share in timesteps)
    except (TypeError, ValueError):
        low = high = math.nan
    if not 0.0 <= low <= high <= 1.0:
        expected = "the lowest and the highest share in [0, 1]"
        raise ArgumentError("timesteps", expected, repr(timesteps))
    return low, high
