"""What decides a training run: one small frozen dataclass per concern, read from YAML.

The defaults are the paper's recipe (Liu et al. 2023, section 3.2 and appendix; official
``configs/sd-objaverse-finetune-c_concat-256.yaml`` and ``ldm/models/diffusion/ddpm.py``); the
packaged presets write out what belongs to each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from zero123lib.training.recipe import Architecture
from zero123lib.training.sections import Section, above, at_least, build, within

PRESETS = Path(__file__).parent / "configs"

# What may differ between the parts of one run: it changes how long, where and how fast the run
# goes on and what is kept of it, not what is computed up to rounding.
MAY_DIFFER = ("budget.", "validation.", "saving.", "output.", "data.path", "data.workers",
              "batch.per_device", "compute.")  # fmt: skip


@dataclass(frozen=True)
class Initial(Section):
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
        super().__post_init__()
        given = [self.source, self.image_variations, self.architecture]
        if sum(one is not None for one in given) != 1:
            raise ValueError(
                "source: expected one of source, image_variations and architecture, got "
                f"{sum(one is not None for one in given)} of them"
            )


@dataclass(frozen=True)
class ScenesConfig(Section):
    """Procedural scenes, see :mod:`zero123lib.training.scene_pairs`."""

    first_scene: int = at_least(0, 0)
    views: int = at_least(2, 8)
    pool_scenes: int = at_least(1, 512)
    pairs_per_scene: float = above(0, 32.0)


@dataclass(frozen=True)
class DataConfig(Section):
    """Where pairs come from.

    Attributes:
        source: "pairs" on disk or streamed, at ``path``, or procedural "scenes".
        path: what ``zero123lib.datasets`` opens.
        size: pixels; None takes the initial model's.
        workers: processes that load data, per training process; 0 loads in the process itself.
    """

    source: Literal["pairs", "scenes"] = "pairs"
    path: str | None = None
    size: int | None = at_least(8, None)
    workers: int = within(0, 256, 4)
    scenes: ScenesConfig = field(default_factory=ScenesConfig)


@dataclass(frozen=True)
class BatchConfig(Section):
    """``size`` pairs make a step, on all processes together, at most ``per_device`` at a time on
    each: gradients are accumulated over the rest, and data and noise do not depend on the split."""

    size: int = at_least(1, 1536)
    per_device: int = at_least(1, 192)


@dataclass(frozen=True)
class TrainedConfig(Section):
    """What is trained beside the camera projection; all else is frozen.

    Attributes:
        unet: "all" of it, or low-rank adapters ("lora") of its attention.
        image_encoder: CLIP's tower too, as a model without a pretrained one needs.
        lora_rank: of the adapters; their output is scaled by ``lora_alpha / lora_rank``.
        one_token: skip what one context token makes useless, the queries and keys of
            cross-attention: exact and faster; they stay as they are.
    """

    unet: Literal["all", "lora"] = "all"
    image_encoder: bool = False
    lora_rank: int = at_least(1, 16)
    lora_alpha: float = above(0, 16.0)
    one_token: bool = True


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """AdamW. ``projection_factor`` times the learning rate is the camera projection's.

    ``muon_learning_rate`` hands the matrices and convolutions inside the networks over to Muon
    (:mod:`zero123lib.training.muon`), which learns more from each pair where all starts from
    nothing; the ends, biases and norms stay with AdamW.
    """

    learning_rate: float = above(0, 1e-4)
    projection_factor: float = above(0, 10.0)
    betas: tuple[float, float] = within(0, 0.999999, (0.9, 0.999))
    epsilon: float = above(0, 1e-8)
    weight_decay: float = at_least(0, 0.01)
    clip_norm: float | None = above(0, None)
    muon_learning_rate: float | None = above(0, None)


@dataclass(frozen=True)
class ScheduleConfig(Section):
    """The learning rate's factor: linear from ``warmup_start`` to 1 over ``warmup_steps``, times
    1 ("constant") or half a cosine from 1 to 0 over the budget ("cosine")."""

    warmup_steps: int = at_least(0, 100)
    warmup_start: float = within(0, 1, 1e-6)
    decay: Literal["constant", "cosine"] = "constant"


@dataclass(frozen=True)
class BudgetConfig(Section):
    """When the run is done: whichever of the two is reached first; one is needed."""

    steps: int | None = at_least(1, None)
    minutes: float | None = above(0, None)

    def words(self) -> str:
        """Such as "2000 steps or 30 minutes"."""
        named = ((self.steps, "steps"), (self.minutes, "minutes"))
        return " or ".join(f"{value:g} {name}" for value, name in named if value is not None)


@dataclass(frozen=True)
class ObjectiveConfig(Section):
    """What is asked of the network; what it predicts is the scheduler's ``prediction_type``.

    Attributes:
        posterior: the clean latent is a "sample" of the VAE's posterior, or its "mode".
        timestep_power: timesteps are ``T * u ** power``, u uniform; below 1 favours noise.
        dropout: probability of each of the three groups of dropped conditions.
        null_token: where both conditions are dropped, the token is "projected" from [0; T], as the
            paper trains it, or "zero", as sampling has it.
    """

    posterior: Literal["sample", "mode"] = "sample"
    timestep_power: float = above(0, 1.0)
    dropout: float = within(0, 1 / 3, 0.05)
    null_token: Literal["projected", "zero"] = "projected"


@dataclass(frozen=True)
class EmaConfig(Section):
    """Limit of the running average's decay, which warms up as (1 + n) / (10 + n)."""

    decay: float = within(0, 0.999999, 0.9999)


@dataclass(frozen=True)
class ComputeConfig(Section):
    """How it is computed.

    Attributes:
        device: "auto" takes a GPU before the CPU.
        precision: of the trained networks' arithmetic; their weights stay in float32.
        frozen_precision: of the weights that are not trained.
        gradient_checkpointing: less memory, about a third more time.
        compile: the UNet by ``torch.compile``.
        channels_last: layout of the convolutions' weights.
        threads: of torch, per process; None leaves torch's choice.
    """

    device: Literal["auto", "cpu"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    frozen_precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    compile: bool = False
    channels_last: bool = False
    threads: int | None = within(1, 1024, None)


@dataclass(frozen=True)
class ValidationConfig(Section):
    """A fixed batch with fixed noise, and views sampled from it, every so many steps.

    Attributes:
        every_steps: 0 never validates.
        path: held-out pairs; None takes pairs of the training data's objects, and of "scenes"
            held-out ones.
        pairs: in the batch.
        views: of them sampled to look at; 0 for none.
        steps, guidance_scale: of the sampling.
    """

    every_steps: int = at_least(0, 500)
    path: str | None = None
    pairs: int = at_least(1, 32)
    views: int = at_least(0, 4)
    steps: int = within(1, 1000, 50)
    guidance_scale: float = at_least(0, 3.0)


@dataclass(frozen=True)
class SavingConfig(Section):
    """Checkpoints: every so many minutes or steps, and the last ``keep_last`` kept, beside the
    one with the lowest validation loss."""

    every_minutes: float | None = above(0, 10.0)
    every_steps: int | None = at_least(1, None)
    keep_last: int = at_least(1, 2)


@dataclass(frozen=True)
class OutputConfig(Section):
    """The pipeline that comes out.

    Attributes:
        name: of the model; None takes the initial model's.
        precision: of its weights.
        max_shard_mb: of one file.
        bundled: it is the bundled model, with the settings and domain statistics of its kind.
    """

    name: str | None = None
    precision: Literal["fp32", "fp16"] = "fp16"
    max_shard_mb: int = at_least(1, 1000)
    bundled: bool = False


@dataclass(frozen=True)
class TrainConfig(Section):
    """A run. ``seed`` is of fresh weights, data and noise."""

    initial: Initial
    seed: int = at_least(0, 0)
    data: DataConfig = field(default_factory=DataConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    trained: TrainedConfig = field(default_factory=TrainedConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    saving: SavingConfig = field(default_factory=SavingConfig)
    output: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.budget.steps is None and self.budget.minutes is None:
            raise ValueError("budget: expected steps or minutes (--max-steps, --minutes), got none")
        if self.data.source == "pairs" and self.data.path is None:
            raise ValueError("data.path: expected a data set (--data), got null")


def presets() -> list[str]:
    """Names of the packaged configs."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def read_config(source: str | Path, overrides: Sequence[tuple[str, Any]] = ()) -> TrainConfig:
    """Read a config.

    Args:
        source: a preset's name, or a YAML file, which may begin from one by ``preset: NAME``.
        overrides: dotted keys and their values, applied in order.

    Raises:
        ValueError: no such file, or something in it does not fit; the message names the key.
    """
    content = _content(source)
    if "preset" in content:
        name = content.pop("preset")
        if name not in presets():
            raise ValueError(f"preset: expected one of {', '.join(presets())}, got {name!r}")
        content = _merged(_content(str(name)), content)
    for key, value in overrides:
        _set(content, key, value)
    content["initial"] = _initial(content.get("initial"))
    return build(TrainConfig, content)


def parse_override(text: str) -> tuple[str, Any]:
    """``key.of.section=value`` as the key and YAML's value.

    Raises:
        ValueError: it is not of that form.
    """
    key, equals, value = text.partition("=")
    try:
        if not equals or not key.strip():
            raise ValueError("no key")
        return key.strip(), yaml.safe_load(value)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(
            f"--set: expected section.key=value, such as optimizer.learning_rate=1e-5, got {text!r}"
        ) from error


def to_yaml(config: TrainConfig) -> str:
    """The config as YAML that :func:`read_config` takes."""
    return yaml.safe_dump(_plain(asdict(config)), sort_keys=False)


def differences(new: TrainConfig, old: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (new, old) of what differs and may not within one run."""
    flat_new, flat_old = _flat(asdict(new)), _flat(asdict(old))
    return {
        key: (flat_new.get(key), flat_old.get(key))
        for key in (flat_new | flat_old)
        if flat_new.get(key) != flat_old.get(key) and not key.startswith(MAY_DIFFER)
    }


def _content(source: str | Path) -> dict[str, Any]:
    path = PRESETS / f"{source}.yaml" if str(source) in presets() else Path(source)
    wanted = f"CONFIG: expected a preset ({', '.join(presets())}) or a YAML file"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{wanted}, got {str(source)!r}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{wanted}, got {str(source)!r}: {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{wanted} of sections, got {str(source)!r}: {type(content).__name__}")
    return content


def _initial(value: Any) -> Any:
    """The section, from a model's name alone or with an architecture by its name."""
    if isinstance(value, str):
        return {"source": value}
    if isinstance(value, Mapping) and value.get("architecture") == "tiny":
        return {**value, "architecture": {}}
    if value is None:
        raise ValueError("initial: expected where the weights start from (--initial), got null")
    return value


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if key != "initial" and isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = _merged(result[key], value)
        else:
            result[key] = value
    return result


def _set(content: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place = content
    for name in sections:
        inner = place.get(name)
        if name == "architecture" and inner == "tiny":
            inner = {}
        if not isinstance(inner, Mapping | None):
            raise ValueError(f"{key}: expected a section {name} to set it in, got {inner!r}")
        place[name] = dict(inner or {})
        place = place[name]
    place[last] = value


def _flat(content: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in content.items():
        place = f"{path}.{key}" if path else key
        flat |= _flat(value, place) if isinstance(value, Mapping) else {place: value}
    return flat


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return list(value) if isinstance(value, tuple) else value
