"""One process of several acts for all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils._pytree import tree_flatten, tree_unflatten

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Kind:
    """A tensor without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


# Groups that training is done with.
_ENDED: list[Any] = []


def on_main(accelerator: Accelerator, action: Callable[[], Result]) -> Result:
    """Do something on the first process while the others wait, and tell all what came of it.

    Raises:
        OSError, ValueError: on every process, what the action raised on the first.
    """
    outcome: list = [None, None]
    if accelerator.is_main_process:
        try:
            outcome[0] = action()
        except (OSError, ValueError) as error:
            if accelerator.num_processes == 1:
                raise
            kind = OSError if isinstance(error, OSError) else ValueError
            outcome[1] = kind(str(error))
    if accelerator.num_processes > 1:
        broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def told_by_main(accelerator: Accelerator, value: Result) -> Result:
    """Return on all processes what the first one has."""
    told = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(told)
    return told[0]


def share(accelerator: Accelerator, tree: Any) -> Any:
    """Return on all processes the first one's tree of tensors, on the CPU.

    Tensors go one by one, so that devices hold no more than one of them.

    Args:
        tree: of dicts, lists and tuples; looked at on the first process alone.
    """
    if accelerator.num_processes == 1:
        return tree
    leaves, shape = tree_flatten(tree)
    kinds = [
        _Kind(tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else leaf
        for leaf in leaves
    ]
    kinds, shape = told_by_main(accelerator, (kinds, shape))
    shared = []
    for index, kind in enumerate(kinds):
        if isinstance(kind, _Kind):
            tensor = torch.empty(kind.shape, dtype=kind.dtype, device=accelerator.device)
            if accelerator.is_main_process:
                tensor.copy_(leaves[index])
            torch.distributed.broadcast(tensor, 0)
            kind = tensor.cpu()
        shared.append(kind)
    return tree_unflatten(shared, shape)


def restarts_fail() -> bool:
    """Tell whether processes that torchrun begins again would find those that are gone.

    They meet in the store of its agent, where the addresses of those before them still are, unless
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives each beginning a store of its own.
    """
    told = os.environ
    restarts = int(told.get("TORCHELASTIC_MAX_RESTARTS") or 0)
    return restarts > 0 and told.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def end_training(accelerator: Accelerator) -> None:
    """End what the processes had together.

    gloo's threads let go of a collective's tensors a moment after it, for which they want the
    interpreter; whoever destroys the group then, with the interpreter held, waits for them for
    ever. So the group itself lives as long as the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        _ENDED.append(torch.distributed.group.WORLD)
    accelerator.end_training()
