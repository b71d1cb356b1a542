"""Our guidance inside threestudio, under the name `zero123lib-guidance`.

Importing this module registers it; `zero123 threestudio install` makes threestudio import it. A
recipe of threestudio's own runs on it when its `guidance_type` alone is changed: the keys of
`zero123-guidance` and `stable-zero123-guidance` mean the same here.

Axes as threestudio has them: B views, images `[B, H, W, 3]` in [0, 1], angles in degrees.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.sds import Distillation, Draw, Guidance
from zero123lib.threestudio_plugin.clone import GUIDANCE_TYPE
from zero123lib.threestudio_plugin.settings import check_keys, check_order, check_settings
from zero123lib.views.poses import RelativePose, wrap_azimuth_deg

threestudio: Any = import_module("threestudio")
BaseObject: Any = import_module("threestudio.utils.base").BaseObject
C: Any = import_module("threestudio.utils.misc").C

# A file that gets a line of JSON per step: how `launch` knows where the run is.
PROGRESS_VARIABLE = "ZERO123LIB_PROGRESS"

# Steps from a noisy view to the clean one that a preview shows.
_PREVIEW_STEPS = 10


@dataclass
class Config(BaseObject.Config):
    """`system.guidance`. `Any` is a number or one of threestudio's schedules.

    Attributes:
        pretrained_model_name_or_path: whatever `Zero123Pipeline.from_pretrained` takes; a path is
            relative to the clone.
        pretrained_config: the official YAML of a checkpoint of other sizes than the published.
        encoding, use_ema: as `from_pretrained` has them.
        half_precision_weights: float16 for the model; latents and losses stay float32.
        vram_O: CLIP leaves the GPU once the input view is encoded.
        cond_image_path: the input view, square, framed as the reference view is.
        cond_elevation_deg, cond_azimuth_deg, cond_camera_distance: of its camera.
        guidance_scale: over both conditions; 1 makes no unconditional pass.
        min_step_percent, max_step_percent: of all timesteps, shares in [0, 1].
        grad_clip: bound on each entry of the gradient.
        variant, weighting: of distillation; null takes what `embedded` says, or else "sds" and
            the variant's own.
        max_batch_size: views per batch of UNet and VAE; null means 8.
        max_items_eval: views of a preview, -1 for all.
        embedded: of the embedded engine; here its `variant` and `weighting` alone are read.
    """

    pretrained_model_name_or_path: Any = "zero123-xl"
    pretrained_config: Any = None
    encoding: Any = "auto"
    use_ema: Any = True
    half_precision_weights: Any = False
    vram_O: Any = True
    cond_image_path: Any = "load/images/hamburger_rgba.png"
    cond_elevation_deg: Any = 0.0
    cond_azimuth_deg: Any = 0.0
    cond_camera_distance: Any = 1.85
    guidance_scale: Any = 3.0
    min_step_percent: Any = 0.02
    max_step_percent: Any = 0.98
    grad_clip: Any = None
    variant: Any = None
    weighting: Any = None
    max_batch_size: Any = None
    max_items_eval: Any = 4
    embedded: Any = None

    def __post_init__(self) -> None:
        check_settings(self)


@threestudio.register(GUIDANCE_TYPE)
class Zero123LibGuidance(BaseObject):
    """threestudio's guidance, by way of :class:`zero123lib.diffusion.sds.Guidance`."""

    Config = Config

    def __init__(self, cfg: Any = None, *args: Any, **kwargs: Any) -> None:
        check_keys(cfg or {}, [field.name for field in fields(Config)])
        super().__init__(cfg or {}, *args, **kwargs)

    def configure(self) -> None:
        """Load the model and encode the input view."""
        cfg = self.cfg
        check_order(cfg, C)
        pipe = Zero123Pipeline.from_pretrained(
            cfg.pretrained_model_name_or_path,
            original_config=cfg.pretrained_config,
            encoding=cfg.encoding,
            use_ema=cfg.use_ema,
            torch_dtype=torch.float16 if cfg.half_precision_weights else None,
            device=self.device,
        )
        self.guidance = Guidance(
            pipe,
            pipe.prepare(cfg.cond_image_path, "none"),
            condition_elevation_deg=cfg.cond_elevation_deg,
            max_batch_size=cfg.max_batch_size,
        )
        if cfg.vram_O:
            cast(Any, pipe.image_encoder).to("cpu")
        embedded = cfg.embedded or {}
        self.variant = cfg.variant or embedded.get("variant") or "sds"
        self.weighting = cfg.weighting or embedded.get("weighting")
        self.global_step = 0
        self.update_step(0, 0)
        threestudio.info(
            f"zero123lib guidance: model {pipe.model_name!r}, {pipe.config['encoding']} poses, "
            f"{self.variant}"
        )

    def update_step(self, epoch: int, global_step: int, on_load_weights: bool = False) -> None:
        """Take this step's values of all schedules."""
        cfg = self.cfg
        self.global_step = global_step
        self.timesteps = tuple(
            C(share, epoch, global_step) for share in (cfg.min_step_percent, cfg.max_step_percent)
        )
        self.guidance_scale = C(cfg.guidance_scale, epoch, global_step)
        self.grad_clip = None if cfg.grad_clip is None else C(cfg.grad_clip, epoch, global_step)

    def __call__(
        self,
        rgb: Tensor,
        elevation: Tensor,
        azimuth: Tensor,
        camera_distances: Tensor,
        rgb_as_latents: bool = False,
        guidance_eval: bool = False,
        draw: Draw | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Distil rendered views.

        Args:
            rgb: `[B, H, W, 3]` in [0, 1] with gradient; with `rgb_as_latents` as many channels as
                latents have, to which the values of [0, 1] are stretched to [-1, 1].
            elevation, azimuth: `[B]`, degrees.
            camera_distances: `[B]`.
            guidance_eval: also make previews of what the model sees, under "eval".
            draw: timesteps and noise to use in place of drawn ones.
            **kwargs: what else is in threestudio's batch.

        Returns:
            "loss_sds", a scalar with gradient, and numbers to log.
        """
        poses = self._poses(elevation, azimuth, camera_distances)
        settings: dict[str, Any] = {
            "timesteps": self.timesteps,
            "guidance_scale": self.guidance_scale,
            "variant": self.variant,
            "weighting": self.weighting,
            "max_gradient": self.grad_clip,
            "draw": draw,
        }
        images = rgb.permute(0, 3, 1, 2)
        if rgb_as_latents:
            size = self.guidance.latent_shape[1:]
            latents = torch.nn.functional.interpolate(images, size, mode="bilinear") * 2 - 1
            found = self.guidance.distil(latents, poses, **settings)
        else:
            found = self.guidance(images, poses, **settings)
        if found.not_finite:
            threestudio.warn(f"{found.not_finite} of {len(poses)} views had no finite gradient")
        self._tell(found)
        total = self.guidance.schedule.num_train_timesteps
        result = {
            "loss_sds": found.loss,
            "grad_norm": found.gradient_norm,
            "min_step": int(total * self.timesteps[0]),
            "max_step": int(total * self.timesteps[1]),
        }
        if guidance_eval:
            result["eval"] = self._previews(found, poses)
        return result

    def _poses(self, elevation: Tensor, azimuth: Tensor, distance: Tensor) -> list[RelativePose]:
        cfg = self.cfg
        rows = zip(elevation.tolist(), azimuth.tolist(), distance.tolist(), strict=True)
        return [
            RelativePose(
                e - cfg.cond_elevation_deg,
                wrap_azimuth_deg(a - cfg.cond_azimuth_deg),
                d - cfg.cond_camera_distance,
            )
            for e, a, d in rows
        ]

    @torch.no_grad()
    def _previews(self, found: Distillation, poses: list[RelativePose]) -> dict[str, Any]:
        """Return what threestudio saves of a guidance: views with noise, one step on, and clean."""
        guidance, most = self.guidance, self.cfg.max_items_eval
        count = len(poses) if most < 0 else min(most, len(poses))
        denoise = guidance.denoiser(poses[:count])
        start, x = found.timesteps[:count], found.noisy[:count]
        images = {
            "imgs_noisy": self._decode(x),
            "imgs_1orig": self._decode(found.predicted[:count]),
        }
        for step in range(_PREVIEW_STEPS):
            at, to = (start * (_PREVIEW_STEPS - i) // _PREVIEW_STEPS for i in (step, step + 1))
            (seen,) = denoise(x, at, [self.guidance_scale])
            x = guidance.schedule.add_noise(seen.x0, seen.eps, to)  # DDIM, eta 0
            if step == 0:
                images["imgs_1step"] = self._decode(x)
        images["imgs_final"] = self._decode(seen.x0)
        levels = (start / guidance.schedule.num_train_timesteps).tolist()
        texts = [
            f"n{level:.02f}\ne{pose.elevation_deg:.01f}\na{pose.azimuth_deg:.01f}\nr{pose.radius:.02f}"
            for level, pose in zip(levels, poses[:count], strict=True)
        ]
        return {"bs": count, "noise_levels": levels, "texts": texts, **images}

    def _decode(self, latents: Tensor) -> Tensor:
        """Return images `[B, H, W, 3]` in [0, 1]."""
        return (self.guidance.pipe.decode(latents).permute(0, 2, 3, 1) + 1) / 2

    def _tell(self, found: Distillation) -> None:
        """Add a line to the file that `launch` watches, where there is one."""
        path = os.environ.get(PROGRESS_VARIABLE)
        if path:
            losses = {"sds": float(found.loss.detach()), "grad_norm": float(found.gradient_norm)}
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.global_step, "losses": losses}) + "\n")
