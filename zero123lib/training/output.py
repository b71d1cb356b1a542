"""What a run is for: a pipeline's folder of the averaged weights, and adapters beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from zero123lib._files import whole_folder
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.training import lora
from zero123lib.training.bundle import DOMAIN, bundled_settings, known_domain
from zero123lib.training.copying import cpu_copy
from zero123lib.training.distillation import student_settings
from zero123lib.training.processes import on_main
from zero123lib.training.sharding import whole_copy
from zero123lib.training.state import TrainState

_CARD = "README.md"
_NETWORKS = ("unet", "vae", "image_encoder", "camera_projection")
# Of a pipeline, beside its components.
_SETTINGS = (
    "encoding", "model_name", "licence", "num_inference_steps", "guidance_scale",
    "foreground_ratio",
)  # fmt: skip


def averaged_networks(state: TrainState) -> dict[str, Any]:
    """Return copies of a pipeline's networks by name, with the averaged weights, on the CPU,
    float32.

    Called by all processes where weights are sharded; all but the first get nothing.
    """
    main, copies = state.accelerator.is_main_process, {}
    if not main and not state.skeletons:
        return {}
    with state.average.applied():
        for name in _NETWORKS:
            network = getattr(state.pipe, name)
            if name in state.skeletons:
                copies[name] = whole_copy(network, state.skeletons[name], main)
            elif main:
                copies[name] = cpu_copy(network)
    return copies if main else {}


def averaged_pipeline(
    state: TrainState, networks: Mapping[str, Any] | None = None
) -> Zero123Pipeline:
    """Return a pipeline of its own with the averaged weights, adapters merged.

    Args:
        networks: what :func:`averaged_networks` made of the state; they become the pipeline's.
    """
    pipe, parts = state.pipe, dict(networks or averaged_networks(state))
    lora.merge(parts["unet"])
    parts["unet"].disable_gradient_checkpointing()
    settings = {name: pipe.config[name] for name in _SETTINGS}
    output, distillation = state.config.output, state.config.objective.distillation
    settings |= {"scheduler": pipe.scheduler}
    drawn = [one.scenes for one in state.config.data.sources if one.source == "scenes"]
    trained_on = dict(pipe.trained_on)
    if output.bundled:
        settings |= bundled_settings()
        trained_on = {}
    if distillation is not None:
        settings |= student_settings(pipe, distillation)
    settings |= {"model_name": output.name or settings["model_name"]}
    if drawn:
        all_kinds = any(scenes.kinds is None for scenes in drawn)
        named = {kind for scenes in drawn for kind in scenes.kinds or ()}
        trained_on["scene_kinds"] = None if all_kinds else sorted(named)
    settings["trained_on"] = trained_on or None
    result = Zero123Pipeline(**parts, **settings)
    for network in parts.values():
        network.eval().requires_grad_(False)
    if output.bundled:
        result.set_progress_bar_config(disable=True)
        world = {"domain": DOMAIN, "domain_statistics": known_domain(result).to_config()}
        result.register_to_config(trained_on=world | trained_on)
    return result


def save_pipeline(
    pipe: Zero123Pipeline, folder: Path, dtype: torch.dtype, max_shard_mb: int
) -> None:
    """Write a pipeline's folder, whole or not at all; a card that is there, README.md, stays.

    Args:
        pipe: is converted to the precision.
        dtype: of the weights.
        max_shard_mb: of one file of weights.

    Raises:
        OSError: it cannot be written; a folder of that name is untouched.
    """
    for network in (pipe.unet, pipe.vae, pipe.image_encoder, pipe.camera_projection):
        # diffusers' own `to` warns where there is nothing to warn of.
        nn.Module.to(network, dtype=dtype)
    with whole_folder(folder) as making:
        try:
            with _without_bars():
                pipe.save_pretrained(making, max_shard_size=f"{max_shard_mb}MB")
        except OSError:
            raise
        except Exception as error:  # safetensors' own word for a write that failed
            raise OSError(f"cannot write {folder}: {' '.join(str(error).split())}") from error
        for path in making.rglob("*.safetensors"):
            path.chmod(0o644)  # safetensors makes files private to the user
        if (folder / _CARD).exists():
            shutil.copy2(folder / _CARD, making / _CARD)


@contextmanager
def _without_bars() -> Iterator[None]:
    """transformers draws a bar for every file that it writes."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def write_model(run: Path, state: TrainState) -> None:
    """Write ``RUN/model``, and ``RUN/lora`` where adapters were trained; called by all processes,
    the first one writes.

    Raises:
        OSError: a folder cannot be written.
    """
    networks = averaged_networks(state)

    def write() -> None:
        half = state.config.output.precision == "fp16"
        dtype = torch.float16 if half else torch.float32
        if lora.has_adapters(state.pipe.unet):
            _write_adapters(run / "lora", networks)
        pipe = averaged_pipeline(state, networks)
        save_pipeline(pipe, run / "model", dtype, state.config.output.max_shard_mb)

    on_main(state.accelerator, write)


def _write_adapters(folder: Path, networks: Mapping[str, Any]) -> None:
    """Write the averaged adapters as peft and diffusers read them, and the projection."""
    with whole_folder(folder) as making:
        try:
            networks["unet"].save_lora_adapter(making)
            networks["camera_projection"].save_pretrained(making / "camera_projection")
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"cannot write {folder}: {' '.join(str(error).split())}") from error
        for path in making.rglob("*.safetensors"):
            path.chmod(0o644)
