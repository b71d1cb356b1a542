"""In which precision a device computes."""

from __future__ import annotations

from dataclasses import replace

from zero123lib.diffusion.devices import computes_bfloat16, devices_here
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
    kind = "cpu" if on_cpu(config) else "cuda"
    return replace(config, precision="bf16" if computes_bfloat16(kind) else "fp32")
