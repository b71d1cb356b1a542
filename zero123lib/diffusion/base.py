"""The components and settings of a Zero123-family model: put together, loaded, saved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import StableDiffusionMixin
from transformers import CLIPVisionModelWithProjection

from zero123lib._files import write_bytes
from zero123lib.diffusion import pretrained
from zero123lib.diffusion.checkpoints.limits import check_settings
from zero123lib.diffusion.model import CameraProjection
from zero123lib.diffusion.patches import PatchAutoencoder
from zero123lib.views.images import FOREGROUND_RATIO
from zero123lib.views.poses import Encoding

# A folder that is saved holds this beside its index, which names it: diffusers' way to a class that
# is not its own.
LOADER = "pipeline"
_LOADER = '''"""Loads this folder by diffusers, where zero123lib is installed.

    DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)
"""

from zero123lib.diffusion.pipeline import Zero123Pipeline

__all__ = ["Zero123Pipeline"]
'''


class Zero123Model(DiffusionPipeline, StableDiffusionMixin):
    """Hold the networks of a Zero123-family model, its scheduler, and what is known of it.

    Args:
        unet: 2C channels in, C out, one context token.
        vae: autoencoder with ``encode``, ``decode`` and ``scaling_factor``.
        image_encoder: CLIP's image tower.
        camera_projection: joins its embedding and the pose.
        scheduler: any diffusers scheduler with betas; its config says the prediction type.
        encoding: the pose encoding that the camera projection was trained with. The projection
            keeps it, so that ``Zero123Pipeline(**pipe.components)`` knows; None takes what it
            says, or "zero123".
        model_name: what to call the model in an app.
        licence: of the weights, as their publisher states it.
        num_inference_steps, guidance_scale: what calls take that name none.
        foreground_ratio: longest side of the object over the image's that the model does best
            with; images are framed so unless told.
        trained_on: what the checkpoint says of its training images, as the property of that name
            has it; None where it says nothing.

    Raises:
        ArgumentError: a setting is out of range, or the encoding is not the projection's.
    """

    model_cpu_offload_seq = "image_encoder->camera_projection->unet->vae"

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
        encoding: str | None = None,
        model_name: str | None = None,
        licence: str | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.0,
        foreground_ratio: float = FOREGROUND_RATIO,
        trained_on: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        settings = {
            "encoding": encoding or camera_projection.config["encoding"] or "zero123",
            "model_name": model_name,
            "licence": licence,
            "num_inference_steps": num_inference_steps,
            "guidance_scale": guidance_scale,
            "foreground_ratio": foreground_ratio,
            "trained_on": trained_on,
        }
        check_settings(settings)
        camera_projection.settle_encoding(cast(Encoding, settings["encoding"]))
        self.register_modules(
            unet=unet,
            vae=vae,
            image_encoder=image_encoder,
            camera_projection=camera_projection,
            scheduler=scheduler,
        )
        self.register_to_config(**settings)
        # DDIM of a checkpoint is run corrected; a scheduler that takes its place is run as it is.
        self._checkpoint_scheduler = scheduler if isinstance(scheduler, DDIMScheduler) else None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a component as diffusers does; with a camera projection comes its encoding."""
        super().__setattr__(name, value)
        if name == "camera_projection" and "encoding" in self.config:
            value.settle_encoding(value.config["encoding"] or self.config["encoding"])
            self.register_to_config(encoding=value.config["encoding"])

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
        dtype: torch.dtype | dict[str, torch.dtype] | None = None,
        device_map: str | torch.device | None = None,
        variant: str | None = None,
        use_safetensors: bool | None = None,
        one_token: bool = True,
        **kwargs: Any,
    ) -> Self:
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
            torch_dtype, dtype: diffusers' old name and its new one: float32 unless told, whatever
                the files hold; or one per component, with a "default".
            device, device_map: the CPU unless told; weights go there one by one. A map names one
                device.
            variant: of the weights in a folder, such as "fp16", taken where a part has it; half
                precision prefers that one.
            use_safetensors: True refuses pickles; else they are read where there is nothing else.
            one_token: use the one-token identity in place of stock cross-attention, in a ``unet``
                that was passed in too.
            **kwargs: components to use in place of the checkpoint's (``scheduler=...``); settings
                of the pipeline in place of the checkpoint's (``guidance_scale=...``); for
                downloads huggingface_hub's ``cache_dir``, ``revision``, ``token``,
                ``local_files_only`` and ``force_download``. What else diffusers takes means
                nothing here or is refused in words
                (:mod:`zero123lib.diffusion.checkpoints.keywords`).

        Raises:
            ValueError: no such model, or another argument is out of range; see
                :mod:`zero123lib.diffusion.checkpoints.errors` for what can be wrong with a
                checkpoint.
            TypeError: an unknown argument, or a component of another class.
        """
        components, settings, scheduler = pretrained.load(
            source,
            original_config=original_config,
            encoding=encoding,
            use_ema=use_ema,
            dtypes=(torch_dtype, dtype),
            devices=(device, device_map),
            variant=variant,
            use_safetensors=use_safetensors,
            one_token=one_token,
            keywords=kwargs,
        )
        pipe = cls(**components, **settings)
        if pipe.scheduler is not scheduler:
            pipe._checkpoint_scheduler = None
        return pipe

    def to_json_string(self) -> str:
        """Return ``model_index.json``; the class is named as one that the folder brings along."""
        index = {
            **json.loads(super().to_json_string()),
            "_class_name": [LOADER, type(self).__name__],
        }
        return json.dumps(index, indent=2, sort_keys=True) + "\n"

    def save_config(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write the index of a folder, and the file by which diffusers loads it."""
        write_bytes(Path(save_directory) / f"{LOADER}.py", _LOADER.encode())
        super().save_config(save_directory, push_to_hub, **kwargs)

    @property
    def image_size(self) -> int:
        """Return the side of the square images that the model takes and makes, pixels."""
        return self.latent_shape[-1] * self._compression

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Return (C, h, w) of one view's latents."""
        size = int(self.unet.config["sample_size"])
        return int(self.unet.config["out_channels"]), size, size

    @property
    def model_name(self) -> str:
        """Return what to call the model."""
        return self.config["model_name"] or "unnamed"

    @property
    def licence(self) -> str | None:
        """Return the weights' licence, as their publisher states it."""
        return self.config["licence"]

    @property
    def trained_on(self) -> Mapping[str, Any]:
        """Return what the checkpoint says of its training images; nothing where it says nothing.

        ``domain``: what they show, a plural noun phrase such as "simple drawn objects";
        ``domain_statistics``: by which an image is near or far, see
        :class:`~zero123lib.diffusion.domain.DomainStatistics`; ``scene_kinds``: which procedural
        objects they show, names in ``zero123lib.scenes.KINDS``.
        """
        return self.config["trained_on"] or {}

    @property
    def _compression(self) -> int:
        if isinstance(self.vae, AutoencoderKL):
            return 2 ** (len(self.vae.config["block_out_channels"]) - 1)
        return self.vae.spatial_compression_ratio

    def recommended(
        self, num_inference_steps: int | None = None, guidance_scale: float | None = None
    ) -> tuple[int, float]:
        """Return the steps and the guidance scale that a call with these arguments takes: where
        one is None, what the checkpoint recommends."""
        steps, scale = self.config["num_inference_steps"], self.config["guidance_scale"]
        return (
            steps if num_inference_steps is None else num_inference_steps,
            scale if guidance_scale is None else guidance_scale,
        )
