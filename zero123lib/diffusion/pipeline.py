"""Novel views of one picture: the diffusers-style public face of a Zero123-family model.

    pipe = Zero123Pipeline.from_pretrained("tiny")
    views = pipe("photo.png", [RelativePose(azimuth_deg=45), RelativePose(elevation_deg=20)]).images

What happens inside, step by step, is public too, for live progress and for other uses of a
condition: ``prepare`` a picture, ``encode`` it once, ``sample`` latents as a generator of steps,
``decode`` them.

Axes: N poses, C latent channels, D the width of the context token; pictures are
``[N, 3, H, W]`` in [-1, 1], latents ``[N, C, h, w]``, scaled by the VAE's ``scaling_factor``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils.outputs import BaseOutput
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from zero123lib.diffusion import arguments, samplers
from zero123lib.diffusion.checkpoints import loading, sources
from zero123lib.diffusion.checkpoints.reading import Options, read_checkpoint
from zero123lib.diffusion.domain import DomainStatistics, domain_distance
from zero123lib.diffusion.model import CameraProjection, clip_embedding, enable_one_token
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.diffusion.samplers import Sampler, Steps
from zero123lib.diffusion.schedule import Schedule
from zero123lib.views.images import (
    FOREGROUND_RATIO,
    ImageSource,
    Prepared,
    Preprocess,
    prepare,
    to_pils,
)
from zero123lib.views.poses import Encoding, RelativePose, encode_poses

# pil: list of RGB pictures;  np: float32 [N, H, W, 3] in [0, 1];  pt: float32 [N, 3, H, W] in
# [0, 1], as diffusers has it;  latent: float32 [N, C, h, w], scaled, not decoded
OutputType = Literal["pil", "np", "pt", "latent"]

Callback = Callable[[Any, int, int, dict[str, Tensor]], Mapping[str, Any] | None]

_logger = logging.getLogger(__name__)


@dataclass
class Zero123PipelineOutput(BaseOutput):
    """Views and what they were made from.

    Attributes:
        images: one per pose, see :data:`OutputType`.
        prepared: the condition as the model saw it.
        notice: what to tell the user about this picture, when it is far from the model's world.
    """

    images: list[Image.Image] | np.ndarray | Tensor
    prepared: Prepared
    notice: str | None = None


@dataclass(frozen=True, eq=False)
class Condition:
    """An encoded picture: CLIP's ``embedding`` ``[1, D]`` and the VAE's ``concat`` latent
    ``[1, C, h, w]``, which is *not* multiplied by ``scaling_factor``."""

    embedding: Tensor
    concat: Tensor


class Zero123Pipeline(DiffusionPipeline):
    """Views of a pictured object from other cameras (Zero-1-to-3, Liu et al. 2023).

    Args:
        unet: 2C channels in, C out, one context token.
        vae: autoencoder with ``encode``, ``decode`` and ``scaling_factor``.
        image_encoder: CLIP's image tower.
        camera_projection: joins its embedding and the pose.
        scheduler: any diffusers scheduler; its config says the betas and the prediction type.
        encoding: the pose encoding that the checkpoint was trained with.
        model_name: what to call the model in an app.
        licence: of the weights, as their publisher states it.
        num_inference_steps: recommended to apps; calls take 50 unless told.
        guidance_scale: recommended to apps; calls take 3 unless told.
        foreground_ratio: longest side of the object over the picture's that the model does best
            with; pictures are framed so unless told.
        domain: what the model's training pictures show, a plural noun phrase such as
            "simple drawn objects"; None when it knows photos of anything.
        domain_statistics: :meth:`DomainStatistics.to_config` of those pictures.
        scene_kinds: of the procedural objects that it was trained on, names in
            ``zero123lib.scenes.KINDS``: evaluation asks about these. None where it was trained on
            all of them, or on none.
    """

    model_cpu_offload_seq = "image_encoder->camera_projection->unet->vae"
    _callback_tensor_inputs = arguments.TENSOR_INPUTS

    unet: UNet2DConditionModel
    vae: AutoencoderKL | PatchAutoencoder
    image_encoder: CLIPVisionModelWithProjection
    camera_projection: CameraProjection
    scheduler: Any

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL | PatchAutoencoder,
        image_encoder: CLIPVisionModelWithProjection,
        camera_projection: CameraProjection,
        scheduler: Any,
        encoding: str = "zero123",
        model_name: str | None = None,
        licence: str | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        foreground_ratio: float = FOREGROUND_RATIO,
        domain: str | None = None,
        domain_statistics: dict | None = None,
        scene_kinds: list[str] | None = None,
    ) -> None:
        super().__init__()
        if encoding not in get_args(Encoding):
            names = " or ".join(map(repr, get_args(Encoding)))
            raise ValueError(f"encoding: expected {names}, got {encoding!r}")
        self.register_modules(
            unet=unet,
            vae=vae,
            image_encoder=image_encoder,
            camera_projection=camera_projection,
            scheduler=scheduler,
        )
        self.register_to_config(
            encoding=encoding,
            model_name=model_name,
            licence=licence,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            foreground_ratio=foreground_ratio,
            domain=domain,
            domain_statistics=domain_statistics,
            scene_kinds=scene_kinds,
        )
        self._interrupt = False
        self._num_timesteps = 0

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        original_config: str | Path | Mapping[str, Any] | None = None,
        encoding: Encoding | Literal["auto"] = "auto",
        use_ema: bool = True,
        torch_dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        device: str | torch.device | None = None,
        *,
        variant: str | None = None,
        one_token: bool = True,
        **kwargs: Any,
    ) -> Zero123Pipeline:
        """Load any published checkpoint of the family, safely and in little memory.

        Args:
            source: the bundled "tiny"; a published model's name ("zero123-105000",
                "zero123-165000", "zero123-xl", "stable-zero123", "stable-zero123-c"), which is
                downloaded once, its licence shown first; a diffusers folder, ours or any
                published port's, or its repository ``owner/name`` on the Hugging Face Hub; an
                original ``.ckpt`` or ``.safetensors`` file.
            original_config: the official YAML (a path, or parsed) of an original file whose UNet
                or VAE is not of the published sizes.
            encoding: of the pose; "auto" takes what the checkpoint says, else guesses from its
                name, with a warning: its tensors cannot tell.
            use_ema: take the running average of the UNet's weights from an original file, as the
                official demo does; a notice where it has none.
            torch_dtype: float32 unless told, whatever the files hold; or one per component, with
                a "default". ``dtype``, diffusers' new name for it, means the same.
            device: the CPU unless told; weights go there one by one.
            variant: of the weights in a folder, such as "fp16"; half precision prefers that one.
            one_token: use the one-token identity in place of stock cross-attention, in a ``unet``
                that was passed in too.
            **kwargs: components to use in place of the checkpoint's (``scheduler=...``), and
                for downloads huggingface_hub's ``cache_dir``, ``revision``, ``token``,
                ``local_files_only`` and ``force_download``.

        Raises:
            ValueError: no such model, or another argument is out of range; see
                :mod:`zero123lib.diffusion.checkpoints.errors` for what can be wrong with a
                checkpoint.
            TypeError: an unknown argument, or a component of another class.
        """
        loading.check_encoding(encoding)
        dtype = kwargs.pop("dtype", None) or torch_dtype
        loading.check_dtype(dtype)
        place = loading.checked_device(device)
        given, hub = loading.split_arguments(kwargs)
        if variant is None and loading.is_half(dtype):
            variant = "fp16"
        original = original_config is not None or not use_ema
        found = sources.find(source, variant, loading.wanted_precision(dtype), original, **hub)
        checkpoint = read_checkpoint(found.path, Options(original_config, use_ema, variant))
        settings = {"model_name": found.name, "licence": found.licence, **checkpoint.settings}
        settings["encoding"] = loading.settled_encoding(encoding, settings, found)
        for notice in checkpoint.notices:
            _logger.warning(notice)
        components = loading.load_components(checkpoint, dtype, place, given)
        if one_token:
            enable_one_token(components["unet"])
        return cls(**components, **settings)

    @property
    def image_size(self) -> int:
        """Side of the square pictures that the model takes and makes, pixels."""
        return int(self.unet.config["sample_size"]) * self._compression

    @property
    def model_name(self) -> str:
        """What to call the model."""
        return self.config["model_name"] or "unnamed"

    @property
    def licence(self) -> str | None:
        """Of the weights, as stated beside them or by the publisher of a named model."""
        return self.config["licence"]

    @property
    def num_timesteps(self) -> int:
        """Steps of the latest call."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Set ``pipe._interrupt = True``, from a callback say, to stop after the step at hand."""
        return self._interrupt

    @property
    def _compression(self) -> int:
        if isinstance(self.vae, AutoencoderKL):
            return 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        return self.vae.spatial_compression_ratio

    def prepare(
        self,
        image: ImageSource | Tensor,
        preprocess: Preprocess = "auto",
        foreground_ratio: float | None = None,
    ) -> Prepared:
        """The condition at the model's size: :func:`zero123lib.views.images.prepare`.

        Args:
            foreground_ratio: None takes the model's own.
        """
        ratio = self.config["foreground_ratio"] if foreground_ratio is None else foreground_ratio
        return prepare(image, self.image_size, preprocess, ratio)

    def notice(self, prepared: Prepared) -> str | None:
        """One sentence for the user when a picture is far from what the model knows, else None."""
        domain, statistics = self.config["domain"], self.config["domain_statistics"]
        if domain is None or statistics is None:
            return None
        known = DomainStatistics.from_config(statistics)
        if float(domain_distance(known, prepared.tensor[None])) <= 1:
            return None
        return (
            f"This picture is unlike the {domain} that the model {self.model_name!r} was trained "
            "on; expect a guess of its colours and shape, not its true other sides."
        )

    @torch.no_grad()
    def encode(self, prepared: Prepared) -> Condition:
        """Encode a picture once, for any number of poses and calls of :meth:`sample`."""
        device = self._execution_device
        picture = prepared.tensor[None].to(device)
        embedding = clip_embedding(self.image_encoder, picture.to(self.image_encoder.dtype))
        posterior = cast(Any, self.vae.encode(picture.to(self.vae.dtype))).latent_dist
        return Condition(embedding, posterior.mode())

    def sample(
        self,
        condition: Condition,
        poses: Sequence[RelativePose],
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        sampler: Sampler = "ddim",
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        condition_elevation_deg: float | None = None,
        max_batch_size: int | None = None,
    ) -> Steps:
        """Latents of all poses, step by step; arguments as for :meth:`__call__`.

        Arguments are checked at once, and the first noise is drawn; the model runs as the
        generator is advanced. A tensor sent into the generator replaces a step's latents.

        Returns:
            A generator of :class:`zero123lib.diffusion.samplers.SampleStep`.
        """
        arguments.check_poses(poses)
        arguments.check_number("guidance_scale", guidance_scale, 0.0, math.inf)
        arguments.check_generator(generator, len(poses))
        samplers.check_sampler(sampler, eta)
        batch = arguments.batch_size(max_batch_size)
        schedule = Schedule.from_scheduler(self.scheduler)
        samplers.step_count(sampler, schedule, num_inference_steps)
        context = self._context(condition, poses, condition_elevation_deg)
        shape = self._latent_shape()
        device = self._execution_device

        def noise() -> Tensor:
            return samplers.unit_noise(shape, len(poses), generator, device)

        x = (
            noise()
            if latents is None
            else arguments.checked_latents(latents, (len(poses), *shape)).to(device)
        )
        model = self._model(condition, context, float(guidance_scale), batch)
        return samplers.start(sampler, model, x, schedule, num_inference_steps, float(eta), noise)

    @torch.no_grad()
    def decode(self, latents: Tensor, max_batch_size: int | None = None) -> Tensor:
        """Pictures ``[N, 3, H, W]`` in [-1, 1], float32, of scaled latents ``[N, C, h, w]``."""
        unscaled = (latents / self.vae.config["scaling_factor"]).to(self.vae.dtype)
        parts = [
            cast(Any, self.vae.decode(part)).sample.float().clamp(-1, 1)
            for part in unscaled.split(arguments.batch_size(max_batch_size))
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def __call__(
        self,
        image: ImageSource | Tensor,
        poses: Sequence[RelativePose],
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        sampler: Sampler = "ddim",
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: Tensor | None = None,
        preprocess: Preprocess = "auto",
        foreground_ratio: float | None = None,
        condition_elevation_deg: float | None = None,
        max_batch_size: int | None = None,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> Zero123PipelineOutput | tuple:
        """One view per pose, all poses together.

        Args:
            image: a path, the bytes of a file, a Pillow image, an array ``[H, W, 3 or 4]``, or a
                tensor ``[3, S, S]`` in [-1, 1] of the model's size S, taken as already prepared.
            poses: N target cameras relative to the picture's.
            num_inference_steps: number of evaluations of the model, 1 to 1000; exact but for the
                official sampler, which makes its own of it.
            guidance_scale: 0 and above; 1 makes no unconditional pass.
            sampler: see :data:`zero123lib.diffusion.samplers.Sampler`.
            eta: in [0, 1], noise that ``"ddim"`` and ``"official"`` add on the way.
            generator: source of the noise, or one per pose. Noise is drawn pose by pose, so the
                first poses look the same however many follow.
            latents: unit noise ``[N, C, h, w]`` to start from, in place of drawn noise.
            preprocess: see :data:`zero123lib.views.images.Preprocess`.
            foreground_ratio: longest side of the object over the picture's, for "auto"; None
                takes the model's own.
            condition_elevation_deg: elevation of the picture's camera, degrees; needed by a
                stable-zero123 checkpoint and used by no other.
            max_batch_size: poses per batch of UNet and VAE, the bound on memory; None means 8.
                Results do not depend on it, up to rounding.
            output_type: see :data:`OutputType`.
            return_dict: False gives the tuple ``(images, prepared)``, and ``notice`` if any.
            callback_on_step_end: called as ``callback(pipe, index, timestep, tensors)`` after
                every step; the ``"latents"`` of a dict that it returns take the step's place.
            callback_on_step_end_tensor_inputs: names of the tensors it is given: "latents".

        Raises:
            ValueError: an argument is out of range; the message names it.
        """
        arguments.check_choice("output_type", output_type, OutputType)
        arguments.check_tensor_inputs(callback_on_step_end_tensor_inputs)
        arguments.check_poses(poses)
        prepared = self.prepare(image, preprocess, foreground_ratio)
        steps = self.sample(
            self.encode(prepared),
            poses,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            sampler=sampler,
            eta=eta,
            generator=generator,
            latents=latents,
            condition_elevation_deg=condition_elevation_deg,
            max_batch_size=max_batch_size,
        )
        names = callback_on_step_end_tensor_inputs
        schedule = Schedule.from_scheduler(self.scheduler)
        total = samplers.step_count(sampler, schedule, num_inference_steps)
        final = self._run(steps, total, callback_on_step_end, names)
        images = self._output(final, output_type, max_batch_size)
        self.maybe_free_model_hooks()
        notice = self.notice(prepared)
        if notice is not None:
            _logger.warning(notice)
        output = Zero123PipelineOutput(images, prepared, notice)
        return output if return_dict else output.to_tuple()

    def _run(
        self, steps: Steps, total: int, callback: Callback | None, names: Sequence[str]
    ) -> Tensor:
        """Latents after the last step, or after the one at which the call was interrupted."""
        self._interrupt, self._num_timesteps = False, total
        replaced: Tensor | None = None
        latents: Tensor | None = None
        with cast(Any, self.progress_bar)(total=total) as bar:
            while True:
                try:
                    step = steps.send(replaced)
                except StopIteration:
                    break
                latents, replaced = step.latents, None
                if callback is not None:
                    tensors = {name: getattr(step, name) for name in names}
                    changes = callback(self, step.index, step.timestep, tensors) or {}
                    latents = replaced = changes.get("latents", latents)
                bar.update()
                if self._interrupt:
                    break
        assert latents is not None, "a schedule has at least one step"
        return latents

    def _output(
        self, latents: Tensor, output_type: OutputType, max_batch_size: int | None
    ) -> list[Image.Image] | np.ndarray | Tensor:
        if output_type == "latent":
            return latents
        pictures = self.decode(latents, max_batch_size)
        if output_type == "pil":
            return to_pils(pictures)
        unit = (pictures + 1) / 2
        return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).cpu().numpy()

    def _latent_shape(self) -> tuple[int, int, int]:
        size = int(self.unet.config["sample_size"])
        return int(self.unet.config["out_channels"]), size, size

    @torch.no_grad()
    def _context(
        self,
        condition: Condition,
        poses: Sequence[RelativePose],
        condition_elevation_deg: float | None,
    ) -> Tensor:
        """Context tokens ``[N, 1, D]``."""
        if condition_elevation_deg is not None:
            arguments.check_number("condition_elevation_deg", condition_elevation_deg, -90.0, 90.0)
        pose = encode_poses(poses, self.config["encoding"], condition_elevation_deg)
        embedding = condition.embedding.to(self.camera_projection.dtype)
        return self.camera_projection(embedding.expand(len(poses), -1), pose.to(embedding.device))

    def _model(
        self, condition: Condition, context: Tensor, guidance_scale: float, batch: int
    ) -> samplers.Model:
        """The guided UNet on all poses' latents, at most ``batch`` poses at a time.

        The null condition is a zero token, after the projection, and a zero concat latent, as the
        official sampler has it.
        """
        dtype = self.unet.dtype

        def run(x: Tensor, t: int, concat: Tensor, token: Tensor) -> Tensor:
            stacked = torch.cat([x, concat], 1).to(dtype)
            return self.unet(stacked, t, encoder_hidden_states=token.to(dtype)).sample.float()

        def guided(x: Tensor, t: int, token: Tensor) -> Tensor:
            concat = condition.concat.to(x).expand(len(x), -1, -1, -1)
            if guidance_scale == 1.0:
                return run(x, t, concat, token)
            concats = torch.cat([torch.zeros_like(concat), concat])
            tokens = torch.cat([torch.zeros_like(token), token])
            uncond, cond = run(torch.cat([x, x]), t, concats, tokens).chunk(2)
            return uncond.lerp(cond, guidance_scale)

        @torch.no_grad()
        def model(x: Tensor, t: int) -> Tensor:
            parts = zip(x.split(batch), context.split(batch), strict=True)
            return torch.cat([guided(latents, t, token) for latents, token in parts])

        return model
