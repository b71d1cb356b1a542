"""Words that several rooms need: how many of what, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def count(number: int, noun: str) -> str:
    """Count things: "1 view", "2 views", "3 vertices"."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return what several are called: "views", "meshes"."""
    plurals = {"vertex": "vertices", "process": "processes", "mesh": "meshes"}
    return plurals.get(noun, f"{noun}s")


def nearest(word: str, names: Iterable[str]) -> str:
    """Ask ``; did you mean 'NAME'?`` where there is a name that is almost the word."""
    near = get_close_matches(word, list(names), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
