"""Weights that are sharded over all processes (FSDP2, Zhao et al. 2023), and whole ones again.

Each process keeps its share of every weight, gradient, moment and average; a block's weights come
together while it computes. What is written is whole, and the same as without sharding.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

# What computes with its weights together; all other weights come together with their network's.
_GROUPS = (ResnetBlock2D, Transformer2DModel, CLIPEncoderLayer)


def shard(model: nn.Module, accelerator: Accelerator) -> dict[str, nn.Module]:
    """Shard a model in place over all processes, and the networks in it, so that each of them can
    be called by itself.

    Returns:
        The networks by name, without their weights: what :func:`whole_copy` fills.
    """
    if not dist.is_initialized():
        return {}  # one process has all
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    networks = dict(model.named_children())
    # The camera projection returns one; nobody changes it in place.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    skeletons = {name: _skeleton(network) for name, network in networks.items()}
    groups = [part for part in model.modules() if isinstance(part, _GROUPS)]
    for part in (*groups, *networks.values(), model):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    return skeletons


def _skeleton(network: nn.Module) -> nn.Module:
    empty = {
        id(p): nn.Parameter(p.detach().to("meta"), requires_grad=p.requires_grad)
        for p in network.parameters()
    }
    # What the memo holds counts as copied.
    return copy.deepcopy(network, dict(empty))


def whole_copy(network: nn.Module, skeleton: nn.Module, keep: bool) -> nn.Module | None:
    """Copy a sharded network to the CPU, whole and in float32; called by all processes.

    Args:
        skeleton: of the network.
        keep: the copy is wanted; the other processes give their shares and get None.
    """
    tensors = gathered(network.state_dict(), keep)
    if not keep:
        return None
    copied = copy.deepcopy(skeleton)
    copied.load_state_dict(tensors, assign=True)
    return copied.float()


@torch.no_grad()
def gathered(tree: Any, keep: bool) -> Any:
    """Return a tree of tensors with the sharded ones whole, on the CPU; called by all processes.

    Args:
        keep: they are wanted; elsewhere they are dropped one by one.
    """

    def whole(tensor: DTensor) -> Tensor:
        made = tensor.full_tensor()
        return made.cpu() if keep else made.new_empty(0)

    return tree_map_only(DTensor, whole, tree)


@torch.no_grad()
def put(into: Tensor, whole: Tensor) -> None:
    """Copy a tensor, which every process has whole, into one that may be sharded."""
    into.copy_(laid_out(whole, into))


def laid_out(whole: Tensor, like: Tensor) -> Tensor:
    """Return a tensor, which every process has whole, sharded as another one is, or as it is."""
    if not isinstance(like, DTensor):
        return whole
    moved = whole.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
