"""A model's views of a photo in a file, so that an interrupted measurement goes on with the same.

A model need not make the same views twice to the bit: on a GPU sums are added in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from zero123lib._files import write_bytes
from zero123lib.evaluation.posed_folders import Subject
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.views.cameras import FOV_DEG


def kept_subject(name: str, file: Path | None, make: Callable[[], Subject]) -> Subject:
    """Read an object's views of a file; where it holds none, make them and write it.

    Args:
        name: of the object.
        file: named by all that the views depend on; None keeps nothing.
        make: makes them, as :func:`zero123lib.evaluation.posed_folders.made_subject` does: without
            truth, in the model's field of view.
    """
    known = None if file is None else _read(name, file)
    if known is not None:
        return known
    made = make()
    if file is not None:
        views = made.views
        tensors = {
            "images": views.images.contiguous(),
            "cameras": views.cameras_to_world.contiguous(),
            "weights": views.weights.contiguous(),
            "input": made.input.contiguous(),
        }
        write_bytes(file, safetensors.torch.save(tensors))
    return made


def _read(name: str, file: Path) -> Subject | None:
    """Read views; None where there are none, or where somebody else's file is no such thing."""
    try:
        held = safetensors.torch.load(file.read_bytes())
        views = PosedViews(held["images"], held["cameras"], FOV_DEG, held["weights"])
        shown = held["input"]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
    return Subject(name, [f"{k:03d}" for k in range(len(views.images))], views, shown)
