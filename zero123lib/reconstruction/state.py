"""The state of a run on the disk: one file that is whole or not at all, and what it belongs to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zero123lib._errors import ArgumentError
from zero123lib._files import whole_file
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.reconstruction.subject import Subject

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.json"
# Counts up when what is in the file changes.
_FORMAT = 1
# What says nothing to people.
_LONG = ("recipe", "image", "views")


@dataclass
class State:
    """Where a run is.

    Attributes:
        belongs_to: name -> value of what may not differ between the parts of one run.
        done: finished stages' results, stage by stage, as their ``state_dict()``.
        stage: the one at hand.
        at_hand: its ``state_dict()``; None before its first step.
        seconds: spent so far, stage by stage.
        losses: of the latest step, stage by stage.
        device: the kind that it runs on; "" in a checkpoint that does not say.
    """

    belongs_to: Mapping[str, str]
    done: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    at_hand: Any = None
    seconds: dict[str, float] = field(default_factory=dict)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    device: str = ""


def belongs_to(recipe: Recipe, subject: Subject, seed: int) -> dict[str, str]:
    """Name what may not differ between the parts of one run."""
    return {"recipe": recipe.text, "seed": str(seed), **subject.belongs_to()}


def write_state(out: Path, state: State) -> None:
    """Write the state; the one before it stays until the new one is whole."""
    with whole_file(out / CHECKPOINT) as scratch:
        torch.save({"format": _FORMAT, **vars(state)}, scratch)


def read_state(out: Path, expected: Mapping[str, str]) -> State | None:
    """Return the state in a folder, None where there is none.

    Raises:
        ValueError: it is of another run, or cannot be read.
    """
    file = out / CHECKPOINT
    if not file.exists():
        return None
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
        version = content.pop("format")
        state = State(**content) if version == _FORMAT else None
    except Exception as error:  # whatever torch makes of a file that is not one of its own
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError(
            "resume", "a checkpoint of a reconstruction", f"{str(file)!r}: {reason}"
        ) from error
    if state is None:
        raise ArgumentError(
            "resume", f"a checkpoint of format {_FORMAT}", f"{version!r} in {str(file)!r}"
        )
    _check_same(state.belongs_to, expected, file)
    return state


def finished_files(out: Path, expected: Mapping[str, str]) -> dict[str, Path] | None:
    """Find the files of a run that has finished.

    Returns:
        By name; None where a run has not finished in the folder, or a file of it is missing.

    Raises:
        ValueError: another run has finished there, and none has begun since.
    """
    listing = out / METRICS
    try:
        content = json.loads(listing.read_text())
        ended, before, names = (content[name] for name in ("ended", "belongs_to", "files"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    files = {name: out / name for name in names}
    if ended != "finished" or not all(file.is_file() for file in files.values()):
        return None
    if before != expected and (out / CHECKPOINT).exists():
        return None
    _check_same(before, expected, listing)
    return files


def _check_same(before: Mapping[str, str], expected: Mapping[str, str], file: Path) -> None:
    """Raise ArgumentError where a file is of another run."""
    for name, value in expected.items():
        had = before.get(name)
        if had != value:
            told = "another" if name in _LONG else f"{had!r}, not {value!r}"
            raise ArgumentError("resume", f"the {name} that {str(file)!r} was begun with", told)
