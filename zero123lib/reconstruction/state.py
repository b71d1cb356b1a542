"""The state of a run on the disk: one file that is whole or not at all, and what it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from zero123lib._errors import ArgumentError
from zero123lib._files import whole_file
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.reconstruction.pictures import InputView
from zero123lib.reconstruction.recipes import Recipe

CHECKPOINT = "checkpoint.pt"
# Counts up when what is in the file changes.
_FORMAT = 1


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
    """

    belongs_to: Mapping[str, str]
    done: dict[str, Any] = field(default_factory=dict)
    stage: str = ""
    at_hand: Any = None
    seconds: dict[str, float] = field(default_factory=dict)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)


def belongs_to(recipe: Recipe, view: InputView, pipe: Zero123Pipeline, seed: int) -> dict[str, str]:
    """What may not differ between the parts of one run."""
    picture = hashlib.sha256(view.rgba.numpy().tobytes())
    picture.update(view.prepared.tensor.numpy().tobytes())
    return {
        "recipe": recipe.text,
        "model": pipe.model_name,
        "seed": str(seed),
        "input elevation": f"{view.shot.pose.elevation_deg:g} degrees",
        "picture": picture.hexdigest()[:16],
    }


def write_state(out: Path, state: State) -> None:
    """Write the state; the one before it stays until the new one is whole."""
    with whole_file(out / CHECKPOINT) as scratch:
        torch.save({"format": _FORMAT, **vars(state)}, scratch)


def read_state(out: Path, expected: Mapping[str, str]) -> State | None:
    """The state in a folder, None where there is none.

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
    for name, value in expected.items():
        before = state.belongs_to.get(name)
        if before != value:
            told = "another" if name in ("recipe", "picture") else f"{before!r}, not {value!r}"
            raise ArgumentError("resume", f"the {name} that {str(file)!r} was begun with", told)
    return state
