"""From an unread checkpoint to networks with weights, tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from zero123lib.diffusion.checkpoints.canonical import Checkpoint, Part
from zero123lib.diffusion.checkpoints.errors import MismatchedCheckpointError

# Called with the bytes of each weight that was read.
Progress = Callable[[int], Any]


def fill(
    checkpoint: Checkpoint,
    name: str,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Read the weights of one part into its network.

    Each weight is copied out of its file, converted and placed by itself, so no second copy of
    the model is ever in memory.

    Args:
        checkpoint: not changed otherwise; its part's network is filled in place.
        name: of the part.
        dtype: of the network.
        device: of the network.
        progress: told as weights are read.

    Returns:
        The network, in evaluation mode.

    Raises:
        MismatchedCheckpointError: weights are missing, left over, of other shapes or not finite.
    """
    part = checkpoint.parts[name]
    expected = part.network.state_dict()
    check_names(checkpoint, name)
    filled = {}
    for weight, empty in expected.items():
        tensor = checked(checkpoint, name, weight, part.weights[weight], empty)
        filled[weight] = _placed(checkpoint, name, weight, tensor, dtype, device)
        if progress is not None:
            progress(tensor.nbytes)
    part.network.load_state_dict(filled, strict=True, assign=True)
    # Buffers that are not saved follow; the weights are there already.
    return nn.Module.to(part.network, device=device, dtype=dtype)


def nbytes(part: Part) -> int:
    """What a part's weights take in their file, bytes."""
    return sum(tensor.nbytes for tensor in part.weights.values())


def check_names(checkpoint: Checkpoint, name: str) -> None:
    """Raise MismatchedCheckpointError unless a part's weights are those of its network."""
    part = checkpoint.parts[name]
    expected = part.network.state_dict()
    missing = [weight for weight in expected if weight not in part.weights]
    if missing:
        got = f"all but {len(missing)}, such as {missing[0]},"
        raise _mismatch(checkpoint, got, f"all weights of {name}")
    left = [weight for weight in part.weights if weight not in expected]
    if left:
        got = f"{len(left)} more, such as {left[0]},"
        raise _mismatch(checkpoint, got, f"only weights of {name}")


def checked(
    checkpoint: Checkpoint, name: str, weight: str, tensor: Tensor, empty: Tensor
) -> Tensor:
    """The tensor, if it has the shape of the network's weight and holds finite numbers."""
    if tensor.shape != empty.shape or not tensor.is_floating_point():
        raise _mismatch(
            checkpoint,
            f"{list(tensor.shape)} of {tensor.dtype}",
            f"{name} {weight} of shape {list(empty.shape)} in floating point",
        )
    if not _finite(tensor):
        raise _mismatch(checkpoint, "NaN or infinity", f"finite numbers in {name} {weight}")
    return tensor


def _placed(
    checkpoint: Checkpoint,
    name: str,
    weight: str,
    tensor: Tensor,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    placed = tensor.detach().to(device=device, dtype=dtype, copy=True).contiguous()
    if placed.dtype.itemsize < tensor.dtype.itemsize and not _finite(placed):
        raise _mismatch(checkpoint, "larger ones", f"numbers that fit {dtype} in {name} {weight}")
    return placed


def _finite(tensor: Tensor) -> bool:
    """Whether all is finite, without a second tensor of its size."""
    return tensor.numel() == 0 or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def _mismatch(checkpoint: Checkpoint, got: str, expected: str) -> MismatchedCheckpointError:
    hint = ""
    if checkpoint.layout == "original":
        hint = "; a model of other sizes than the published ones needs its YAML as original_config"
    return MismatchedCheckpointError(
        "source", expected, f"{got} in {str(checkpoint.source)!r}{hint}"
    )


def dtype_of(name: str, torch_dtype: torch.dtype | Mapping[str, torch.dtype] | None) -> torch.dtype:
    """A part's precision: float32 unless told, for all parts or by name (with a "default")."""
    if torch_dtype is None or isinstance(torch_dtype, torch.dtype):
        return torch_dtype or torch.float32
    return torch_dtype.get(name, torch_dtype.get("default", torch.float32))
