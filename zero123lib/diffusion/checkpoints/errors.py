"""What can be wrong with a checkpoint. All are ValueErrors: the argument named a bad file."""

from __future__ import annotations

from zero123lib._errors import ArgumentError


class CheckpointError(ArgumentError):
    """A checkpoint cannot be used; the message says which, what was expected and what came."""


class UnsafeCheckpointError(CheckpointError):
    """Reading it would have run code, or asked for more memory than the file can stand for."""


class DamagedCheckpointError(CheckpointError):
    """It is truncated, or no weights file at all."""


class UnsupportedCheckpointError(CheckpointError):
    """It is a whole model, of another architecture."""


class MismatchedCheckpointError(CheckpointError):
    """Its tensors do not make up the model: missing, of other shapes, or not finite."""
