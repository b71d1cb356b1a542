"""A device that is not there: its tensors compute on the CPU, and refuse to meet those of the CPU.

So that what runs on a GPU runs in every test, and a tensor that was left behind is found. It calls
itself "meta", for which torch asks for no driver, and has no float64, as Apple's GPUs have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
_aten = torch.ops.aten
# Both sides of these may lie anywhere, or what selects may.
_CROSSING = {_aten.copy_.default, _aten._to_copy.default}
_SELECTING = {
    _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default,
    _aten._index_put_impl_.default,
}  # fmt: skip


class Elsewhere(torch.Tensor):
    """A tensor that says it is there, around one on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        if inner.dtype == torch.float64:
            raise TypeError("float64 does not exist on this device")
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, layout=inner.layout, device=DEVICE,
            requires_grad=inner.requires_grad,
        )  # fmt: skip
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.inner!r})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Elsewhere:
        return Elsewhere(self.inner.new_tensor(data, **options))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _There(TorchDispatchMode):
    """Catches what makes tensors on the device of none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, torch.Tensor)]
    there = any(isinstance(one, Elsewhere) for one in tensors)
    if there and func not in _CROSSING:
        met = tensors if func not in _SELECTING else [args[0], *args[2:3]]
        strangers = [one for one in met if not isinstance(one, Elsewhere) and one.ndim]
        if strangers:
            shapes = [list(one.shape) for one in strangers]
            raise RuntimeError(f"{func}: tensors of two devices; on the CPU are {shapes}")
    wanted = kwargs.get("device")
    if wanted is not None:
        there = torch.device(wanted).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is _aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    plain_args, plain = tree_map_only(Elsewhere, lambda one: one.inner, (args, kwargs))
    found = func(*plain_args, **plain)
    if not there:
        return found
    return return_and_correct_aliasing(
        func, args, kwargs, tree_map_only(torch.Tensor, Elsewhere, found)
    )


class _Generator(torch.Generator):
    """One of the CPU, wherever it is said to be."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls)


def _crossing(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Have `torch.tensor`, which no mode catches, make its tensors on the CPU and send them."""

    def made(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        there = device is not None and torch.device(device).type == DEVICE.type
        if isinstance(data, Elsewhere) or not there:
            return make(data, device=device, **options)
        return make(data, **options).to(DEVICE)

    return made


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """Have such a device while the context lasts; its generators are the CPU's."""
    monkeypatch.setattr(torch, "Generator", _Generator)
    monkeypatch.setattr(torch, "tensor", _crossing(torch.tensor))
    monkeypatch.setattr(torch, "as_tensor", _crossing(torch.as_tensor))
    optimizer = import_module("torch.optim.optimizer")
    fused = [*optimizer._get_fused_kernels_supported_devices(), DEVICE.type]
    monkeypatch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: fused)
    with _There():
        yield DEVICE
