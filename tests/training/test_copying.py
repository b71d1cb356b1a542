"""Copies of networks: the same on the CPU, with nothing copied where the network is."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from zero123lib.training.copying import cpu_copy


class Uncopied(nn.Parameter):
    """Stands for a tensor on an accelerator without room for another one."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise AssertionError("copied where it is")


def test_a_copy_is_made_on_the_cpu_at_once() -> None:
    linear, norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
    linear.weight = Uncopied(linear.weight.detach().half(), requires_grad=False)
    linear.bias = nn.Parameter(linear.bias.detach().half())
    network = nn.Sequential(linear, norm)
    made = cpu_copy(network)
    assert {name: p.requires_grad for name, p in made.named_parameters()} == {
        "0.weight": False, "0.bias": True, "1.weight": True, "1.bias": True
    }  # fmt: skip
    own, copied = network.state_dict(), made.state_dict()
    assert copied["0.weight"].dtype == torch.float32
    assert copied["1.num_batches_tracked"].dtype == torch.long
    for name, value in own.items():
        assert torch.equal(copied[name], value.to(copied[name].dtype))
        assert copied[name].data_ptr() != value.data_ptr()
