"""What configs and settings may say: the arguments of known classes, of the right types and sizes.

Configs come with checkpoints, from anybody. Whatever a class does not declare is dropped, so
nothing else has an effect; what it declares is checked before anything is built, so that no config
can ask for code, for days or for more memory than its weights will.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from inspect import signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from diffusers import DDIMScheduler
from pydantic import BeforeValidator, Field
from transformers import CLIPVisionModelWithProjection

from zero123lib._config import check_value
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.arguments import is_whole
from zero123lib.diffusion.checkpoints.errors import (
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.schedule import PredictionType
from zero123lib.views.poses import Encoding

MAX_TIMESTEPS = 10_000
MAX_WIDTH = 8192
MAX_BLOCKS = 8
# Residual blocks per resolution, or transformer blocks per attention: published ones have 2 and 1.
MAX_LAYERS = 12

# Of CLIP's config, what says sizes. Its other keys reach far beyond the network: the attention's
# implementation, for one, may name a repository of the Hub to run code from.
_CLIP: dict[str, Any] = {
    **dict.fromkeys(
        (
            "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
            "num_attention_heads", "num_channels", "image_size", "patch_size",
        ),
        int,
    ),
    **dict.fromkeys(
        ("layer_norm_eps", "attention_dropout", "initializer_range", "initializer_factor"), float
    ),
    "hidden_act": str,
}  # fmt: skip
_ACTIVATIONS = ("quick_gelu", "gelu", "gelu_new", "relu", "silu")

# Where other bounds than MAX_WIDTH hold.
_BOUNDS = {
    "layers_per_block": MAX_LAYERS,
    "transformer_layers_per_block": MAX_LAYERS,
    "reverse_transformer_layers_per_block": MAX_LAYERS,
    "num_hidden_layers": 100,
    "image_size": 1024,
    "sample_size": 1024,
    "patch_size": 32,
}
_MAY_BE_ZERO = {"freq_shift", "downsample_padding", "deblocking_channels"}
_POSITIVE = {"scaling_factor", "norm_eps", "layer_norm_eps", "gain", "chroma_gain"}

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


def brief(value: Any) -> str:
    """Return what messages show of a value that a file gave: one line, however large it is."""
    return _brief.repr(value)


def is_number(value: Any, low: float = -1e9, high: float = 1e9) -> bool:
    """Tell whether it is a finite number from low to high, and no bool."""
    # Compared, not converted: JSON has whole numbers beyond any float. NaN is within no bounds.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_whole_in(value: Any, low: int, high: int) -> bool:
    """Tell whether it is a whole number from low to high, and no bool."""
    return is_whole(value) and low <= value <= high


def network_config(name: str, kind: type, config: Mapping[str, Any], source: Path) -> dict:
    """Return the arguments of a network's class that a config has.

    Args:
        name: of the part, for messages.
        kind: the class, of diffusers, of ours, or CLIP's image tower.
        config: from a file.
        source: what error messages name.

    Raises:
        MismatchedCheckpointError: one is of another type than the class declares, or beyond what
            any such network has.
    """
    is_clip = issubclass(kind, CLIPVisionModelWithProjection)
    kept = _declared(_CLIP if is_clip else _hints(kind), {} if is_clip else _defaults(kind), config)
    for key, (value, fits) in kept.items():
        if not (fits and _in_bounds(key, value)):
            raise _mismatch(f"{key} of {name} as such a network has it", value, source)
    values = {key: value for key, (value, _) in kept.items()}
    if is_clip and values.get("hidden_act", "gelu") not in _ACTIVATIONS:
        wanted = f"hidden_act of {name} to be one of {', '.join(_ACTIVATIONS)}"
        raise _mismatch(wanted, values["hidden_act"], source)
    return values


def scheduler_config(kind: type, config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return the arguments of a scheduler's class that a config has, and those of DDIM's.

    A config may keep settings that only DDIM has, such as clipping, for the scheduler after it.

    Raises:
        UnsupportedCheckpointError: the class has no betas, so no model of noise prediction.
        MismatchedCheckpointError: an argument is of another type or beyond sense.
    """
    hints = _hints(kind)
    if not {"beta_start", "beta_end", "trained_betas"} <= hints.keys():
        raise UnsupportedCheckpointError(
            "source",
            "a scheduler with betas, such as DDIMScheduler",
            f"{kind.__name__} in {str(source)!r}",
        )
    defaults = {**_defaults(DDIMScheduler), **_defaults(kind)}
    kept = _declared({**_hints(DDIMScheduler), **hints}, defaults, config)
    for key, (value, fits) in kept.items():
        if key in ("beta_start", "beta_end", "trained_betas"):
            betas = list(_leaves(value))
            fits = fits and all(one is None or is_number(one, 0, 1) for one in betas)
            fits = fits and (key != "trained_betas" or 0 < len(betas) <= MAX_TIMESTEPS)
        elif key == "num_train_timesteps":
            fits = is_whole_in(value, 1, MAX_TIMESTEPS)
        elif key == "prediction_type":
            fits = value in get_args(PredictionType)
        elif is_whole(value):
            fits = fits and is_whole_in(value, 0, MAX_TIMESTEPS)
        if not fits:
            raise _mismatch(f"{key} as a {kind.__name__} has it", value, source)
    return {key: value for key, (value, _) in kept.items()}


# numpy's whole numbers are some, too; the library's settings are strict beyond that.
_Whole = BeforeValidator(lambda value: int(value) if is_whole(value) else value)
_Text = Annotated[str | None, Field(description="a text")]

# What a checkpoint may say of its training images.
TRAINED_ON: dict[str, Any] = {
    "domain": _Text,
    "domain_statistics": Annotated[
        dict[Literal["own_view_lpips"], float] | None,
        Field(min_length=1, description="{'own_view_lpips': a number}"),
    ],
    "scene_kinds": Annotated[
        list[Annotated[str, Field(max_length=100)]] | None,
        Field(min_length=1, max_length=1000, description="a list of short texts"),
    ],
}

# The pipeline's own settings, and what each may be.
SETTINGS: dict[str, Any] = {
    "encoding": Encoding,
    "model_name": _Text,
    "licence": _Text,
    "num_inference_steps": Annotated[int, _Whole, Field(ge=1, le=1000)],
    "guidance_scale": Annotated[float, Field(ge=0, le=1e9, description="a number of at least 0")],
    "foreground_ratio": Annotated[float, Field(gt=0, le=1)],
    "trained_on": Annotated[
        dict[Literal[tuple(TRAINED_ON)], Any] | None,
        Field(description=f"a mapping of some of {', '.join(TRAINED_ON)}"),
    ],
}


def checked_settings(settings: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Return the pipeline's own settings among those that a file states; the others, and None, are
    not.

    What is said of training images may stand beside the settings, as older folders have it; their
    statistics are of a measure that is no more.

    Args:
        settings: of ``model_index.json``, or of a weights file's metadata.
        source: the file, for messages.

    Raises:
        MismatchedCheckpointError: one is not what it can be.
    """
    known = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    older = TRAINED_ON.keys() - {"domain_statistics"}
    beside = {name: settings[name] for name in older if settings.get(name) is not None}
    if beside and "trained_on" not in known:
        known["trained_on"] = beside
    try:
        check_settings(known)
    except ArgumentError as error:
        wanted = f"{error.name} to be {error.expected}"
        got = f"{error.got} in {str(source)!r}"
        raise MismatchedCheckpointError("source", wanted, got) from error
    return known


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ArgumentError unless each of the pipeline's settings is what it can be."""
    for name, value in settings.items():
        check_value(name, SETTINGS[name], value, brief)
    for name, value in (settings.get("trained_on") or {}).items():
        check_value(f"trained_on.{name}", TRAINED_ON[name], value, brief)


def _mismatch(wanted: str, value: Any, source: Path) -> MismatchedCheckpointError:
    return MismatchedCheckpointError("source", wanted, f"{brief(value)} in {str(source)!r}")


def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind.__init__)
    return {name: hints[name] for name in signature(kind.__init__).parameters if name in hints}


def _defaults(kind: type) -> dict[str, Any]:
    return {name: p.default for name, p in signature(kind.__init__).parameters.items()}


def _declared(
    hints: Mapping[str, Any], defaults: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, tuple[Any, bool]]:
    """Return what a class declares of a config: the value, and whether it is of the declared
    type."""
    return {
        # A default may be of another type than its annotation says.
        key: (config[key], _same(config[key], defaults.get(key)) or _fits(config[key], hint))
        for key, hint in hints.items()
        if key in config
    }


def _same(value: Any, default: Any) -> bool:
    return type(value) is type(default) and value == default


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a value from JSON is of an annotated type."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if tuple in (hint, origin) or list in (hint, origin):  # JSON has no tuples
        kinds = [one for one in inside if one is not Ellipsis]
        if not isinstance(value, (list, tuple)):
            return False
        return not kinds or all(any(_fits(item, one) for one in kinds) for item in value)
    if hint is float:
        return is_number(value)
    if hint is int:
        return is_whole(value)
    if hint is bool:  # null for false, as scripts that made published folders wrote it
        return isinstance(value, bool | None)
    if hint is str or origin is Literal:
        return isinstance(value, str)
    return hint is NoneType and value is None


def _in_bounds(key: str, value: Any) -> bool:
    """Tell whether all numbers and lists of an argument are of sizes that a network can have."""
    if key == "encoding":
        return value in (None, *get_args(Encoding))
    if isinstance(value, (list, tuple)) and len(value) > (MAX_BLOCKS if "block" in key else 64):
        return False
    low = 1 if key not in _MAY_BE_ZERO else 0
    high = _BOUNDS.get(key, MAX_WIDTH)
    for leaf in _leaves(value):
        if is_whole(leaf) and not low <= leaf <= high:
            return False
        if key in _POSITIVE and not is_number(leaf, 1e-12, MAX_WIDTH):
            return False
        if not isinstance(leaf, (int, float, str, NoneType)):
            return False
    return True


def _leaves(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield what lists hold; a list that is nested deeper than any config's counts as a leaf."""
    if isinstance(value, (list, tuple)) and depth < 3:
        for item in value[: MAX_TIMESTEPS + 1]:
            yield from _leaves(item, depth + 1)
    else:
        yield value
