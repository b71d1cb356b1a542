"""The small networks that come with the library beside its model: how their weights are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def frozen(network: Network, weights: Path, device: str | torch.device = "cpu") -> Network:
    """Give a network its weights, whatever their precision in float32, for evaluation alone.

    Args:
        network: of the shapes in the file.
        weights: a safetensors file.
        device: where it goes.
    """
    network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    return put(network, device)


def put(network: Network, device: str | torch.device = "cpu") -> Network:
    """Put a network that has its weights on a device, frozen, for evaluation alone."""
    network.to(torch.device(device)).eval().requires_grad_(False)
    for weight in network.parameters():
        if weight.ndim == 4:  # of a convolution, in the layout that is faster everywhere
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return network
