"""An error knows its argument's name, and can be told another one."""

from __future__ import annotations

import pickle

import pytest

from zero123lib._errors import ArgumentError


def test_reads_as_one_line_and_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^size: expected a whole number above 0, got -3$"):
        raise ArgumentError("size", "a whole number above 0", "-3")


def test_another_name_leaves_the_rest() -> None:
    # What came may hold the very words that a reader of the text would part it by.
    error = ArgumentError("out", "a folder", "'a: expected b, got c'")
    assert str(error.renamed("--out")) == "--out: expected a folder, got 'a: expected b, got c'"
    assert str(error.within("files")) == f"files.{error}"
    assert str(error.within("")) == str(error)


def test_survives_the_way_from_another_process() -> None:
    error = ArgumentError("out", "a folder", "None")
    again = pickle.loads(pickle.dumps(error))
    assert (again.name, again.expected, again.got) == ("out", "a folder", "None")
    assert str(again) == str(error)
