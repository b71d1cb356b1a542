"""From an unread checkpoint to networks with weights, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from zero123lib.diffusion.checkpoints.canonical import Checkpoint
from zero123lib.diffusion.checkpoints.errors import MismatchedCheckpointError


def fill(
    checkpoint: Checkpoint,
    name: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Callable[[int], Any] = lambda nbytes: None,
) -> nn.Module:
    """Read the weights of one part into its network.

    Each weight is copied out of its file, converted and placed by itself, so no second copy of
    the model is ever in memory.

    Args:
        checkpoint: not changed otherwise; its part's network is filled in place.
        name: of the part.
        dtype: of the network.
        device: of the network.
        progress: told the bytes of each weight in its file once it was read.

    Returns:
        The network, in evaluation mode.

    Raises:
        MismatchedCheckpointError: weights are missing, left over, of other shapes or not finite.
    """
    part, filled = checkpoint.parts[name], {}
    for weight in checked_names(checkpoint, name):
        filled[weight] = read_weight(checkpoint, name, weight, dtype, device)
        progress(part.weights[weight].nbytes)
    part.network.load_state_dict(filled, strict=True, assign=True)
    # Buffers that are not saved follow; the weights are there already.
    return nn.Module.to(part.network, device=device, dtype=dtype)


def checked_names(checkpoint: Checkpoint, name: str) -> Iterable[str]:
    """Return a part's weights' names in the network's order; raise unless all are there."""
    part = checkpoint.parts[name]
    missing = [weight for weight in part.shapes if weight not in part.weights]
    if missing:
        got = f"all but {len(missing)}, such as {missing[0]},"
        raise _mismatch(checkpoint, got, f"all weights of {name}")
    left = [weight for weight in part.weights if weight not in part.shapes]
    if left:
        got = f"{len(left)} more, such as {left[0]},"
        raise _mismatch(checkpoint, got, f"only weights of {name}")
    return part.shapes


def read_weight(
    checkpoint: Checkpoint,
    name: str,
    weight: str,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return a copy of a part's weight, of the network's shape and of finite numbers.

    Args:
        checkpoint, name: of the part.
        weight: its name in the network.
        dtype: None keeps the file's.
        device: of the copy.

    Raises:
        MismatchedCheckpointError: it is of another shape, or not finite, there or in ``dtype``.
    """
    part = checkpoint.parts[name]
    tensor, shape = part.weights[weight], part.shapes[weight]
    if tensor.shape != shape or not tensor.is_floating_point():
        raise _mismatch(
            checkpoint,
            f"{list(tensor.shape)} of {tensor.dtype}",
            f"{name} {weight} of shape {list(shape)} in floating point",
        )
    if not _finite(tensor):
        raise _mismatch(checkpoint, "NaN or infinity", f"finite numbers in {name} {weight}")
    dtype = dtype or tensor.dtype
    placed = tensor.detach().to(device=device, dtype=dtype, copy=True).contiguous()
    if dtype.itemsize < tensor.dtype.itemsize and not _finite(placed):
        raise _mismatch(checkpoint, "larger ones", f"numbers that fit {dtype} in {name} {weight}")
    return placed


def _finite(tensor: Tensor) -> bool:
    """Tell whether all is finite, without a second tensor of its size."""
    return tensor.numel() == 0 or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def _mismatch(checkpoint: Checkpoint, got: str, expected: str) -> MismatchedCheckpointError:
    hint = ""
    if checkpoint.layout == "original":
        hint = "; a model of other sizes than the published ones needs its YAML as original_config"
    return MismatchedCheckpointError(
        "source", expected, f"{got} in {str(checkpoint.source)!r}{hint}"
    )
