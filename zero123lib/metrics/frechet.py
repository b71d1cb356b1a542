"""The Fréchet distance between Gaussians that are fitted to two sets of feature vectors.

Of Inception's features it is FID (Heusel et al. 2017, equation 6); it knows nothing of networks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and scatter of feature vectors, which need not be in memory at once.

    Attributes:
        count: N, of vectors.
        mean: ``[D]``.
        root: F ``[K, D]``, K at most 2 D, where ``F^T F`` is the scatter: the sum of outer products
            of the vectors without their mean. Of few vectors it is they themselves.
    """

    count: int
    mean: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> Self:
        """Compute the moments of features ``[N, D]``, N at least 1, in double precision.

        Raises:
            ValueError: another shape, or numbers that are not finite.
        """
        features = np.asarray(features, np.float64)
        if features.ndim != 2 or not features.size or not np.isfinite(features).all():
            raise ValueError(f"features: expected finite [N, D], got {list(features.shape)}")
        mean = features.mean(0)
        return cls(len(features), mean, _shortened(features - mean))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets together (Chan et al. 1979, equation 2.1)."""
        count, step = self.count + other.count, other.mean - self.mean
        between = math.sqrt(self.count * other.count / count) * step
        mean = self.mean + step * other.count / count
        return Moments(count, mean, _shortened(np.vstack([self.root, other.root, between])))


def frechet_distance(a: Moments, b: Moments) -> float:
    """Compute the squared Fréchet distance (Dowson and Landau 1982, equation 4).

    ``|m - n|^2 + tr(A + B - 2 (A B)^(1/2))`` of means m, n and sample covariances A, B. The trace
    of the root is the sum of singular values of ``F G^T``, where ``A = F^T F`` and ``B = G^T G``;
    so it needs no root of a matrix that has none where fewer vectors than numbers in them leave
    the covariances singular.

    Raises:
        ValueError: one is of fewer than two vectors, or they differ in D.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"b: expected vectors of {a.mean.size} numbers, got {b.mean.size}")
    for name, one in (("a", a), ("b", b)):
        if one.count < 2:
            raise ValueError(f"{name}: expected at least 2 vectors, got {one.count}")
    left, right = (one.root / math.sqrt(one.count - 1) for one in (a, b))
    cross = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    apart = np.square(a.mean - b.mean).sum()
    return max(0.0, float(apart + np.square(left).sum() + np.square(right).sum() - 2 * cross))


def _shortened(root: np.ndarray) -> np.ndarray:
    """Return rows with the same ``F^T F``: no more than columns, once they are twice as many."""
    if len(root) <= 2 * root.shape[1]:
        return root
    shortened: Any = np.linalg.qr(root, mode="r")
    return shortened
