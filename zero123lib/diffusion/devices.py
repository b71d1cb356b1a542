"""Which device of this machine to run on."""

from __future__ import annotations

import torch

from zero123lib._errors import ArgumentError


def pick_device(name: str) -> str:
    """Return a torch device that is there; "auto" takes a GPU before the CPU.

    Raises:
        ArgumentError: unknown name, or this machine (or this build of torch) has no such device.
    """
    here = devices_here()
    if name == "auto":
        return here[0]
    if name not in here:
        expected = f"auto or one that is here ({', '.join(here)})"
        raise ArgumentError("device", expected, repr(name))
    return name


def computes_bfloat16(kind: str) -> bool:
    """Tell whether devices of a kind ("cpu", "cuda", ...) have instructions for bfloat16.

    Where a device only imitates it, or torch does not say, the answer is no.
    """
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    found = getattr(torch.cpu, "get_capabilities", dict)()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def devices_here() -> list[str]:
    """Return the devices of this machine that this build of torch has, the fastest first."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [name for name, is_there in there.items() if is_there] + ["cpu"]
