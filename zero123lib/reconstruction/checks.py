"""What a value of a recipe has to be besides its type; each raises ValueError, naming the field."""

from __future__ import annotations

import math
from typing import Any

from zero123lib.reconstruction.schedules import C


def least(section: Any, **least: float) -> None:
    for name, low in least.items():
        value = getattr(section, name)
        numbers = value if isinstance(value, list | tuple) else [value]
        if not all(math.isfinite(one) and one >= low for one in numbers):
            raise ValueError(f"{name}: expected at least {low:g}, got {_plain(value)}")


def schedules(section: Any, *names: str, most: float = math.inf) -> None:
    """Each is a schedule that never leaves [0, ``most``]."""
    for name in names:
        value = getattr(section, name)
        if isinstance(value, bool) or not isinstance(value, int | float | list):
            raise ValueError(f"{name}: expected a number or a schedule, got {value!r}")
        try:
            C(value, 0)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        steps = [0, *(math.ceil(v) for v in value)] if isinstance(value, list) else [0]
        if not all(0 <= C(value, step) <= most for step in steps):
            wanted = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
            raise ValueError(f"{name}: expected numbers {wanted}, got {value}")


def sizes(section: Any, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        numbers = value if isinstance(value, list) and value else [value]
        if not all(type(one) is int and one >= 1 for one in numbers):
            raise ValueError(f"{name}: expected whole numbers of at least 1, got {value!r}")


def square(section: Any, height: str, width: str) -> None:
    sizes(section, height, width)
    if getattr(section, height) != getattr(section, width):
        raise ValueError(
            f"{width}: expected the height, as pictures are square, got "
            f"{getattr(section, width)!r} beside {getattr(section, height)!r}"
        )


def camera(section: Any, distance: str, fov: str) -> None:
    for name, high in ((distance, math.inf), (fov, 180.0)):
        value = getattr(section, name)
        numbers = value if isinstance(value, tuple) else [value]
        if not all(0 < one < high for one in numbers):
            raise ValueError(f"{name}: expected above 0 and below {high:g}, got {_plain(value)}")


def milestones(section: Any, names: tuple[str, ...], path: str) -> None:
    wanted = len(section.resolution_milestones) + 1
    for name in names:
        value = getattr(section, name)
        if isinstance(value, list) and len(value) != wanted:
            raise ValueError(
                f"{path}.{name}: expected {wanted} numbers, one more than resolution_milestones, "
                f"got {value}"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
