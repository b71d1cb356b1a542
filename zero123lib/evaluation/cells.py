"""What is known already: a small file for each result, named by all that the result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zero123lib._files import write_bytes


def cell(folder: Path, key: Sequence[Any]) -> Path:
    """Name the file of a result by a digest of what it depends on, as JSON."""
    return folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"


def read_cell(file: Path) -> Any:
    """Read a result; None where there is none, or where somebody else's file is no JSON."""
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_cell(file: Path, content: Any) -> None:
    """Write a result whole or not at all."""
    write_bytes(file, json.dumps(content).encode())
