"""Networks copied off the accelerator."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def cpu_copy(network: Network) -> Network:
    """Copy a network to the CPU in float32; its own device holds no tensor more meanwhile.

    Copying first and moving then would need room for a second network where there is least.
    """
    tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
    copies: dict[int, Tensor] = {}
    for tensor in tensors:
        moved = tensor.detach().to("cpu", copy=True)
        moved = moved.float() if moved.is_floating_point() else moved
        if isinstance(tensor, nn.Parameter):
            moved = nn.Parameter(moved, requires_grad=tensor.requires_grad)
        copies[id(tensor)] = moved
    # What the memo holds counts as copied.
    return copy.deepcopy(network, copies)
