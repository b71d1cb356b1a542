"""Tensors of the archives of torch.save, mapped: plain state dicts and Lightning's files.

Nothing that a pickle names is imported or called: its opcodes are read as data, tensors become the
places where they lie, and all else a stand-in. `torch.load(weights_only=True)` runs no code either,
but builds what takes memory or time without bound, or ends the process: tuples nested so deeply or
so often that their hash does not end, tensors of shapes that their storage does not back. Its
``mmap=True`` cannot map a file larger than the machine's memory, as the 15.5 GB of zero123-xl.ckpt
often is.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from zero123lib.diffusion.checkpoints.archives import Archive, read_archive
from zero123lib.diffusion.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
)
from zero123lib.diffusion.checkpoints.maps import map_file, numbers

_STORAGES = {
    f"torch.{kind}Storage": dtype
    for kind, dtype in {
        "Double": torch.float64, "Float": torch.float32, "Half": torch.float16,
        "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32,
        "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
    }.items()
}  # fmt: skip
_ORDERED_DICT = "collections.OrderedDict"
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_ENCODE = "_codecs.encode"  # how numpy's scalars keep their bytes
_DTYPE = re.compile(r"torch\.(float64|float32|float16|bfloat16|int64)")
# What stands beside the tensors in files of Lightning, whose name changed with version 2. Stable
# Diffusion's files, of which Zero123's are descendants, hold ModelCheckpoint, as a key of
# `callbacks`, and numpy's scalars (lopho/pickle_inspector, _importlists.py). OmegaConf's containers
# are in files of models that keep their hyper-parameters (open-retina/open-retina, pull request
# 186); the other names are those that pickles of such containers refer to, Python 2's among them.
_LIGHTNING = r"(?:pytorch_lightning|lightning\.pytorch)\."
_INERT = re.compile(
    rf"{_LIGHTNING}callbacks\.(model_checkpoint\.ModelCheckpoint|early_stopping\.EarlyStopping)|"
    r"omegaconf\.(dictconfig\.DictConfig|listconfig\.ListConfig|base\.(Container)?Metadata|"
    r"nodes\.(Any|Boolean|Float|Integer|String)Node)|typing\.Any|"
    r"builtins\.(bool|dict|float|int|list|long|str|unicode)|numpy\.(dtype|_?core\.multiarray\.scalar)"
)
_DICT = re.compile(rf"collections\.defaultdict|{_LIGHTNING}utilities\.parsing\.AttributeDict")
_PLAIN = re.compile(r"torch\.(Size|device)")  # in optimizer states and hyper-parameters

_CONSTANTS = {
    "BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "NONE", "NEWTRUE", "NEWFALSE",
}  # fmt: skip
_MADE = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": lambda: _Tuple(())}
# How many of the last items each takes; None: all since the mark.
_TAKES = {
    "TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "REDUCE": 2, "NEWOBJ": 2,
    "BINPERSID": 1, "APPEND": 1, "APPENDS": None, "SETITEM": 2, "SETITEMS": None, "BUILD": 1,
}  # fmt: skip
# Tensors and their arguments take some twenty.
_MAX_TUPLE_ITEMS = 1000


@dataclass(frozen=True)
class _Global:
    """A dotted name that the pickle refers to."""

    name: str


class _Inert:
    """Stands in for any object."""


class _Tuple(tuple):
    size = 1  # with all items of items


@dataclass(frozen=True)
class _Storage:
    """The bytes behind tensors, one record of the archive."""

    offset: int
    count: int
    dtype: torch.dtype


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Refusal(Exception):
    """What the pickle does, to go after "whose pickle"."""


def read_pickled(file: BinaryIO, source: Path) -> dict[str, Tensor]:
    """Return the tensors of an archive by name, over the file's pages: of its ``state_dict`` or
    its own.

    Args:
        file: the archive, opened for reading.
        source: what error messages name.

    Raises:
        UnsafeCheckpointError: it would do anything but build plain tensors that the file backs.
        DamagedCheckpointError: it was cut short, or is no archive of torch.save.
        UnsupportedCheckpointError: it is a program, or of a machine with another byte order.
        MismatchedCheckpointError: it holds no tensors by name.
    """
    archive = read_archive(file, source)
    try:
        places = _named(_Machine(archive).run(), source)
        pages = map_file(file, source)
        return {name: _mapped(pages, place) for name, place in places.items()}
    except _Refusal as refusal:
        raise UnsafeCheckpointError(
            "source",
            "a pickle of tensors and plain values",
            f"{str(source)!r}, whose pickle {refusal}; nothing of it was run. Use a "
            "safetensors file in its place",
        ) from None
    except CheckpointError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedCheckpointError(
            "source",
            "an archive of torch.save",
            f"{str(source)!r}, whose pickle is damaged ({reason}); download it again",
        ) from error


def _named(loaded: Any, source: Path) -> dict[str, _Tensor]:
    """Take those of ``state_dict``, else of the dict itself, without what is no tensor."""
    state = loaded
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        state = loaded["state_dict"]
    held = state if isinstance(state, dict) else {}
    tensors = {name: value for name, value in held.items() if isinstance(value, _Tensor)}
    if not tensors:
        names = ", ".join(map(repr, list(held)[:5]))
        got = names or f"a {type(state).__name__.strip('_').lower()}"
        raise MismatchedCheckpointError(
            "source",
            "tensors by name, or a state_dict of them",
            f"{str(source)!r}, which holds {got}",
        )
    return tensors


def _mapped(pages: Any, place: _Tensor) -> Tensor:
    held = numbers(pages, place.storage.offset, place.storage.count, place.storage.dtype)
    return held.as_strided(place.shape, place.strides, place.offset)


class _Machine:
    """An unpickler's stack, marks and memo, over stand-ins."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, _Storage] = {}

    def run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.archive.pickle):
            self._step(opcode.name, argument)
        return self.stack[-1]

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(argument)
        elif opcode in _MADE:
            self.stack.append(_MADE[opcode]())
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode == "MARK":
            self.marked.append(self.stack)
            self.stack = []
        elif opcode == "GLOBAL":
            self.stack.append(_global(argument))
        elif opcode in _TAKES:
            self._take(opcode, self._pop(_TAKES[opcode]))
        elif opcode == "PROTO":
            _require(argument == 2, f"has protocol {argument} in place of torch.save's own, 2")
        else:
            _require(opcode == "STOP", f"has the opcode {opcode}, which torch.save never writes")

    def _pop(self, count: int | None) -> list[Any]:
        if count is None:
            items, self.stack = self.stack, self.marked.pop()
            return items
        items = self.stack[-count:]
        if len(items) < count:
            raise IndexError("stack")
        del self.stack[-count:]
        return items

    def _take(self, opcode: str, items: list[Any]) -> None:
        if opcode.startswith("TUPLE"):
            self.stack.append(_tuple(items))
        elif opcode in ("REDUCE", "NEWOBJ"):
            self.stack.append(_called(opcode, *items))
        elif opcode == "BINPERSID":
            self.stack.append(self._storage(*items))
        else:  # what fills the object on top
            top, wrong = self.stack[-1], f"changes with {opcode} what is no list, dict or stand-in"
            if opcode.startswith("SETITEM"):
                _require(isinstance(top, dict), wrong)
                pairs = zip(items[::2], items[1::2], strict=True)
                top.update((key, value) for key, value in pairs if isinstance(key, str))
            elif opcode == "BUILD":  # attributes, of which none matters
                _require(isinstance(top, (OrderedDict, _Inert)), wrong)
            else:
                _require(isinstance(top, list), wrong)

    def _storage(self, identity: Any) -> _Storage:
        """Return the storage of a persistent id, ("storage", class, key, device, elements)."""
        refusal = _Refusal("refers to data that is no storage of plain numbers")
        if not isinstance(identity, _Tuple) or len(identity) != 5:
            raise refusal
        tag, kind, key, device, count = identity
        dtype = _STORAGES.get(kind.name) if isinstance(kind, _Global) else None
        texts = all(isinstance(text, str) for text in (tag, key, device))
        if dtype is None or not texts or tag != "storage" or not _is_count(count):
            raise refusal
        record = f"data/{key}"
        if record not in self.archive.records:
            raise LookupError(f"lacks {record!r}")
        offset, length = self.archive.records[record]
        storage = _Storage(offset, count, dtype)
        known = self.storages.setdefault(key, storage)
        _require(
            length == count * dtype.itemsize and known == storage,
            f"takes the {length} bytes of {record!r} for {count} elements of a {kind.name}",
        )
        return storage


def _require(condition: bool, refusal: str) -> None:
    if not condition:
        raise _Refusal(refusal)


def _global(argument: str) -> _Global:
    name = argument.replace(" ", ".").replace("__builtin__.", "builtins.", 1)
    known = name in (_ORDERED_DICT, _TENSOR, _PARAMETER, _ENCODE, *_STORAGES)
    patterns = (_DTYPE, _INERT, _DICT, _PLAIN)
    known = known or any(pattern.fullmatch(name) for pattern in patterns)
    _require(known, f"names {name!r}")
    return _Global(name)


def _tuple(items: list[Any]) -> _Tuple:
    made = _Tuple(items)
    made.size = 1 + sum(item.size if isinstance(item, _Tuple) else 1 for item in items)
    few = made.size <= _MAX_TUPLE_ITEMS
    _require(few, f"nests more than {_MAX_TUPLE_ITEMS} items in tuples")
    return made


def _called(opcode: str, maker: Any, arguments: Any) -> Any:
    """Return what stands for the result of a call."""
    _require(isinstance(maker, _Global), "calls what it made itself")
    name = maker.name
    _require(isinstance(arguments, _Tuple), f"calls {name} without a tuple of arguments")
    if _INERT.fullmatch(name):
        return _Inert()
    if _DICT.fullmatch(name):
        return {}
    refusal = f"calls {name} with arguments that torch.save never gives it"
    _require(opcode == "REDUCE", refusal)
    if name == _ORDERED_DICT and not arguments:
        return OrderedDict()
    if name == _TENSOR and len(arguments) == 6:
        return _tensor(refusal, *arguments[:4])
    if name == _PARAMETER and len(arguments) == 3 and isinstance(arguments[0], _Tensor):
        return arguments[0]
    encoded = name == _ENCODE and len(arguments) == 2 and arguments[1] == "latin1"
    _require(encoded or _PLAIN.fullmatch(name) is not None, refusal)
    return _Inert()


def _tensor(refusal: str, storage: Any, offset: Any, shape: Any, strides: Any) -> _Tensor:
    """Return a tensor that stays within what its storage holds."""
    _require(isinstance(storage, _Storage), refusal)
    _require(isinstance(shape, _Tuple) and isinstance(strides, _Tuple), refusal)
    counts = all(map(_is_count, (offset, *shape, *strides)))
    _require(counts and len(shape) == len(strides), refusal)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    backed = math.prod(shape) <= storage.count and last < storage.count
    _require(
        backed or 0 in shape,
        f"has a tensor of shape {list(shape[:8])} over a storage of {storage.count} elements",
    )
    return _Tensor(storage, offset, shape, strides)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63
