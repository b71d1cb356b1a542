"""How sure a mean over objects is, and a difference of two: bootstrap-t intervals.

Objects are drawn with replacement; each draw's mean is measured in its own standard errors (Efron
and Tibshirani 1993, chapter 12.5). Percentiles of the means alone, as is common, hold too little:
of ten objects a 95 % interval holds the truth in 90 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS = 2000
LEVEL = 0.95
LEAST = 5  # objects; of fewer the draws say nothing
# A draw that repeats one object has hardly a spread: it counts as this share of the sample's.
_LEAST_SPREAD = 0.3


@dataclass(frozen=True)
class Interval:
    """A mean over objects.

    Attributes:
        mean: of all objects.
        low, high: bounds of the 95 % interval; None for fewer than five objects.
        objects: how many.
    """

    mean: float
    low: float | None
    high: float | None
    objects: int


def mean_interval(values: Sequence[float], seed: int = 0, draws: int = DRAWS) -> Interval:
    """Return the mean of objects' numbers with its 95 % interval, the same for a seed.

    Args:
        values: one per object, at least one, finite.
        seed: of the draws.
        draws: how many.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError(f"values: expected finite numbers, got {list(values)[:5]}")
    count, mean = len(sample), float(sample.mean())
    if count < LEAST:
        return Interval(mean, None, None, count)
    error = sample.std(ddof=1) / np.sqrt(count)
    drawn = sample[np.random.default_rng(seed).integers(count, size=(draws, count))]
    if error == 0:
        return Interval(mean, mean, mean, count)
    errors = np.maximum(drawn.std(axis=1, ddof=1) / np.sqrt(count), _LEAST_SPREAD * error)
    steps = (drawn.mean(axis=1) - mean) / errors
    low, high = np.quantile(steps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean, float(mean - high * error), float(mean - low * error), count)
