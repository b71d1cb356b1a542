"""The state that training advances from step to step, and how that of a new run is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn

from zero123lib._errors import ArgumentError
from zero123lib.datasets.pairs import Batch
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.lpips import lpips_alex
from zero123lib.training import lora
from zero123lib.training.config import ComputeConfig, TrainConfig
from zero123lib.training.distillation import Teacher, distillation_loss
from zero123lib.training.initial import load_initial
from zero123lib.training.objective import Draws, denoising_loss
from zero123lib.training.optimization import RunningAverage, make_optimizer
from zero123lib.training.precision import on_cpu, with_precision
from zero123lib.training.recipe import TrainedModel
from zero123lib.training.sharding import shard

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What the one-token identity never uses: its gradients are zero, and it costs nothing to keep.
_UNUSED = re.compile(r"transformer_blocks\.\d+\.(norm2|attn2\.(to_q|to_k))\.")


@dataclass
class TrainState:
    """Everything that a run carries from step to step.

    Attributes:
        pipe: the networks themselves, trained ones included.
        model: those that are trained, wrapped for several processes and mixed precision.
        average: of their weights.
        updates_before: that went into the average before the run began.
        step: optimizer steps done.
        seconds: of training so far, validation and saving included, by the slowest process.
        teacher: of a student that is distilled.
        skeletons: of the networks in the model, by name, where their weights are sharded.
    """

    config: TrainConfig
    accelerator: Accelerator
    pipe: Zero123Pipeline
    model: nn.Module
    optimizer: Any
    average: RunningAverage
    updates_before: int = 0
    step: int = 0
    seconds: float = 0.0
    teacher: Teacher | None = None
    skeletons: Mapping[str, nn.Module] = field(default_factory=dict)

    def loss(self, model: nn.Module, batch: Batch, draws: Draws, step: int | None = None) -> Tensor:
        """Return a batch's loss, a scalar.

        Args:
            model: the state's own, wrapped or not.
            step: steps done before this one; None in validation.
        """
        objective = self.config.objective
        if self.teacher is None:
            return denoising_loss(model, self.pipe, batch, draws, objective, step)
        return distillation_loss(model, self.teacher, self.pipe, batch, draws, objective, step)

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Return the weights that are trained, by name."""
        inner = self.accelerator.unwrap_model(self.model)
        return {name: p for name, p in inner.named_parameters() if p.requires_grad}


def make_accelerator(config: ComputeConfig) -> Accelerator:
    """Build Accelerate's view of this process, its device and the others; "auto" has been decided.

    Raises:
        ValueError: fp16 on a CPU.
    """
    # A second run in one process may have another precision than the first.
    AcceleratorState._reset_state()
    cpu = on_cpu(config)
    if cpu and config.precision == "fp16":
        raise ArgumentError("compute.precision", "auto, fp32 or bf16 on a CPU", "fp16")
    wrapping = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    # A cache would keep what shards are gathered for a moment only.
    casting = AutocastKwargs(cache_enabled=config.sharding == "none")
    accelerator = Accelerator(
        mixed_precision="no" if config.precision == "fp32" else config.precision,
        cpu=cpu,
        kwargs_handlers=[wrapping, casting],
    )
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return accelerator


def micro_batch(config: TrainConfig, processes: int) -> tuple[int, int]:
    """Return pairs at a time per process, and how many such make a step.

    Raises:
        ValueError: the batch does not divide among the processes.
    """
    share, left = divmod(config.batch.size, processes)
    if left:
        raise ArgumentError(
            "batch.size", f"a multiple of the {processes} processes", str(config.batch.size)
        )
    fitting = range(1, min(config.batch.per_device, share) + 1)
    size = max(one for one in fitting if share % one == 0)
    return size, share // size


def start(config: TrainConfig) -> TrainState:
    """Return the state before the first step.

    Raises:
        ValueError: something in the config does not fit the model or the machine.
    """
    config = replace(config, compute=with_precision(config.compute))
    # How often gradients accumulate depends on the number of processes, which it tells.
    accelerator = make_accelerator(config.compute)
    _, accumulate = micro_batch(config, accelerator.num_processes)
    accelerator.gradient_accumulation_steps = accumulate
    begun = load_initial(config)
    pipe = begun.pipe
    teacher = _teacher(pipe, config, accelerator.device)
    _freeze(pipe, config)
    _place(pipe, config.compute, accelerator.device)
    clip = pipe.image_encoder if config.trained.image_encoder else None
    filtering: Any = pipe.vae.deblocking if config.trained.deblocking else None
    model = TrainedModel(pipe.unet, clip, pipe.camera_projection, filtering).train()
    if config.compute.gradient_checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    skeletons = shard(model, accelerator) if config.compute.sharding == "fsdp" else {}
    averages = {f"unet.{name}": tensor for name, tensor in (begun.averages or {}).items()}
    average = RunningAverage(model, averages)
    if config.compute.compile:
        pipe.unet.compile()
        if filtering is not None:
            filtering.compile()
        if config.objective.perceptual.weight:
            lpips_alex(accelerator.device).compile()
    wrapped: Any = model
    prepared: Any = make_optimizer(model, config.optimizer)
    if skeletons:
        prepared = accelerator.prepare(prepared)
    else:
        wrapped, prepared = accelerator.prepare(model, prepared)
    return TrainState(
        config,
        accelerator,
        pipe,
        wrapped,
        prepared,
        average,
        begun.updates,
        teacher=teacher,
        skeletons=skeletons,
    )


def _teacher(pipe: Zero123Pipeline, config: TrainConfig, device: torch.device) -> Teacher | None:
    distillation, compute = config.objective.distillation, config.compute
    if distillation is None:
        return None
    teacher = Teacher(pipe, distillation, config.trained.image_encoder)
    if compute.compile:
        teacher.unet.compile()
    return teacher.to(device, _DTYPES[compute.frozen_precision])


def _freeze(pipe: Zero123Pipeline, config: TrainConfig) -> None:
    """Set which weights are trained."""
    trained = config.trained
    pipe.vae.requires_grad_(False)
    if trained.deblocking:
        filtering: Any = getattr(pipe.vae, "deblocking", None)
        if filtering is None:
            raise ArgumentError(
                "trained.deblocking", "false for a model without a deblocking filter", "true"
            )
        filtering.requires_grad_(True)
    pipe.image_encoder.requires_grad_(trained.image_encoder)
    pipe.camera_projection.requires_grad_(True)
    pipe.unet.requires_grad_(True)
    if trained.unet == "lora":
        lora.add_adapters(pipe.unet, trained, config.seed)
    if trained.one_token:
        for name, parameter in pipe.unet.named_parameters():
            if _UNUSED.search(name):
                parameter.requires_grad_(False)


def _place(pipe: Zero123Pipeline, config: ComputeConfig, device: torch.device) -> None:
    """Move the networks, what is trained in float32 and what is frozen in its own precision."""
    frozen = _DTYPES[config.frozen_precision]
    for network in (pipe.unet, pipe.vae, pipe.image_encoder, pipe.camera_projection):
        whole = not any(p.requires_grad for p in network.parameters())
        if whole:
            nn.Module.to(network, device=device, dtype=frozen)
        else:
            nn.Module.to(network, device=device, dtype=torch.float32)
            for parameter in network.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(frozen)
        if config.channels_last:
            _lay_channels_last(network)


def _lay_channels_last(network: nn.Module) -> None:
    """Lay out the weights of convolutions with channels last.

    Strides are spelt out, since torch takes a 1 x 1 convolution's as either layout, and warns when
    its gradient then comes in the other one.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            _, channels, height, width = parameter.shape
            strides = (channels * height * width, 1, width * channels, channels)
            laid = parameter.data.new_empty_strided(parameter.shape, strides)
            parameter.data = laid.copy_(parameter.data)
