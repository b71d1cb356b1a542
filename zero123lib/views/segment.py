"""Which pixels are the object: a network's look, twice, and colours where it is not sure.

U2-Net-p looks at the whole image, then closer at what it found. Where it is sure, the colours of
object and background are learned, and say what the rest is more like, as in GrabCut (Rother et al.
2004). A guided filter (He, Sun and Tang 2013) draws the edge to the image's own; its coefficients
are computed at a bounded size and enlarged (He and Sun, "Fast guided filter", 2015).

Arrays are numpy, ``[H, W]`` or ``[H, W, channels]``, images sRGB in [0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate

from .framing import bounding_box
from .specks import connected_parts, longest_side
from .u2net import SIDE_PX, u2netp

# Longest side at which the network's second look is cut from, at which colours are compared, and at
# which the guided filter is solved.
_SEEN_SIDE_PX, _COLORS_SIDE_PX, _GUIDED_SIDE_PX = 1024, 256, 512
# Where nothing is so salient there is no object. The second look: what is at least so salient, and
# this share of its longest side around it.
_THERE, _FOUND, _MARGIN = 0.5, 0.1, 0.15
# Between these the network is not sure.
_OUTSIDE, _INSIDE = 0.02, 0.95
# How much colours may say against the network, in units of log odds, and of how many Gaussians.
_MOST_EVIDENCE, _COLORS = 4.0, 8
# Parts this near to the largest, in shares of its longest side, belong to it.
_REACH = 0.1


def foreground(rgb: np.ndarray) -> np.ndarray:
    """Compute the soft alpha of the object that stands out most.

    Args:
        rgb: float32 ``[H, W, 3]`` in [0, 1], sRGB.

    Returns:
        Alpha ``[H, W]`` in [0, 1]; all zero where nothing stands out.
    """
    small = _resized(rgb, *_bounded(rgb, _SEEN_SIDE_PX))
    salient = _looked_at_twice(small)
    if salient.max() < _THERE:
        return np.zeros(rgb.shape[:2], rgb.dtype)
    return _drawn_to_edges(_largest(_by_colors(salient, small)), rgb)


def _looked_at_twice(rgb: np.ndarray) -> np.ndarray:
    """Saliency ``[H, W]`` of the whole, and of what was found in it seen from nearer."""
    salient = _look(rgb)
    if salient.max() >= _THERE:
        box = _box(salient >= _FOUND)
        salient[box] = np.maximum(salient[box], _look(rgb[box]))
    return salient


@torch.no_grad()
def _look(rgb: np.ndarray) -> np.ndarray:
    """Saliency ``[H, W]`` as the network sees it at its own size."""
    seen = torch.from_numpy(_resized(rgb, SIDE_PX, SIDE_PX)).float().permute(2, 0, 1)
    # The authors scale images to a maximum of 1 (u2net_test.py, data_loader.py: ToTensorLab).
    salient = u2netp()(seen[None] / seen.max().clamp_min(1e-3))[0, 0]
    return _resized(salient.numpy(), *rgb.shape[:2])


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of a mask, with a margin around."""
    left, top, right, bottom = bounding_box(mask)
    margin = round(_MARGIN * max(right - left, bottom - top)) + 1
    rows, columns = (
        slice(max(0, first - margin), last + margin)
        for first, last in ((top, bottom), (left, right))
    )
    return rows, columns


def _by_colors(salient: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Saliency ``[H, W]``, where it is unsure by what the colours are more like."""
    from scipy.ndimage import gaussian_filter
    from skimage.color import rgb2lab

    height, width = _bounded(rgb, _COLORS_SIDE_PX)
    lab = gaussian_filter(rgb2lab(_resized(rgb, height, width)), (0.6, 0.6, 0.0))
    small = _resized(salient, height, width)
    inside, outside = small > _INSIDE, small < _OUTSIDE
    if min(inside.sum(), outside.sum()) < 50:
        return salient
    evidence = _likeness(lab, inside) - _likeness(lab, outside)
    evidence = np.clip(evidence, -_MOST_EVIDENCE, _MOST_EVIDENCE)
    odds = gaussian_filter(evidence, 1.0) + _logit(small)
    decided = _resized(1.0 / (1.0 + np.exp(-odds)), *salient.shape)
    return np.where((salient > _OUTSIDE) & (salient < _INSIDE), decided, salient)


def _logit(probability: np.ndarray) -> np.ndarray:
    bounded = np.clip(probability, 0.01, 0.99)
    return np.log(bounded / (1.0 - bounded))


def _likeness(lab: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Log-likelihood ``[H, W]`` under a mixture of Gaussians fitted to the colours at `where`.

    A uniform density over CIELAB is mixed in, for colours that were not seen.
    """
    colors = lab[where]
    colors = colors[:: 1 + len(colors) // 6000]
    labels = _k_means(colors, _COLORS)
    likelihoods = [np.full(lab.shape[:2], 1.5 * np.log(2 * np.pi) - np.log(100.0 * 200 * 200))]
    for label in np.unique(labels):
        group = colors[labels == label]
        if len(group) < 8:
            continue
        covariance = np.cov(group.T) + 2.0 * np.eye(3)
        off = lab - group.mean(axis=0)
        distance = np.einsum("...i,ij,...j->...", off, np.linalg.inv(covariance), off)
        size = np.log(len(group) / len(colors)) - 0.5 * np.linalg.slogdet(covariance)[1]
        likelihoods.append(size - 0.5 * distance)
    return np.logaddexp.reduce(likelihoods)


def _k_means(points: np.ndarray, count: int) -> np.ndarray:
    """Label points ``[P, D]``, Lloyd's iteration from equal slices along the main axis."""
    centered = points - points.mean(axis=0)
    axis = np.linalg.eigh(centered.T @ centered)[1][:, -1]
    rank = np.argsort(np.argsort(centered @ axis, kind="stable"), kind="stable")
    labels = rank * count // len(points)
    for _ in range(15):
        centers = np.array([points[labels == label].mean(axis=0) for label in np.unique(labels)])
        # |p - c|^2 without |p|^2, which all centers share
        labels = ((centers**2).sum(axis=1) - 2.0 * points @ centers.T).argmin(axis=1)
    return labels


def _largest(soft: np.ndarray) -> np.ndarray:
    """Return alpha ``[H, W]`` of its largest part and of what is near it, nothing elsewhere."""
    from scipy.ndimage import distance_transform_edt, find_objects

    height, width = _bounded(soft, _COLORS_SIDE_PX)
    parts = connected_parts(_resized(soft, height, width) >= 0.25)
    if parts.max() < 2:
        return soft
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    reach = _REACH * longest_side(find_objects(parts)[largest - 1])
    near = np.asarray(distance_transform_edt(parts != largest)) <= max(1.0, reach)
    dropped = ~np.isin(parts, np.unique(parts[near])) & (parts > 0)
    kept = (parts > 0) & ~dropped
    # With the faint pixels around it: what is dropped reaches half-way to what is kept.
    away, away_dropped = (np.asarray(distance_transform_edt(~one)) for one in (kept, dropped))
    nearer = away <= away_dropped
    return soft * _resized(nearer.astype(soft.dtype), *soft.shape)


def _drawn_to_edges(soft: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Return alpha ``[H, W]`` whose edges are the image's: guided filter, the colours its guide."""
    from scipy.ndimage import uniform_filter

    height, width = _bounded(rgb, _GUIDED_SIDE_PX)
    # In double precision: variances are differences of large numbers.
    guide, target = (_resized(one, height, width).astype(np.float64) for one in (rgb, soft))
    window = 2 * max(1, round(2 * max(height, width) / SIDE_PX)) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, window, axes=(0, 1))

    guide_mean, target_mean = mean(guide), mean(target)
    covariance = mean(guide * target[..., None]) - guide_mean * target_mean[..., None]
    variance = mean(guide[..., :, None] * guide[..., None, :])
    variance -= guide_mean[..., :, None] * guide_mean[..., None, :]
    slope = np.linalg.solve(variance + 1e-5 * np.eye(3), covariance[..., None])[..., 0]
    offset = target_mean - (slope * guide_mean).sum(axis=-1)
    slope, offset = (
        _resized(mean(one).astype(rgb.dtype), *rgb.shape[:2]) for one in (slope, offset)
    )
    drawn = np.einsum("hwc,hwc->hw", slope, rgb) + offset
    # More contrast: the network's transition is wider than an edge of an image.
    return np.clip((drawn - 0.5) * 1.5 + 0.5, 0.0, 1.0)


def _bounded(values: np.ndarray, side: int) -> tuple[int, int]:
    """Height and width of an image made no longer than a side."""
    height, width = values.shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(8, round(scale * height)), max(8, round(scale * width))


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``[H, W]`` or ``[H, W, C]``, bilinear and antialiased."""
    if values.shape[:2] == (height, width):
        return values
    planes = torch.from_numpy(np.ascontiguousarray(values)).reshape(*values.shape[:2], -1)
    resized = interpolate(
        planes.permute(2, 0, 1)[None], (height, width), mode="bilinear", antialias=True
    )[0]
    return resized.permute(1, 2, 0).numpy().reshape(height, width, *values.shape[2:])
