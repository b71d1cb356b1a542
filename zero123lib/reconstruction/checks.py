"""What a value of a recipe has to be besides its type; each raises ValueError, naming the field."""

from __future__ import annotations

import math
from typing import Any

from zero123lib._errors import ArgumentError
from zero123lib.reconstruction.schedules import C


def least(section: Any, **least: float) -> None:
    for name, low in least.items():
        value = getattr(section, name)
        numbers = value if isinstance(value, list | tuple) else [value]
        if not all(math.isfinite(one) and one >= low for one in numbers):
            raise ArgumentError(name, f"at least {low:g}", str(_plain(value)))


def schedules(section: Any, *names: str, most: float = math.inf) -> None:
    """Each is a schedule that never leaves [0, ``most``]."""
    for name in names:
        value = getattr(section, name)
        if isinstance(value, bool) or not isinstance(value, int | float | list):
            raise ArgumentError(name, "a number or a schedule", repr(value))
        try:
            C(value, 0)
        except ArgumentError as error:
            raise error.renamed(name) from error
        steps = [0, *(math.ceil(v) for v in value)] if isinstance(value, list) else [0]
        if not all(0 <= C(value, step) <= most for step in steps):
            wanted = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
            raise ArgumentError(name, f"numbers {wanted}", str(value))


def sizes(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        numbers = value if isinstance(value, list) and value else [value]
        if not all(type(one) is int and one >= 1 for one in numbers):
            raise ArgumentError(name, "whole numbers of at least 1", repr(value))


def square(section: Any, height: str, width: str) -> None:
    sizes(section, height, width)
    if getattr(section, height) != getattr(section, width):
        raise ArgumentError(
            width,
            "the height, as pictures are square",
            f"{getattr(section, width)!r} beside {getattr(section, height)!r}",
        )


def camera(section: Any, distance: str, fov: str) -> None:
    for name, high in ((distance, math.inf), (fov, 180.0)):
        value = getattr(section, name)
        numbers = value if isinstance(value, tuple) else [value]
        if not all(0 < one < high for one in numbers):
            raise ArgumentError(name, f"above 0 and below {high:g}", str(_plain(value)))


def milestones(section: Any, names: tuple[str, ...], path: str) -> None:
    wanted = len(section.resolution_milestones) + 1
    for name in names:
        value = getattr(section, name)
        if isinstance(value, list) and len(value) != wanted:
            raise ArgumentError(
                f"{path}.{name}",
                f"{wanted} numbers, one more than resolution_milestones",
                str(value),
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
