"""Novel views of one image: the diffusers-style public face of a Zero123-family model.

    pipe = Zero123Pipeline.from_pretrained("tiny")
    views = pipe("photo.png", [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]).images

What happens inside, step by step, is public too, for live progress and for other uses of a
condition: ``prepare`` an image, ``encode`` it once, ``sample`` latents as a generator of steps,
``decode`` or ``finish`` them; ``views`` does the last two at once.

Axes: N poses, C latent channels, D the width of the context token; images are
``[N, 3, H, W]`` in [-1, 1], latents ``[N, C, h, w]``, scaled by the VAE's ``scaling_factor``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from zero123lib._choices import Consistency, Speed, Upscale
from zero123lib._errors import ArgumentError, NotFiniteError
from zero123lib.diffusion import arguments, samplers, schedulers, several
from zero123lib.diffusion.base import Zero123Model
from zero123lib.diffusion.consistency import consistent_views
from zero123lib.diffusion.domain import DomainStatistics, own_view_distance
from zero123lib.diffusion.model import clip_embedding
from zero123lib.diffusion.outputs import (
    Condition,
    OutputType,
    Zero123PipelineOutput,
    in_form,
    photo_of,
    with_photo,
)
from zero123lib.diffusion.samplers import Sampler, SampleStep, Steps
from zero123lib.diffusion.schedule import Schedule
from zero123lib.diffusion.speed import Tier, TieredModel, tier_of
from zero123lib.upscaling import check_upscale, upscaled
from zero123lib.views.errors import ImageError
from zero123lib.views.images import ImageSource, Prepared, Preprocess, prepare
from zero123lib.views.poses import RelativePose, encode_poses
from zero123lib.views.poses import orbit as around

Callback = Callable[[Any, int, int, dict[str, Tensor]], Mapping[str, Any] | None]

_logger = logging.getLogger(__name__)


class Zero123Pipeline(Zero123Model):
    """Make views of an object on an image, from other cameras (Zero-1-to-3, Liu et al. 2023).

    Its components and settings are :class:`zero123lib.diffusion.base.Zero123Model`'s.
    """

    _callback_tensor_inputs = arguments.TENSOR_INPUTS
    _interrupt = False
    _num_timesteps = 0

    @property
    def num_timesteps(self) -> int:
        """Return the number of steps of the latest call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Tell whether the call was stopped.

        Set ``pipe._interrupt = True``, from a callback say, to stop after the step at hand.
        """
        return self._interrupt

    def prepare(
        self,
        image: ImageSource | Tensor,
        preprocess: Preprocess = "auto",
        foreground_ratio: float | None = None,
    ) -> Prepared:
        """Bring the condition to the model's size: :func:`zero123lib.views.images.prepare`.

        Args:
            foreground_ratio: None takes the model's own.
        """
        ratio = self.config["foreground_ratio"] if foreground_ratio is None else foreground_ratio
        return prepare(image, self.image_size, preprocess, ratio)

    def notice(self, prepared: Prepared) -> str | None:
        """Return one sentence for the user when an image is far from what the model knows.

        A model that has :class:`DomainStatistics` is asked for one view, from the image's camera.
        """
        domain, statistics = map(self.trained_on.get, ("domain", "domain_statistics"))
        if domain is None or statistics is None:
            return None
        known = DomainStatistics.from_config(statistics)
        if float(self.own_view_distance(prepared)) <= known.own_view_lpips:
            return None
        return (
            f"This image is unlike the {domain} that the model {self.model_name!r} was trained "
            "on; expect a guess of its colours and shape, not its true other sides."
        )

    def own_view_distance(self, prepared: Prepared) -> Tensor:
        """Compute how badly the model draws an image from its own camera, a scalar.

        See :mod:`zero123lib.diffusion.domain`.
        """
        elevation_deg = 0.0 if self.config["encoding"] == "stable-zero123" else None
        view = self.views(
            self.encode(prepared),
            [RelativePose()],
            num_inference_steps=1,
            guidance_scale=1.0,
            sampler="ddim",  # begins at pure noise, whatever scheduler a user has put in
            generator=torch.Generator().manual_seed(0),
            condition_elevation_deg=elevation_deg,
        )
        return own_view_distance(view, prepared.tensor[None])[0]

    @torch.no_grad()
    def encode(self, prepared: Prepared) -> Condition:
        """Encode an image once, for any number of poses and calls of :meth:`sample`."""
        image = prepared.tensor[None].to(self._execution_device)
        embedding = clip_embedding(self.image_encoder, image.to(self.image_encoder.dtype))
        posterior = cast(Any, self.vae.encode(image.to(self.vae.dtype))).latent_dist
        return Condition(embedding, posterior.mode(), photo_of(prepared))

    @torch.no_grad()
    def context(
        self,
        condition: Condition,
        poses: Sequence[RelativePose],
        condition_elevation_deg: float | None = None,
    ) -> Tensor:
        """Return context tokens ``[N, 1, D]``: CLIP's embedding of the image joined with each pose.

        Raises:
            ArgumentError: the elevation is out of range, or needed and not given.
        """
        if condition_elevation_deg is not None:
            arguments.check_number("condition_elevation_deg", condition_elevation_deg, -90.0, 90.0)
        pose = encode_poses(poses, self.config["encoding"], condition_elevation_deg)
        embedding = condition.embedding.to(self.camera_projection.dtype)
        return self.camera_projection(embedding.expand(len(poses), -1), pose.to(embedding.device))

    def sample(
        self,
        condition: Condition | Sequence[Condition],
        poses: Sequence[RelativePose],
        *,
        input_poses: Sequence[RelativePose] | None = None,
        input_weights: Tensor | None = None,
        mutual: bool = False,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: Sampler | None = None,
        eta: float = 0.0,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        condition_elevation_deg: float | None = None,
        max_batch_size: int | None = None,
        speed: Speed | Tier = "exact",
    ) -> Steps:
        """Sample latents of all poses, step by step; arguments as for :meth:`__call__`.

        Of several conditions, whose cameras are ``input_poses``, all have their say, see
        :mod:`zero123lib.diffusion.several`. Arguments are checked at once, and the first noise is
        drawn; the model runs as the generator is advanced. A tensor sent into the generator
        replaces a step's latents. Nothing of the pipeline changes, so calls may run side by side.

        Args:
            input_weights: ``[N, K]``, how much each of K conditions counts for each of N poses;
                None lets the nearer count more.
            mutual: see :mod:`zero123lib.diffusion.mutual`.

        Returns:
            A generator of :class:`zero123lib.diffusion.samplers.SampleStep`.
        """
        arguments.check_poses(poses)
        arguments.check_generator(generator, len(poses))
        conditions, origins = several.check_input_poses(condition, input_poses)
        if condition_elevation_deg is not None:
            arguments.check_number("condition_elevation_deg", condition_elevation_deg, -90.0, 90.0)
        count, scale = self.recommended(num_inference_steps, guidance_scale)
        tier, runs = tier_of(speed), self._sampler_or_scheduler(sampler)
        named = (num_inference_steps, sampler, timesteps, sigmas)
        if runs == "ddim" and not eta and all(one is None for one in named):
            count, runs = tier.planned(count, runs)
        arguments.check_number("guidance_scale", scale, 0.0, math.inf)
        batch, device = arguments.batch_size(max_batch_size), self._execution_device
        schedule = Schedule.from_scheduler(self.scheduler)
        begin = schedulers.planned(
            runs,
            schedule,
            count,
            eta,
            timesteps=timesteps,
            sigmas=sigmas,
            generator=generator,
            device=device,
        )
        ask = several.conditioned(
            self,
            conditions,
            origins,
            poses,
            several.checked_weights(input_weights, origins, poses),
            condition_elevation_deg=condition_elevation_deg,
            mutual=mutual,
            max_batch_size=batch,
        )

        def noise() -> Tensor:
            return samplers.unit_noise(self.latent_shape, len(poses), generator, device)

        if latents is None:
            x = noise()
        else:
            shape = (len(poses), *self.latent_shape)
            x = arguments.checked_latents(latents, shape).to(device)

        model = TieredModel(tier, self.unet, ask, float(scale), schedule.num_train_timesteps)
        return begin(model, x, noise)

    def views(
        self,
        condition: Condition | Sequence[Condition],
        poses: Sequence[RelativePose],
        *,
        on_step: Callable[[SampleStep], Any] | None = None,
        max_batch_size: int | None = None,
        upscale: Upscale = 1,
        **options: Any,
    ) -> Tensor:
        """Sample to the end and decode: one view per pose, ``[N, 3, H, W]`` in [-1, 1], float32.

        Args:
            on_step: told of every finished step.
            max_batch_size: of UNet and VAE.
            upscale: see :meth:`finish`.
            **options: of :meth:`sample`.
        """
        check_upscale(upscale)

        def tell(step: SampleStep) -> None:
            if on_step is not None:
                on_step(step)

        steps = self.sample(condition, poses, max_batch_size=max_batch_size, **options)
        final = samplers.last(steps, tell)
        first = condition if isinstance(condition, Condition) else condition[0]
        tier = options.get("speed", "exact")
        return self.finish(final, first, poses, max_batch_size, upscale, tier)

    def finish(
        self,
        latents: Tensor,
        condition: Condition,
        poses: Sequence[RelativePose],
        max_batch_size: int | None = None,
        upscale: Upscale = 1,
        speed: Speed | Tier = "exact",
    ) -> Tensor:
        """Decode the last latents of :meth:`sample`: one view per pose, as :meth:`views` returns.

        Args:
            upscale: see :func:`zero123lib.upscaling.upscaled`. A view at the image's own camera, at
                a relative pose of zero, is then the image itself, where it has more pixels than
                the model sees.
            speed: as of :meth:`sample`.
        """
        images = self.decode(latents, max_batch_size, upscale, speed)
        return images if upscale == 1 else with_photo(images, poses, condition.photo)

    @torch.no_grad()
    def decode(
        self,
        latents: Tensor,
        max_batch_size: int | None = None,
        upscale: Upscale = 1,
        speed: Speed | Tier = "exact",
    ) -> Tensor:
        """Decode scaled latents ``[N, C, h, w]``: images ``[N, 3, H, W]`` in [-1, 1], float32.

        Args:
            upscale, speed: see :func:`zero123lib.upscaling.upscaled` and :meth:`sample`.

        Raises:
            NotFiniteError: an image is NaN or infinite, as where a VAE overflows half precision.
        """
        unscaled = (latents / self.vae.config["scaling_factor"]).to(self.vae.dtype)
        with tier_of(speed).narrowed(self.vae.dtype, latents.device.type):
            parts = [
                cast(Any, self.vae.decode(part)).sample.float()
                for part in unscaled.split(arguments.batch_size(max_batch_size))
            ]
        images = torch.cat(parts)
        if not bool(images.isfinite().all()):
            if not bool(latents.isfinite().all()):
                raise NotFiniteError("latents: expected finite numbers, got NaN or infinity")
            raise NotFiniteError(
                f"vae: expected finite images in {self.vae.dtype}, got NaN or infinity; "
                "dtype={'vae': torch.float32, 'default': ...} reaches farther"
            )
        images = images.clamp(-1, 1)
        return images if upscale == 1 else upscaled((images + 1) / 2, upscale) * 2 - 1

    @torch.no_grad()
    def __call__(
        self,
        image: ImageSource | Tensor | Sequence[ImageSource | Tensor],
        poses: Sequence[RelativePose],
        *,
        input_poses: Sequence[RelativePose] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        sampler: Sampler | None = None,
        eta: float = 0.0,
        timesteps: Sequence[int] | None = None,
        sigmas: Sequence[float] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        preprocess: Preprocess = "auto",
        foreground_ratio: float | None = None,
        condition_elevation_deg: float | None = None,
        max_batch_size: int | None = None,
        speed: Speed | Tier = "exact",
        upscale: Upscale = 1,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Zero123PipelineOutput | tuple:
        """Make one view per pose, all poses together.

        Args:
            image: a path, the bytes of a file, a Pillow image, an array ``[H, W, 3 or 4]``, or a
                tensor ``[3, S, S]`` in [-1, 1] of the model's size S, taken as already prepared; or
                a list of several photos of one object, of which the nearer to a view counts more.
            poses: N target cameras relative to the (first) image's.
            input_poses: of several photos, relative to the first, as
                :func:`zero123lib.inversion.poses.estimate_poses` finds them.
            num_inference_steps: number of evaluations of the model, 1 to 1000; exact but for the
                official sampler, which makes its own of it. None takes what the checkpoint
                recommends: 50 for the published ones.
            guidance_scale: 0 and above; 1 makes no unconditional pass. None takes what the
                checkpoint recommends: 3 for the published ones.
            sampler: see :data:`zero123lib.diffusion.samplers.Sampler`. None runs the pipeline's
                scheduler: DDIM that came with the checkpoint as "ddim", any other and one that you
                put in its place as diffusers runs it.
            eta: in [0, 1], noise that DDIM adds on the way.
            timesteps: to evaluate at, falling, in place of the sampler's own.
            sigmas: noise levels to evaluate at, for a scheduler that takes them.
            generator: source of the noise, or one per pose. Noise is drawn pose by pose, so the
                first poses look the same however many follow.
            latents: unit noise ``[N, C, h, w]`` to start from, in place of drawn noise.
            preprocess: see :data:`zero123lib.views.images.Preprocess`.
            foreground_ratio: longest side of the object over the image's, for "auto"; None
                takes the model's own.
            condition_elevation_deg: elevation of the image's camera, degrees; needed by a
                stable-zero123 checkpoint and used by no other.
            max_batch_size: poses per batch of UNet and VAE, the bound on memory; None means 8.
                Results do not depend on it, up to rounding.
            speed: "exact", or what may be given up for speed: see
                :class:`zero123lib.diffusion.speed.Tier`. Its steps and its sampler run where the
                call names neither and the checkpoint's own DDIM is there.
            upscale: 2 or 4 enlarges the views by a network, see :meth:`finish`; latents are not.
            output_type: see :data:`OutputType`.
            return_dict: False gives the tuple ``(images, prepared)``, and ``notice`` if any.
            callback_on_step_end: called as ``callback(pipe, index, timestep, tensors)`` after
                every step; the ``"latents"`` of a dict that it returns take the step's place.
            callback_on_step_end_tensor_inputs: names of the tensors it is given: "latents".

        Raises:
            ArgumentError: an argument is out of range.
        """
        arguments.check_choice("output_type", output_type, OutputType)
        check_upscale(upscale)
        names = callback_on_step_end_tensor_inputs
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            names = callback_on_step_end.tensor_inputs
        arguments.check_tensor_inputs(names)
        arguments.check_poses(poses)
        inputs = self._prepared(image, preprocess, foreground_ratio)
        conditions = [self.encode(one) for one in inputs]
        steps = self.sample(
            conditions,
            poses,
            input_poses=input_poses,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            sampler=sampler,
            eta=eta,
            timesteps=timesteps,
            sigmas=sigmas,
            generator=generator,
            latents=latents,
            condition_elevation_deg=condition_elevation_deg,
            max_batch_size=max_batch_size,
            speed=speed,
        )
        # Where diffusers' helpers look for the step at hand.
        self.scheduler.timesteps = torch.as_tensor(steps.timesteps)
        final = self._run(steps, callback_on_step_end, names)
        made: Any = final
        if output_type != "latent":
            views = self.finish(final, conditions[0], poses, max_batch_size, upscale, speed)
            made = in_form(views, output_type)
        output = self._told(made, inputs)
        return output if return_dict else output.to_tuple()

    def orbit(
        self,
        image: ImageSource | Tensor | Sequence[ImageSource | Tensor],
        count: int = 16,
        *,
        elevation_deg: float = 0.0,
        radius: float = 0.0,
        input_poses: Sequence[RelativePose] | None = None,
        consistency: Consistency = "none",
        preprocess: Preprocess = "auto",
        foreground_ratio: float | None = None,
        output_type: Literal["pil", "np", "pt"] = "pil",
        **options: Any,
    ) -> Zero123PipelineOutput:
        """Make ``count`` views evenly around the object, the first at azimuth 0.

        Args:
            image, input_poses: one image, or several with their cameras, as for :meth:`__call__`.
            elevation_deg, radius: of all cameras, relative to the first image's.
            consistency: how the views come to agree, see
                :mod:`zero123lib.diffusion.consistency`.
            **options: of :meth:`views`; the others as for :meth:`__call__`.
        """
        arguments.check_choice("output_type", output_type, Literal["pil", "np", "pt"])
        arguments.check_whole("count", count, 1)
        inputs = self._prepared(image, preprocess, foreground_ratio)
        conditions = [self.encode(one) for one in inputs]
        poses = around(count, elevation_deg, radius)
        views = consistent_views(
            self, conditions, poses, consistency, input_poses=input_poses, **options
        )
        return self._told(in_form(views, output_type), inputs)

    def _prepared(
        self,
        image: ImageSource | Tensor | Sequence[ImageSource | Tensor],
        preprocess: Preprocess,
        foreground_ratio: float | None,
    ) -> list[Prepared]:
        """Prepare one image or several; of several a bad one is named by its place."""
        if not isinstance(image, (list, tuple)):
            return [self.prepare(cast(Any, image), preprocess, foreground_ratio)]
        if not image:
            raise ArgumentError("image", "at least one", "an empty list")
        found = []
        for place, one in enumerate(image):
            try:
                found.append(self.prepare(one, preprocess, foreground_ratio))
            except ImageError as error:
                raise error.renamed(f"image[{place}]") from error
        return found

    def _told(self, made: Any, inputs: Sequence[Prepared]) -> Zero123PipelineOutput:
        """End a call: ask for the first notice and log it, and let offloaded models go."""
        notice = next(filter(None, map(self.notice, inputs)), None)
        self.maybe_free_model_hooks()
        if notice is not None:
            _logger.warning(notice)
        return Zero123PipelineOutput(made, inputs[0], notice)

    def _sampler_or_scheduler(self, sampler: Sampler | None) -> Any:
        """Return what runs: the sampler that is named, or else the scheduler."""
        if sampler is None and self.scheduler is self._checkpoint_scheduler:
            return "ddim"
        return self.scheduler if sampler is None else sampler

    def _run(self, steps: Steps, callback: Callback | None, names: Sequence[str]) -> Tensor:
        """Return latents after the last step, or after the one at which the call was stopped."""
        total = len(steps.timesteps)
        self._interrupt, self._num_timesteps = False, total
        with cast(Any, self.progress_bar)(total=total) as bar:

            def on_step(step: SampleStep) -> Tensor | None:
                changes: Mapping[str, Any] = {}
                if callback is not None:
                    tensors = {name: getattr(step, name) for name in names}
                    changes = callback(self, step.index, step.timestep, tensors) or {}
                bar.update()
                if self._interrupt:
                    steps.close()
                return changes.get("latents")

            return samplers.last(steps, on_step)
