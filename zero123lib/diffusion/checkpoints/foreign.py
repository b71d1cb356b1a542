"""Checkpoints of other models, which look like Zero123's or are mistaken for them: refused by name.

Only names and shapes are looked at, so that a file is told apart before its weights are read.
"""

from __future__ import annotations

from pathlib import Path

from zero123lib.diffusion.checkpoints.errors import UnsupportedCheckpointError
from zero123lib.diffusion.checkpoints.families import (
    FAMILIES,
    PROJECTION,
    UNET,
    VISUAL,
    Family,
    Index,
    Tensors,
    begins,
    component,
)
from zero123lib.diffusion.checkpoints.parts import PARTS, PROJECTIONS

# What every original file of the family has (cvlab-columbia/zero123, zero123/ldm/models/diffusion/
# ddpm.py, and zero123/ldm/modules/encoders/modules.py for CLIP).
EXPECTED = (UNET, "first_stage_model.", VISUAL, PROJECTION)

# The components of a diffusers folder, but for the one that every port has its own name for.
_COMPONENTS = PARTS[:-1]


def refuse_foreign_tensors(tensors: Tensors, source: Path) -> None:
    """Raise unless the tensors are those of an original Zero123 file, whatever their sizes.

    Args:
        tensors: by the names of their file.
        source: the file, for the message.

    Raises:
        UnsupportedCheckpointError: they are another model's, named if it is known, or lack parts.
    """
    for family in FAMILIES:
        if family.file is not None and family.file(tensors):
            raise _foreign(family, source)
    missing = [prefix + "*" for prefix in EXPECTED if not begins(tensors, prefix)]
    if missing:
        raise UnsupportedCheckpointError(
            "source",
            f"a Zero123 file with {', '.join(p + '*' for p in EXPECTED)}",
            f"{str(source)!r}, which lacks {', '.join(missing)} and holds {_sample(tensors)}",
        )


def refuse_foreign_folder(model_index: Index, source: Path) -> None:
    """Raise unless the index is that of a Zero123 folder, of whichever port.

    Args:
        model_index: what ``model_index.json`` holds.
        source: the folder, for the message.

    Raises:
        UnsupportedCheckpointError: it is another model's, named if it is known, or lacks parts.
    """
    for family in FAMILIES:
        if family.folder is not None and family.folder(model_index):
            raise _foreign(family, source)
    missing = [name for name in _COMPONENTS if not component(model_index, name)]
    if not any(component(model_index, name) for name in PROJECTIONS):
        missing.append(" or ".join(PROJECTIONS))
    if missing:
        raise UnsupportedCheckpointError(
            "source",
            f"a Zero123 folder, with {', '.join(_COMPONENTS)} and {' or '.join(PROJECTIONS)}",
            f"{str(source)!r} of the pipeline {model_index.get('_class_name')!r}, "
            f"which lacks {', '.join(missing)}",
        )


def _foreign(family: Family, source: Path) -> UnsupportedCheckpointError:
    return UnsupportedCheckpointError(
        "source",
        "a Zero123 checkpoint",
        f"{str(source)!r}, which is {family.name}; {family.advice}",
    )


def _sample(tensors: Tensors) -> str:
    names = sorted({".".join(name.split(".")[:2]) for name in tensors})
    return ", ".join(map(repr, names[:4])) or "nothing"
