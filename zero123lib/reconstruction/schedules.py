"""Values that change during a run, written as threestudio writes them.

    0.1                         the same all along
    [s0, v0, v1, s1]            v0 up to s0, then a straight line to v1 at s1, then v1
    [v0, v1, s1]                the same from the beginning, s0 = 0
    [s0, v0, v1, s1, v2, s2]    straight lines through more points, any number of pairs

An end ``s1`` that is a whole number counts steps; one with a point, such as ``2.0``, epochs. The
embedded engine has no epochs: everything is epoch 0 there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator

from zero123lib._errors import ArgumentError


def _bounded(most: float) -> AfterValidator:
    """Hold a setting to schedules that never leave [0, ``most``]."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | list):
            raise ArgumentError("", "a number or a schedule", repr(value))
        try:
            values = [v for _, v in schedule_points(value)] if isinstance(value, list) else [value]
        except ArgumentError as error:
            raise error.renamed("") from error
        if not all(0 <= one <= most for one in values) or math.inf in values:
            wanted = "of at least 0" if most == math.inf else f"from 0 to {most:g}"
            raise ArgumentError("", f"numbers {wanted}", str(value))
        return value

    return AfterValidator(check)


# As settings: a number, or a list as above.
Schedule = Annotated[Any, _bounded(math.inf)]
ShareSchedule = Annotated[Any, _bounded(1.0)]


def C(value: float | Sequence[float], step: int, epoch: int = 0) -> float:
    """Return the value of a schedule at a step (threestudio, ``utils/misc.py: C``).

    Args:
        value: see the top of the module.
        step: from 0.
        epoch: what an end that is a float is compared with.

    Raises:
        ValueError: a list of another form.
    """
    if isinstance(value, int | float):
        return value
    points = schedule_points(value)
    last = len(points) - 2
    piece = next((i for i in range(last) if step < points[i + 1][0]), last)
    (start, low), (end, high) = points[piece : piece + 2]
    now = epoch if isinstance(end, float) else step
    return low + (high - low) * min(max((now - start) / (end - start), 0.0), 1.0)


def largest(value: float | Sequence[float]) -> float:
    """Return the most that a schedule comes to (threestudio, ``utils/config.py: C_max``)."""
    if isinstance(value, int | float):
        return value
    return max(v for _, v in schedule_points(value))


def schedule_points(value: Sequence[float | int]) -> list[tuple[float | int, float]]:
    """Return the (step, value) pairs that the straight lines of a list run through.

    Raises:
        ValueError: a list of another form than those at the top of the module.
    """
    numbers = list(value)
    usable = all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers)
    if not usable or not all(map(math.isfinite, numbers)):
        raise ArgumentError("value", "finite numbers in a schedule", repr(numbers))
    if len(numbers) == 3:
        numbers = [0, *numbers]
    if len(numbers) < 4 or len(numbers) % 2:
        forms = "[v0, v1, s1], [s0, v0, v1, s1] or [s0, v0, v1, s1, v2, s2, ...]"
        raise ArgumentError("value", f"a number, {forms}", repr(numbers))
    points = [(numbers[0], numbers[1]), *zip(numbers[3::2], numbers[2::2], strict=True)]
    for (start, _), (end, _) in itertools.pairwise(points):
        if not end > start:
            raise ArgumentError("value", "the steps of a schedule to ascend", repr(numbers))
    return points


def at_milestone(value: Any, milestones: Sequence[int], step: int) -> int:
    """Return the entry of a list that holds at a step; a number holds at all (threestudio,
    data/)."""
    if not isinstance(value, list | tuple):
        return value
    return value[min(sum(step >= one for one in milestones), len(value) - 1)]
