"""Which device of this machine to run on."""

from __future__ import annotations

from typing import get_args

import torch

from zero123lib._choices import Device
from zero123lib._errors import ArgumentError

DEVICES = get_args(Device)


def pick_device(name: str) -> str:
    """A torch device that is there; "auto" takes a GPU before the CPU.

    Raises:
        ValueError: unknown name, or this machine (or this build of torch) has no such device.
    """
    at_hand = ["cpu"]
    if torch.backends.mps.is_available():
        at_hand.insert(0, "mps")
    if torch.cuda.is_available():
        at_hand.insert(0, "cuda")
    if name == "auto":
        return at_hand[0]
    if name not in at_hand:
        raise ArgumentError(
            "device", f"auto or one that is here ({', '.join(at_hand)})", repr(name)
        )
    return name
