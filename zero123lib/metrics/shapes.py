"""How far shapes are from shapes: solids on a grid, points drawn on surfaces."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from zero123lib.metrics.images import other_shape


def volume_iou(prediction: Tensor, target: Tensor) -> Tensor:
    """Compute the intersection over union of solids on one grid, in [0, 1]; 1 if both are empty.

    Args:
        prediction: ``[..., X, Y, Z]`` boolean, True inside.
        target: the same shape.

    Raises:
        ValueError: where the shapes differ or a tensor is not boolean.
    """
    for name, value in (("prediction", prediction), ("target", target)):
        if value.dtype != torch.bool or value.ndim < 3:
            raise ValueError(
                f"{name}: expected a boolean grid [..., X, Y, Z], got {value.dtype} "
                f"{list(value.shape)}"
            )
    if prediction.shape != target.shape:
        raise other_shape("prediction", prediction, list(target.shape))
    both = (prediction & target).sum((-3, -2, -1)).double()
    either = (prediction | target).sum((-3, -2, -1)).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)


def chamfer_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return half the sum of the two mean distances to the nearest point of the other set.

    Distances are not squared; the unit is that of the points.

    Args:
        a, b: points ``[N, 3]`` and ``[M, 3]``.

    Raises:
        ValueError: a set has no point, or one that is not finite.
    """
    there, _, back, _ = _nearest(a, b)
    return float(np.mean(there) + np.mean(back)) / 2


def f_score(a: np.ndarray, b: np.ndarray, threshold: float) -> float:
    """Return the harmonic mean of precision and recall, in [0, 1] (Knapitsch et al. 2017).

    Args:
        a: found points ``[N, 3]``; precision is the share within the threshold of a true one.
        b: true points ``[M, 3]``; recall is the share within the threshold of a found one.
        threshold: the points' unit.

    Raises:
        ValueError: a set has no point, or one that is not finite.
    """
    there, _, back, _ = _nearest(a, b)
    precision, recall = float(np.mean(there < threshold)), float(np.mean(back < threshold))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def normal_consistency(
    a: np.ndarray, a_normals: np.ndarray, b: np.ndarray, b_normals: np.ndarray
) -> float:
    """Return the mean absolute cosine of normals of nearest points, both ways, in [0, 1].

    Mescheder et al. 2019, Occupancy Networks, supplementary section 2: faces that look inwards
    count as those that look outwards.

    Args:
        a, b: points ``[N, 3]`` and ``[M, 3]``.
        a_normals, b_normals: of unit length, one per point.

    Raises:
        ValueError: a set has no point, or one that is not finite.
    """
    _, to_b, _, to_a = _nearest(a, b)
    there = np.abs((a_normals * b_normals[to_b]).sum(-1)).mean()
    back = np.abs((b_normals * a_normals[to_a]).sum(-1)).mean()
    return float(there + back) / 2


def surface_points(
    vertices: np.ndarray, faces: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points evenly on triangles.

    Args:
        vertices: ``[V, 3]``.
        faces: ``[F, 3]``, some of them with an area.
        count: how many, N.
        seed: of the draw.

    Returns:
        The points ``[N, 3]``, and the unit normals there ``[N, 3]``.
    """
    random = np.random.default_rng(seed)
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    area = np.linalg.norm(across, axis=-1)
    face = random.choice(len(faces), count, p=area / area.sum())
    u, v = random.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    return points, across[face] / area[face, None]


def _nearest(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return distances from a to b and which of b; from b to a and which of a."""
    for name, points in (("a", a), ("b", b)):
        if not len(points) or not np.isfinite(points).all():
            got = "none" if not len(points) else "NaN or infinity"
            raise ValueError(f"{name}: expected finite points, got {got}")
    there, back = (KDTree(to).query(of) for to, of in ((b, a), (a, b)))
    return tuple(np.asarray(one) for one in (*there, *back))  # type: ignore[return-value]
