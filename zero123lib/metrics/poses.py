"""How far cameras are from cameras."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from zero123lib.metrics.images import other_shape


def azimuth_error_deg(found_deg: Tensor, true_deg: Tensor) -> Tensor:
    """Compute the angle between two azimuths the short way round, degrees in [0, 180].

    Args:
        found_deg: ``[...]``, any number of turns.
        true_deg: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    if found_deg.shape != true_deg.shape:
        raise other_shape("found_deg", found_deg, list(true_deg.shape))
    return (torch.remainder(found_deg.double() - true_deg.double() + 180, 360) - 180).abs()


def rotation_error_deg(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compute the angle of the rotation from one orientation to another, degrees in [0, 180].

    Args:
        found: rotations ``[..., 3, 3]``.
        true: the same shape.

    Raises:
        ValueError: where the shapes differ.
    """
    if found.shape != true.shape:
        expected = f"found: expected shape {list(true.shape)}"
        raise ValueError(f"{expected}, got {list(found.shape)}")
    traces = np.einsum("...ij,...ij->...", found, true)
    return np.degrees(np.arccos(np.clip((traces - 1) / 2, -1, 1)))
