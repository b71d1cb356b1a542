"""Settings: what fits a section's annotations, and the one line that names what does not."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any, Literal, cast

import pytest
from pydantic import Field

from zero123lib._config import Listed, Number, Pair, Positive, Range, Several, Share, settings
from zero123lib._errors import ArgumentError


@settings
class Inner:
    rate: Positive = 1.0
    size: int = Field(default=8, ge=2, lt=64)

    def __post_init__(self) -> None:
        if self.size % 2:
            raise ArgumentError("size", "an even number", str(self.size))


@settings
class Outer:
    inner: Inner = Inner()
    maybe: Inner | None = None
    several: Several[Inner] | None = None
    shares: Pair[Share] = (0.0, 1.0)
    degrees: Range[Number] = (0.0, 1.0)
    names: Listed[str] = ()
    mode: Literal["a", "b"] = "a"
    flag: bool = False


def test_files_forms_are_taken() -> None:
    given: Any = {"inner": {"rate": "1e-5"}, "several": [{}, None], "shares": [0, 1]}
    read, nothing = Outer(**given), cast(Any, None)
    assert read.inner == Inner(1e-5) and read.several == (Inner(), Inner())
    assert (read.shares, type(read.shares[0])) == ((0.0, 1.0), float)
    assert Outer(inner=nothing) == Outer()
    assert pickle.loads(pickle.dumps(read)) == read and hash(replace(read, flag=True))


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"inner": {"rate": -1}}, "inner.rate: expected a number above 0, got -1"),
        ({"inner": {"rate": "-1"}}, "inner.rate: expected a number above 0, got '-1'"),
        ({"inner": {"rate": True}}, "inner.rate: expected a number above 0, got True"),
        ({"inner": {"rate": math.inf}}, "inner.rate: expected a number above 0, got inf"),
        ({"inner": {"rat": 1}}, "inner.rat: expected one of rate, size, got an unknown key; "
         "did you mean 'rate'?"),
        ({"inner": {1: 1}}, "inner.1: expected one of rate, size, got an unknown key"),
        ({"inner": 3}, "inner: expected a mapping, got 3"),
        ({"maybe": 3}, "maybe: expected a mapping or null, got 3"),
        ({"maybe": {"size": 9}}, "maybe.size: expected an even number, got 9"),
        ({"several": [{}, {"size": 8.0}]},
         "several[1].size: expected a whole number of at least 2 and below 64, got 8.0"),
        ({"several": []}, "several: expected a list of entries, each a mapping or null, got []"),
        ({"shares": [0.5]}, "shares: expected a list of 2 entries, each a number from 0 to 1, "
         "got [0.5]"),
        ({"degrees": [2, 1]}, "degrees: expected two numbers in order, got [2.0, 1.0]"),
        ({"names": "mug"}, "names: expected a list of entries, each a text, got 'mug'"),
        ({"mode": "c"}, "mode: expected one of a, b, got 'c'"),
        ({"flag": 1}, "flag: expected true or false, got 1"),
    ],
)  # fmt: skip
def test_one_line_names_what_does_not_fit(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        Outer(**given)
    assert str(caught.value) == line


def test_arguments_without_names_are_named() -> None:
    with pytest.raises(ArgumentError, match="^rate: expected a number above 0, got 0$"):
        Inner(0)
    with pytest.raises(ArgumentError, match="^size: expected an even number, got 3$"):
        replace(Inner(), size=3)
