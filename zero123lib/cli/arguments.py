"""What an argument may be, and the one line that says what was expected instead."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

# Named again here, since the room that owns them loads torch; a test keeps them the same.
ENCODINGS = ("auto", "zero123", "stable-zero123")

Number = TypeVar("Number", int, float)


class Parser(argparse.ArgumentParser):
    """argparse whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message.removeprefix('argument ')}\n")


def number(
    convert: Callable[[str], Number], expected: str, accept: Callable[[Number], bool]
) -> Callable[[str], Number]:
    """An argparse type: a number that `accept` takes; `expected` says which those are."""

    def read(text: str) -> Number:
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not accept(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
        return value

    return read


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """An argparse type: one of the names."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(names)}, got {text!r}")
        return text

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low` to `high`."""
    return number(int, f"a whole number from {low} to {high}", lambda value: low <= value <= high)


degrees = number(float, "a finite number of degrees", math.isfinite)
finite = number(float, "a finite number", math.isfinite)
positive = number(float, "a finite number above 0", lambda value: 0.0 < value < math.inf)


def add_reading(group: Any) -> None:
    """Add what reading a checkpoint may need besides its name."""
    group.add_argument(
        "--encoding", type=one_of(ENCODINGS), default="auto", metavar="NAME",
        help=f"pose encoding that it was trained with: {', '.join(ENCODINGS)} (auto)",
    )  # fmt: skip
    group.add_argument(
        "--original-config", type=Path, metavar="YAML",
        help="the official config, for a checkpoint file of other sizes than the published ones",
    )  # fmt: skip
