"""What decides a training run: one small frozen dataclass per concern.

The defaults are the paper's recipe (Liu et al. 2023, section 3.2 and appendix; official
``configs/sd-objaverse-finetune-c_concat-256.yaml`` and ``ldm/models/diffusion/ddpm.py``); the
packaged presets write out what belongs to each.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zero123lib._config import (
    Count,
    NonNegative,
    Number,
    Pair,
    Positive,
    Share,
    Whole,
    settings,
)  # fmt: skip
from zero123lib._errors import ArgumentError
from zero123lib.training.architecture import Architecture
from zero123lib.training.data_config import DataConfig, check_path

# Short of 1, as nothing would ever be averaged in.
Decay = Annotated[Number, Field(ge=0, le=0.999999)]


@settings
class Initial:
    """Where the weights start from: one of the first three.

    Attributes:
        source: whatever ``Zero123Pipeline.from_pretrained`` takes.
        image_variations: weights of Stable Diffusion image variations, a diffusers folder, its
            repository or an original file.
        architecture: fresh weights.
        original_config: the official YAML, for an original file of other than published sizes.
    """

    source: str | None = None
    image_variations: str | None = None
    architecture: Architecture | None = None
    original_config: str | None = None

    def __post_init__(self) -> None:
        given = [self.source, self.image_variations, self.architecture]
        if sum(one is not None for one in given) != 1:
            raise ArgumentError(
                "source",
                "one of source, image_variations and architecture",
                f"{sum(one is not None for one in given)} of them",
            )


@settings
class BatchConfig:
    """``size`` pairs make a step, on all processes together, at most ``per_device`` at a time on
    each: gradients are accumulated over the rest, and data and noise do not depend on the split."""

    size: Count = 1536
    per_device: Count = 192


@settings
class TrainedConfig:
    """What is trained beside the camera projection; all else is frozen.

    Attributes:
        unet: "all" of it, or low-rank adapters ("lora") of its attention.
        image_encoder: CLIP's tower too, as a model without a pretrained one needs.
        deblocking: the filter of a patch transform's decoder, for the images that it makes.
        lora_rank: of the adapters; their output is scaled by ``lora_alpha / lora_rank``.
        one_token: skip what one context token makes useless, the queries and keys of
            cross-attention: exact and faster; they stay as they are.
    """

    unet: Literal["all", "lora"] = "all"
    image_encoder: bool = False
    deblocking: bool = False
    lora_rank: Count = 16
    lora_alpha: Positive = 16.0
    one_token: bool = True


@settings
class OptimizerConfig:
    """AdamW. ``projection_factor`` times the learning rate is the camera projection's.

    ``muon_learning_rate`` hands the matrices and convolutions inside the networks over to Muon
    (:mod:`zero123lib.training.muon`), which learns more from each pair where all starts from
    nothing; the ends, biases and norms stay with AdamW.
    """

    learning_rate: Positive = 1e-4
    projection_factor: Positive = 10.0
    betas: Pair[Decay] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    clip_norm: Positive | None = None
    muon_learning_rate: Positive | None = None


@settings
class ScheduleConfig:
    """The learning rate's factor: linear from ``warmup_start`` to 1 over ``warmup_steps``, times
    1 ("constant") or half a cosine from 1 to 0 over the budget ("cosine")."""

    warmup_steps: Whole = 100
    warmup_start: Share = 1e-6
    decay: Literal["constant", "cosine"] = "constant"


@settings
class BudgetConfig:
    """When the run is done: whichever of the two is reached first; one is needed."""

    steps: Count | None = None
    minutes: Positive | None = None

    def words(self) -> str:
        """Such as "2000 steps or 30 minutes"."""
        named = ((self.steps, "steps"), (self.minutes, "minutes"))
        return " or ".join(f"{value:.12g} {name}" for value, name in named if value is not None)


@settings
class PerceptualConfig:
    """LPIPS between the predicted image and the target, beside the error of the latents.

    Attributes:
        weight: of its mean over the batch; 0 leaves it out.
        from_step: the first step that has it.
    """

    weight: NonNegative = 0.0
    from_step: Whole = 0


@settings
class DistillationConfig:
    """A student of few steps, see :mod:`zero123lib.training.distillation`.

    Attributes:
        steps: of the student.
        teacher_steps: of its teacher, the initial model; a multiple of the student's.
        guidance_scale: of the teacher, which its student then has without guidance; None takes
            what the teacher recommends.
    """

    steps: Count = 4
    teacher_steps: Count = 48
    guidance_scale: NonNegative | None = None

    def __post_init__(self) -> None:
        if self.teacher_steps % self.steps:
            expected = f"a multiple of the student's {self.steps} steps"
            raise ArgumentError("teacher_steps", expected, str(self.teacher_steps))


@settings
class ObjectiveConfig:
    """What is asked of the network; what it predicts is the scheduler's ``prediction_type``.

    Attributes:
        posterior: the clean latent is a "sample" of the VAE's posterior, or its "mode".
        timestep_power: timesteps are ``T * u ** power``, u uniform; below 1 favours noise.
        dropout: probability of each of the three groups of dropped conditions.
        null_token: where both conditions are dropped, the token is "projected" from [0; T], as the
            paper trains it, or "zero", as sampling has it.
        distillation: learn from the initial model in place of the data's noise; None does not.
    """

    posterior: Literal["sample", "mode"] = "sample"
    timestep_power: Positive = 1.0
    dropout: Number = Field(default=0.05, ge=0, le=1 / 3)
    null_token: Literal["projected", "zero"] = "projected"
    perceptual: PerceptualConfig = PerceptualConfig()
    distillation: DistillationConfig | None = None

    def __post_init__(self) -> None:
        if self.distillation is not None and self.dropout:
            expected = "0 with distillation, whose student is asked without guidance"
            raise ArgumentError("dropout", expected, str(self.dropout))


@settings
class EmaConfig:
    """Limit of the running average's decay, which warms up as (1 + n) / (10 + n)."""

    decay: Decay = 0.9999


@settings
class ComputeConfig:
    """How it is computed.

    Attributes:
        device: "auto" takes a GPU before the CPU.
        precision: of the trained networks' arithmetic; their weights stay in float32. "auto" is
            bf16 on NVIDIA GPUs and x86 processors that compute in it, else fp32: most CPUs only
            imitate it, at a tenth of the speed.
        frozen_precision: of the weights that are not trained.
        gradient_checkpointing: less memory, about a third more time.
        compile: the UNet, the filter and LPIPS by ``torch.compile``.
        channels_last: layout of the convolutions' weights.
        attention: "fused" kernels, or "plain" matrix products: on a CPU these are faster where an
            image has few latent pixels, and take memory by their number squared.
        threads: of torch, per process; None leaves torch's choice.
        sharding: "none" keeps all that is trained on every process (DDP); "fsdp" shards its
            weights, gradients, moments and averages over them.
    """

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    frozen_precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    channels_last: bool = False
    attention: Literal["fused", "plain"] = "fused"
    threads: int | None = Field(default=None, ge=1, le=1024)
    sharding: Literal["none", "fsdp"] = "none"

    def __post_init__(self) -> None:
        # The gradient scaler and compiled networks do not know of shards.
        for name, wrong in (("compile", self.compile), ("fp16", self.precision == "fp16")):
            if wrong and self.sharding == "fsdp":
                raise ArgumentError("sharding", f"none with {name}", "fsdp")


@settings
class ValidationConfig:
    """A fixed batch with fixed noise, and views sampled from it, every so many steps.

    Attributes:
        every_steps: 0 never validates.
        path: held-out pairs; None takes pairs of the training data's objects, and of "scenes"
            held-out ones.
        pairs: in the batch.
        views: of them sampled to look at; 0 for none.
        steps, guidance_scale: of the sampling.
    """

    every_steps: Whole = 500
    path: str | None = None
    pairs: Count = 32
    views: Whole = 4
    steps: int = Field(default=50, ge=1, le=1000)
    guidance_scale: NonNegative = 3.0


@settings
class SavingConfig:
    """Checkpoints: every so many minutes or steps, and the last ``keep_last`` kept, beside the
    one with the lowest validation loss.

    ``mirror`` is a place of fsspec's, such as s3://bucket/run, that gets all that is kept, and that
    another machine resumes from.
    """

    every_minutes: Positive | None = 10.0
    every_steps: Count | None = None
    keep_last: Count = 2
    mirror: Annotated[str, Field(min_length=1)] | None = None


@settings
class OutputConfig:
    """The pipeline that comes out.

    Attributes:
        name: of the model; None takes the initial model's.
        precision: of its weights.
        max_shard_mb: of one file.
        bundled: it is the bundled model, with the settings and domain statistics of its kind.
    """

    name: str | None = None
    precision: Literal["fp32", "fp16"] = "fp16"
    max_shard_mb: Count = 1000
    bundled: bool = False


@settings
class TrainConfig:
    """A run. ``seed`` is of fresh weights, data and noise."""

    initial: Initial
    seed: Whole = 0
    data: DataConfig = DataConfig()
    batch: BatchConfig = BatchConfig()
    trained: TrainedConfig = TrainedConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    budget: BudgetConfig = BudgetConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    ema: EmaConfig = EmaConfig()
    compute: ComputeConfig = ComputeConfig()
    validation: ValidationConfig = ValidationConfig()
    saving: SavingConfig = SavingConfig()
    output: OutputConfig = OutputConfig()

    def __post_init__(self) -> None:
        if self.budget.steps is None and self.budget.minutes is None:
            raise ArgumentError("budget", "steps or minutes (--max-steps, --minutes)", "none")
        if self.objective.distillation is not None and self.initial.source is None:
            raise ArgumentError("initial", "a model to distil, its source (--initial)", "none")
        if self.objective.distillation is not None and self.trained.deblocking:
            expected = "false with distillation, whose targets the filter has made"
            raise ArgumentError("trained.deblocking", expected, "true")
        if self.compute.sharding == "fsdp" and self.optimizer.muon_learning_rate is not None:
            # It orthogonalizes whole matrices.
            raise ArgumentError(
                "compute.sharding", "none with optimizer.muon_learning_rate", "fsdp"
            )
        if self.compute.sharding == "fsdp" and self.trained.deblocking:
            # The filter is called outside the wrapped model.
            raise ArgumentError("compute.sharding", "none with trained.deblocking", "fsdp")
        try:
            check_path(self.data.source, self.data.path)
        except ArgumentError as error:
            raise error.within("data") from error
