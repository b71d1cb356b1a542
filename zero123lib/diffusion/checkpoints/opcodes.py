"""What a pickle of weights would do, found by reading its opcodes as data: nothing is built.

A *global* is a dotted name that the pickle refers to; a *storage* is the bytes behind tensors, one
record of an archive of torch.save. The dry run keeps stand-ins where an unpickler keeps objects,
and refuses whatever plain tensors have no need of. `torch.load(weights_only=True)` runs no code
either, but builds what takes memory or time without bound, or ends the process: byte arrays of any
size, tuples nested so deeply or so often that their hash does not end, tensors of shapes that
their storage does not back.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zero123lib.diffusion.checkpoints import allowed
from zero123lib.diffusion.checkpoints.errors import DamagedCheckpointError, UnsafeCheckpointError

# Tensors and their arguments take some twenty. A hash visits every item, shared ones again and
# again, and goes down into nested ones without a limit of its own.
MAX_TUPLE_ITEMS = 1000


@dataclass(frozen=True)
class Storage:
    """Bytes that the pickle says are behind a tensor: the record ``data/<key>``."""

    key: str
    kind: str
    count: int

    @property
    def nbytes(self) -> int:
        return self.count * allowed.ITEM_BYTES[self.kind]


@dataclass(frozen=True)
class _Global:
    name: str


@dataclass(frozen=True)
class _Made:
    """What a call would return, or a list or dict."""

    maker: str


@dataclass(frozen=True)
class _Tuple:
    items: tuple[Any, ...]
    size: int


class _Refusal(Exception):
    """What the pickle does, to go after "whose pickle"."""


def dry_run(pickle: bytes, source: Path) -> list[Storage]:
    """The storages that a pickle refers to, one per reference, in its order.

    Args:
        pickle: an archive's ``data.pkl``.
        source: what error messages name.

    Raises:
        UnsafeCheckpointError: it would do anything but build plain tensors that storages back.
        DamagedCheckpointError: it is no whole pickle.
    """
    run = _DryRun()
    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            run.step(opcode.name, argument)
    except _Refusal as refusal:
        raise UnsafeCheckpointError(
            "source",
            "a pickle of tensors and plain values",
            f"{str(source)!r}, whose pickle {refusal}; nothing of it was run. Use a "
            "safetensors file in its place",
        ) from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedCheckpointError(
            "source",
            "a pickle of tensors",
            f"{str(source)!r}, whose pickle is damaged ({type(error).__name__}); download it again",
        ) from error
    return run.storages


class _DryRun:
    """An unpickler's stack, marks and memo, over stand-ins."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[Storage] = []

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(argument)
        elif opcode in _FIXED:
            self.stack.append(_FIXED[opcode])
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode == "MARK":
            self.marked.append(self.stack)
            self.stack = []
        elif opcode in _TUPLES:
            items = self._pop(_TUPLES[opcode])  # first: it may bring back the stack below a mark
            self.stack.append(_tuple(items))
        elif opcode in _FILLS:
            count, targets = _FILLS[opcode]
            self._pop(count)
            self._expect_on_top(targets, opcode)
        elif opcode == "GLOBAL":
            self.stack.append(_Global(_known(argument)))
        elif opcode in ("REDUCE", "NEWOBJ"):
            self.stack.append(_called(opcode, *self._pop(2)))
        elif opcode == "BINPERSID":
            self.storages.append(_storage(*self._pop(1)))
            self.stack.append(self.storages[-1])
        elif opcode == "PROTO":
            _require(argument == 2, f"has protocol {argument} in place of torch.save's own, 2")
        else:
            _require(opcode == "STOP", f"has the opcode {opcode}, which torch.save never writes")

    def _pop(self, count: int | None) -> list[Any]:
        """The last items, or with None those since the last mark."""
        if count is None:
            items, self.stack = self.stack, self.marked.pop()
            return items
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError("stack")
        del self.stack[-count:]
        return items

    def _expect_on_top(self, makers: set[str], opcode: str) -> None:
        top = self.stack[-1]
        made = isinstance(top, _Made) and top.maker in makers
        _require(made, f"changes with {opcode} what is no list, dict or stand-in")


_CONSTANTS = {
    "BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
}  # fmt: skip
_FIXED: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_LIST": _Made("list"),
    "EMPTY_DICT": _Made("dict"),
    "EMPTY_TUPLE": _Tuple((), 1),
}
_TUPLES = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DICTS = {"dict", allowed.ORDERED_DICT, *allowed.INERT_DICTS}
# How many items each puts (None: all since the mark) into one made by whom.
_FILLS: dict[str, tuple[int | None, set[str]]] = {
    "APPEND": (1, {"list"}),
    "APPENDS": (None, {"list"}),
    "SETITEM": (2, _DICTS),
    "SETITEMS": (None, _DICTS),
    "BUILD": (1, {allowed.ORDERED_DICT, *allowed.INERT}),
}


def _require(condition: bool, refusal: str) -> None:
    if not condition:
        raise _Refusal(refusal)


def _tuple(items: list[Any]) -> _Tuple:
    size = 1 + sum(item.size if isinstance(item, _Tuple) else 1 for item in items)
    _require(size <= MAX_TUPLE_ITEMS, f"nests more than {MAX_TUPLE_ITEMS} items in tuples")
    return _Tuple(tuple(items), size)


def _known(argument: str) -> str:
    """A global by its name in Python 3, if it is on the list."""
    name = ".".join(argument.split(" "))
    name = allowed.PYTHON_2.get(name, name.replace("__builtin__.", "builtins.", 1))
    known = name in _ARGUMENTS or name in allowed.ITEM_BYTES or name in allowed.DTYPES
    _require(known, f"names {name!r}")
    return name


def _called(opcode: str, maker: Any, arguments: Any) -> _Made:
    _require(isinstance(maker, _Global), "calls what it made itself")
    _require(isinstance(arguments, _Tuple), f"calls {maker.name} without a tuple of arguments")
    fits = _ARGUMENTS.get(maker.name)
    stand_in = maker.name in allowed.INERT or maker.name in allowed.INERT_DICTS
    may = fits is not None and (stand_in or opcode == "REDUCE") and fits(arguments.items)
    _require(may, f"calls {maker.name} with arguments that torch.save never gives it")
    return _Made(maker.name)


def _storage(identity: Any) -> Storage:
    """The storage of a persistent id, ("storage", class, key, device, elements)."""
    refusal = _Refusal("refers to data that is no storage of plain numbers")
    if not isinstance(identity, _Tuple) or len(identity.items) != 5:
        raise refusal
    tag, kind, key, device, count = identity.items
    if tag != "storage" or not isinstance(kind, _Global) or not isinstance(key, str):
        raise refusal
    known = kind.name in allowed.ITEM_BYTES
    if not known or not isinstance(device, str) or not _is_count(count):
        raise refusal
    return Storage(key, kind.name, count)


def _fits_tensor(items: tuple[Any, ...]) -> bool:
    """Whether (storage, offset, shape, strides, ...) stays within what the storage holds."""
    if len(items) != 6:
        return False
    storage, offset, shape, strides = items[:4]
    if not (isinstance(storage, Storage) and isinstance(shape, _Tuple)):
        return False
    if not (isinstance(strides, _Tuple) and len(strides.items) == len(shape.items)):
        return False
    if not all(map(_is_count, (offset, *shape.items, *strides.items))):
        return False
    last = offset + sum((n - 1) * step for n, step in zip(shape.items, strides.items, strict=True))
    backed = math.prod(shape.items) <= storage.count and last < storage.count
    _require(
        backed or 0 in shape.items,
        f"has a tensor of shape {list(shape.items[:8])} over a storage of {storage.count} elements",
    )
    return True


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _anything(items: tuple[Any, ...]) -> bool:
    return True


# What may be called, and with which arguments. Encoding is how numpy's scalars keep their bytes.
_ARGUMENTS: dict[str, Callable[[tuple[Any, ...]], bool]] = {
    allowed.ORDERED_DICT: lambda items: not items,
    allowed.TENSOR: _fits_tensor,
    allowed.PARAMETER: lambda items: len(items) == 3 and items[0] == _Made(allowed.TENSOR),
    allowed.ENCODE: lambda items: len(items) == 2 and items[1] == "latin1",
    **dict.fromkeys([*allowed.PLAIN, *allowed.INERT, *allowed.INERT_DICTS], _anything),
}
