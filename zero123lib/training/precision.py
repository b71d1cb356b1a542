"""In which precision a device computes."""

from __future__ import annotations

from dataclasses import replace

import torch

from zero123lib.diffusion.devices import devices_here
from zero123lib.training.config import ComputeConfig


def on_cpu(config: ComputeConfig) -> bool:
    """Tell whether a run is on the CPU, because it is told so or there is nothing else."""
    return config.device == "cpu" or devices_here() == ["cpu"]


def with_precision(config: ComputeConfig) -> ComputeConfig:
    """Return the same with "auto" decided.

    It is bf16 on NVIDIA GPUs and x86 processors that have instructions for it, else fp32.
    """
    if config.precision != "auto":
        return config
    return replace(config, precision="bf16" if _computes_bf16(on_cpu(config)) else "fp32")


def _computes_bf16(cpu: bool) -> bool:
    if not cpu:
        cuda = torch.cuda.is_available()
        return cuda and torch.cuda.is_bf16_supported(including_emulation=False)
    # A torch that does not say gets fp32, in which every CPU computes.
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
