"""What the keyword arguments of ``from_pretrained`` mean here: ours, and all that diffusers has.

Each of diffusers' is taken with its meaning or refused in words; none is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.canonical import NETWORKS
from zero123lib.diffusion.checkpoints.limits import SETTINGS, brief, check_settings

COMPONENTS = (*NETWORKS, "scheduler")
HUB_ARGUMENTS = ("cache_dir", "revision", "token", "local_files_only", "force_download")

_ONE_DEVICE = "None, as a model lies on one device; see pipe.enable_model_cpu_offload()"
_NO_ONNX = "None, as there is no ONNX of these models"
_NO_CHECKER = "None, as these models have none"
# What of diffusers' has no meaning here: the values that change nothing, and what was expected.
_OTHERS: dict[str, tuple[tuple[Any, ...], str]] = {
    # Weights are read one by one, straight to their place, and no code of a checkpoint is run,
    # whatever is asked.
    "low_cpu_mem_usage": ((None, True, False), "True or False"),
    "trust_remote_code": ((None, True, False), "True or False"),
    "resume_download": ((None, True, False), "True or False"),
    "custom_pipeline": ((None,), "None; DiffusionPipeline.from_pretrained takes one"),
    "custom_revision": ((None,), "None; DiffusionPipeline.from_pretrained takes one"),
    "load_connected_pipeline": ((None, False), "False, as this pipeline is connected to none"),
    "quantization_config": ((None,), "None; quantise a component and pass it, as unet=..."),
    "max_memory": ((None,), _ONE_DEVICE),
    "offload_folder": ((None,), _ONE_DEVICE),
    "offload_state_dict": ((None, False), _ONE_DEVICE),
    "proxies": ((None,), "None; the environment's HTTPS_PROXY is used"),
    "mirror": ((None,), "None; the environment's HF_ENDPOINT is used"),
    "use_onnx": ((None, False), _NO_ONNX),
    "provider": ((None,), _NO_ONNX),
    "provider_options": ((None,), _NO_ONNX),
    "sess_options": ((None,), _NO_ONNX),
    "use_flashpack": ((None, False), "False, as safetensors and pickles alone are read"),
    "disable_mmap": ((None, False), "False, as weights are always read through mapped files"),
    "output_loading_info": ((None, False), "False, as what does not fit is an error"),
    "ignore_mismatched_sizes": ((None, False), "False, as what does not fit is an error"),
    "safety_checker": ((None,), _NO_CHECKER),
    "requires_safety_checker": ((None, False), _NO_CHECKER),
    "feature_extractor": ((None,), "None, as the pipeline resizes for CLIP by itself"),
}


@dataclass(frozen=True)
class Keywords:
    """Hold keyword arguments by what they are for.

    Attributes:
        components: to take in place of the checkpoint's.
        settings: the pipeline's own, in place of the checkpoint's.
        hub: of downloads.
    """

    components: dict[str, Any]
    settings: dict[str, Any]
    hub: dict[str, Any]


def sorted_keywords(kwargs: Mapping[str, Any]) -> Keywords:
    """Sort the keyword arguments that ``from_pretrained`` does not name.

    Raises:
        TypeError: one is unknown, or a component is of another class.
        ArgumentError: a setting is out of range, or diffusers' argument asks for something that
            there is not.
    """
    kinds = (COMPONENTS, SETTINGS, HUB_ARGUMENTS)
    components, settings, hub = (
        {name: value for name, value in kwargs.items() if name in kind} for kind in kinds
    )
    for name, value in kwargs.items():
        if name in _OTHERS:
            harmless, expected = _OTHERS[name]
            if not any(value is one for one in harmless):
                raise ArgumentError(name, expected, brief(value))
        elif not any(name in kind for kind in kinds):
            raise TypeError(
                f"{name}: expected an argument of from_pretrained, one of its components "
                f"({', '.join(COMPONENTS)}), a setting ({', '.join(SETTINGS)}) or an argument of a "
                f"download ({', '.join(HUB_ARGUMENTS)})"
            )
    for name, classes in NETWORKS.items():
        if name in components and not isinstance(components[name], classes):
            wanted = " or ".join(kind.__name__ for kind in classes)
            raise TypeError(f"{name}: expected a {wanted}, got {type(components[name]).__name__}")
    check_settings(settings)
    return Keywords(components, settings, hub)


def settled_dtype(torch_dtype: Any, dtype: Any) -> Any:
    """Return the precision that diffusers' old name or its new one asks for.

    Raises:
        ArgumentError: they differ.
    """
    if None not in (torch_dtype, dtype) and torch_dtype != dtype:
        raise ArgumentError("dtype", f"the same as torch_dtype, {torch_dtype}", repr(dtype))
    return torch_dtype if dtype is None else dtype


def settled_device(device: Any, device_map: Any) -> torch.device:
    """Return the device that both arguments name, once it is clear that this machine has it.

    Raises:
        ArgumentError: no such device, here or anywhere, two of them, or a map over several.
    """
    if device_map is not None and (
        not isinstance(device_map, (str, torch.device))
        or device_map in ("auto", "balanced", "balanced_low_0", "sequential")
    ):
        expected = "one device, such as 'cuda', as a model lies on one; see "
        expected += "pipe.enable_model_cpu_offload()"
        raise ArgumentError("device_map", expected, brief(device_map))
    places = {
        name: _checked_device(name, place)
        for name, place in (("device", device), ("device_map", device_map))
        if place is not None
    }
    if len(set(places.values())) > 1:
        raise ArgumentError("device_map", f"the same as device, {device}", repr(device_map))
    return next(iter(places.values()), torch.device("cpu"))


def _checked_device(name: str, device: Any) -> torch.device:
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        expected = "a torch device that is here, such as 'cpu'"
        raise ArgumentError(name, expected, f"{device!r}: {reason}") from error
    return found
