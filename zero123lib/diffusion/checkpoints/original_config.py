"""The official YAML of an original file: configs of UNet, VAE and scheduler in diffusers' words.

What the official code would take another way than the published models do, and what would change
the numbers unseen, is refused: a key that is not known here, or a value that only one has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.limits import (
    MAX_BLOCKS,
    MAX_LAYERS,
    MAX_TIMESTEPS,
    MAX_WIDTH,
    brief,
    is_number,
    is_whole_in,
)

_CONFIGS = Path(__file__).parent / "configs"
_LONGEST = 1 << 20  # bytes of a YAML

# Of each level's parameters: what has to be so, where it is said at all. "linear" betas are
# linear in their square roots.
_MODEL_FIXED = {
    "parameterization": "eps",
    "beta_schedule": "linear",
    "given_betas": None,
    "scale_by_std": False,
    "conditioning_key": "hybrid",
}
_UNET_FIXED = {"use_spatial_transformer": True, "conv_resample": True, "dims": 2}
_VAE_FIXED = {
    "double_z": True,
    "attn_resolutions": [],
    "attn_type": "vanilla",
    "resamp_with_conv": True,
    "use_linear_attn": False,
    "give_pre_end": False,
    "tanh_out": False,
}
# What says the sizes, and what changes nothing.
_UNET_KNOWN = {
    "in_channels", "out_channels", "model_channels", "attention_resolutions", "num_res_blocks",
    "channel_mult", "num_heads", "num_head_channels", "transformer_depth", "context_dim",
    "image_size", "use_checkpoint", "legacy", "dropout", "use_fp16",
}  # fmt: skip
_VAE_KNOWN = {
    "z_channels", "resolution", "in_channels", "out_ch", "ch", "ch_mult", "num_res_blocks",
    "dropout",
}  # fmt: skip


def read_configs(original_config: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return configs of ``unet``, ``vae`` and ``scheduler``: the published ones, or the YAML's.

    Args:
        original_config: the official YAML, as a path or parsed; None for the published sizes.

    Raises:
        ValueError: it is no such YAML, or of a model that this library does not have.
    """
    configs = {
        name: json.loads((_CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("unet", "vae", "scheduler")
    }
    if original_config is None:
        return configs
    try:
        content = original_config
        if not isinstance(content, Mapping):
            content = yaml.safe_load(_text(Path(content)))
        params = _section(_section(content, "model"), "params")
        _check_fixed(params, _MODEL_FIXED)
        unet = _section(_section(params, "unet_config"), "params")
        vae = _section(_section(params, "first_stage_config"), "params")
        size = _whole(params, "image_size", 128)
        configs["unet"] |= {"sample_size": size, **_unet_config(unet)}
        configs["vae"] |= {
            "scaling_factor": _positive(params, "scale_factor"),
            **_vae_config(vae, size),
        }
        configs["scheduler"] |= {
            "num_train_timesteps": _whole(params, "timesteps", MAX_TIMESTEPS),
            "beta_start": _positive(params, "linear_start", 1),
            "beta_end": _positive(params, "linear_end", 1),
        }
    except (
        OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError,
    ) as error:  # fmt: skip
        given = "a mapping" if isinstance(original_config, Mapping) else repr(str(original_config))
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ArgumentError(
            "original_config", "the official YAML of a Zero123 model", f"{given}: {reason}"
        ) from error
    return configs


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    with path.open(encoding="utf-8") as file:
        text = file.read(_LONGEST + 1)
    if len(text) > _LONGEST:
        raise ValueError("it is too long")
    return text


def _unet_config(params: Mapping[str, Any]) -> dict[str, Any]:
    _check_fixed(params, _UNET_FIXED)
    _check_known(params, _UNET_KNOWN | _UNET_FIXED.keys(), "unet_config")
    channels = _widths(params, "model_channels", "channel_mult")
    resolutions = _wholes(params, "attention_resolutions", 2**MAX_BLOCKS)
    attended = [2**level in resolutions for level in range(len(channels))]
    if params.get("num_head_channels", -1) != -1:
        per_head = _whole(params, "num_head_channels")
        if any(width % per_head for width in channels):
            raise ValueError(f"num_head_channels is {per_head}, which does not divide {channels}")
        heads: Any = [width // per_head for width in channels]
    else:
        heads = _whole(params, "num_heads")
    depth = _whole(params, "transformer_depth", MAX_LAYERS) if "transformer_depth" in params else 1
    return {
        "in_channels": _whole(params, "in_channels"),
        "out_channels": _whole(params, "out_channels"),
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attended[::-1]],
        "layers_per_block": _whole(params, "num_res_blocks", MAX_LAYERS),
        "transformer_layers_per_block": depth,
        "cross_attention_dim": _whole(params, "context_dim"),
        "attention_head_dim": heads,  # diffusers' name for the number of heads
    }


def _vae_config(vae: Mapping[str, Any], latent_size: int) -> dict[str, Any]:
    params = _section(vae, "ddconfig")
    _check_fixed(params, _VAE_FIXED)
    _check_known(params, _VAE_KNOWN | _VAE_FIXED.keys(), "ddconfig")
    latents = _whole(params, "z_channels")
    # diffusers has one width before and after the convolutions around the latents.
    _check_fixed(vae, {"embed_dim": latents})
    channels = _widths(params, "ch", "ch_mult")
    return {
        "sample_size": latent_size * 2 ** (len(channels) - 1),
        "in_channels": _whole(params, "in_channels"),
        "out_channels": _whole(params, "out_ch"),
        "latent_channels": latents,
        "block_out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": _whole(params, "num_res_blocks", MAX_LAYERS),
    }


def _section(parent: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(parent, Mapping):
        raise ValueError(f"what should hold {key} is {brief(parent)}, no mapping")
    value = parent[key]
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is {brief(value)}, no mapping")
    return value


def _check_known(params: Mapping[str, Any], known: set[str], place: str) -> None:
    unknown = sorted(str(key) for key in params if key not in known)
    if unknown:
        raise ValueError(f"{place} has {', '.join(unknown)[:200]}, which no Zero123 has")


def _check_fixed(params: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
    for key, wanted in fixed.items():
        value = params.get(key, wanted)
        if isinstance(value, Sequence) and not isinstance(value, str):
            value = list(value)
        if type(value) is not type(wanted) or value != wanted:
            raise ValueError(f"{key} is {brief(value)}, not {wanted!r}")


def _whole(params: Mapping[str, Any], key: str, high: int = MAX_WIDTH) -> int:
    value = params[key]
    if not is_whole_in(value, 1, high):
        raise ValueError(f"{key} is {brief(value)}, not a whole number from 1 to {high}")
    return value


def _positive(params: Mapping[str, Any], key: str, high: float = MAX_WIDTH) -> float:
    value = params[key]
    if not is_number(value, 1e-12, high):
        raise ValueError(f"{key} is {brief(value)}, not a number above 0 and up to {high}")
    return value


def _wholes(params: Mapping[str, Any], key: str, high: int) -> list[int]:
    value = params[key]
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if not is_list or len(value) > 64 or not all(is_whole_in(one, 1, high) for one in value):
        raise ValueError(f"{key} is {brief(value)}, not a list of whole numbers from 1 to {high}")
    return list(value)


def _widths(params: Mapping[str, Any], base: str, factors: str) -> list[int]:
    """Return widths of the blocks: multiples of the first."""
    width, multiples = _whole(params, base), _wholes(params, factors, MAX_WIDTH)
    widths = [width * factor for factor in multiples]
    if not 0 < len(widths) <= MAX_BLOCKS or max(widths) > MAX_WIDTH:
        raise ValueError(
            f"{factors} is {brief(multiples)}, not 1 to {MAX_BLOCKS} factors of {base} {width} "
            f"up to {MAX_WIDTH}"
        )
    return widths
