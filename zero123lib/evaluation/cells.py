"""What is known already: a small file for each result, named by all that the result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from zero123lib._files import write_bytes

Parsed = TypeVar("Parsed")


def cell(folder: Path, key: Sequence[Any]) -> Path:
    """Name the file of a result by a digest of what it depends on, as JSON."""
    return folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"


def read_cell(file: Path, parse: Callable[[Any], Parsed]) -> Parsed | None:
    """Read a result; None where there is none, or where somebody else's file is no such result.

    Args:
        parse: makes the result of its JSON; ValueError, KeyError and TypeError say that it is none.
    """
    try:
        return parse(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # what somebody else wrote there is asked again and replaced


def write_cell(file: Path, content: Any) -> None:
    """Write a result whole or not at all."""
    write_bytes(file, json.dumps(content).encode())
