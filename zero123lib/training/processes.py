"""One process of several acts for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

Result = TypeVar("Result")

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


def end_training(accelerator: Accelerator) -> None:
    """End what the processes had together.

    gloo's threads let go of a collective's tensors a moment after it, for which they want the
    interpreter; whoever destroys the group then, with the interpreter held, waits for them for
    ever. So the group itself lives as long as the process.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        _ENDED.append(torch.distributed.group.WORLD)
    accelerator.end_training()
