"""Sections of a config: frozen dataclasses that check themselves, and how they are read.

A field's annotation says its type and its metadata the range; whatever does not fit is one line
that names the field by its whole path, ``optimizer.learning_rate: expected ..., got ...``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from zero123lib._errors import ArgumentError

_RANGE = "range"


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; ``low`` itself where it is not ``open``."""

    low: float
    high: float = math.inf
    open: bool = False

    def __contains__(self, value: float) -> bool:
        # NaN is in no range, and infinity is no setting.
        above = self.low < value if self.open else self.low <= value
        return above and value <= self.high and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.open else f"of at least {self.low:g}"
        return f"from {self.low:g} to {self.high:g}"


def above(low: float, default: Any) -> Any:
    """A field of numbers above ``low``."""
    return field(default=default, metadata={_RANGE: Range(low, open=True)})


def at_least(low: float, default: Any) -> Any:
    """A field of numbers of at least ``low``."""
    return field(default=default, metadata={_RANGE: Range(low)})


def within(low: float, high: float, default: Any) -> Any:
    """A field of numbers from ``low`` to ``high``."""
    return field(default=default, metadata={_RANGE: Range(low, high)})


@dataclass(frozen=True)
class Section:
    """A part of a config.

    Raises:
        ValueError: a value is of another type than its annotation or out of range; the message
            begins with the field's name.
    """

    def __post_init__(self) -> None:
        for one in fields(self):
            value, kind = getattr(self, one.name), _hints(type(self))[one.name]
            allowed = one.metadata.get(_RANGE)
            if not _fits(value, kind, allowed):
                wanted = _described(kind, allowed)
                raise ArgumentError(one.name, f"{wanted}", repr(value))


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def build(kind: type, content: Any, path: str = "") -> Any:
    """A section from what YAML holds.

    Args:
        kind: a dataclass of this module's kind.
        content: a mapping; None, an empty section, stands for all defaults.
        path: of the section, for messages; empty at the top.

    Raises:
        ValueError: an unknown key, or a value that does not fit.
    """
    if not isinstance(content, Mapping | None):
        raise ArgumentError(path or "config", "a mapping", repr(content))
    hints = _hints(kind)
    values = {}
    for key, value in (content or {}).items():
        place = f"{path}.{key}" if path else str(key)
        if key not in hints:
            raise ArgumentError(place, f"one of {', '.join(hints)}", "an unknown key")
        values[key] = _converted(value, hints[key], place)
    try:
        return kind(**values)
    except ArgumentError as error:
        raise error.within(path) from error


def _converted(value: Any, kind: Any, place: str) -> Any:
    """YAML's value as the annotated type, as far as the two differ in form alone."""
    options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    section = next((one for one in options if is_dataclass(one)), None)
    if section is not None and not (value is None and NoneType in options):
        return build(section, value, place)  # pyright: ignore[reportArgumentType]
    if float in options and not isinstance(value, bool):
        return _as_float(value)
    inner = next((get_args(one) for one in options if get_origin(one) is tuple), None)
    if inner and isinstance(value, list):
        if is_dataclass(inner[0]):
            return tuple(build(inner[0], one, f"{place}[{i}]") for i, one in enumerate(value))  # pyright: ignore[reportArgumentType]
        return tuple(_as_float(one) if inner[0] is float else one for one in value)
    return value


def _as_float(value: Any) -> Any:
    """A number; YAML 1.1 takes "1e-5", without a point, for a text."""
    try:
        return float(value) if isinstance(value, int | float | str) else value
    except ValueError:
        return value


def _fits(value: Any, kind: Any, allowed: Range | None) -> bool:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one, allowed) for one in inside)
    if kind is NoneType:
        return value is None
    if origin is Literal:
        return value in inside and type(value) in {type(one) for one in inside}
    if origin is tuple:
        if not isinstance(value, tuple) or not value:
            return False
        same = inside[-1] is Ellipsis or len(inside) == len(value)
        return same and all(_fits(one, inside[0], allowed) for one in value)
    if kind in (int, float):
        number = isinstance(value, int if kind is int else int | float)
        in_range = allowed is None or (number and value in allowed)
        return number and not isinstance(value, bool) and in_range
    return isinstance(value, kind)


def _described(kind: Any, allowed: Range | None) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(_described(one, allowed) for one in inside)
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin is tuple:
        count = "" if inside[-1] is Ellipsis else f"{len(inside)} "
        return f"a list of {count}entries, each {_described(inside[0], allowed)}"
    names = {
        NoneType: "null", bool: "true or false", str: "a text",
        int: "a whole number", float: "a number",
    }  # fmt: skip
    name = names.get(kind, f"a section {getattr(kind, '__name__', kind)}")
    return f"{name} {allowed}" if allowed is not None and kind in (int, float) else name
