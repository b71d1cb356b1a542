"""Which pixels are the object: a network's look, twice, and colours where it is not sure.

U2-Net-p looks at the whole image, then closer at what it found. Where it is sure, the colours of
object and background are learned, and say what the rest is more like, as in GrabCut (Rother et al.
2004). A guided filter (He, Sun and Tang 2013) draws the edge to the image's own; its coefficients
are computed at a bounded size and enlarged (He and Sun, "Fast guided filter", 2015).

Inside, arrays are numpy, ``[H, W]`` or ``[H, W, channels]``, images sRGB in [0, 1], none larger
than the bounds below: only the last step is at the image's own size, a strip of rows at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from .framing import bounding_box
from .specks import connected_parts, longest_side
from .u2net import SIDE_PX, u2netp

# Longest side at which the network's second look is cut from, at which colours are compared, and at
# which the guided filter is solved.
_SEEN_SIDE_PX, _COLORS_SIDE_PX, _GUIDED_SIDE_PX = 1024, 256, 512
# Longest side up to which no pixel is rounded to 8 bits again; rows of an image times its width, in
# pixels, that are worked on at a time.
_FLOAT_SIDE_PX, _STRIP_PX = 2048, 2**20
# Where nothing is so salient there is no object. The second look: what is at least so salient, and
# this share of its longest side around it.
_THERE, _FOUND, _MARGIN = 0.5, 0.1, 0.15
# The mean saliency of what is found, weighted by itself, from which on it is an object: of brick,
# grass and noise at most 0.70, of photographs of things 0.94 and more.
_SURE = 0.8
# Between these the network is not sure.
_OUTSIDE, _INSIDE = 0.02, 0.95
# How much colours may say against the network, in units of log odds, and of how many Gaussians.
_MOST_EVIDENCE, _COLORS = 4.0, 8
# What connects a part. Parts this near to the largest, in shares of its longest side, belong to it.
_FAINT, _REACH = 0.25, 0.1
# What is solid; or what stands out by so much within so many pixels of `_COLORS_SIDE_PX`, as thin
# parts do. So near to both the rest is an edge's softness, and beyond it haze.
_SOLID, _THIN, _THIN_PX, _SOFT_PX = 0.65, 0.25, 5, 2.0


def foreground(image: Image.Image) -> Image.Image:
    """Compute the soft alpha of the object that stands out most.

    Beside image and alpha, memory is bounded, whatever the size.

    Args:
        image: RGB.

    Returns:
        Mode L, the image's size; all zero where nothing stands out, as in a photograph of a lawn
        or a brick wall.
    """
    rgb = _values(_at_most(image, _FLOAT_SIDE_PX))
    small = _resized(rgb, *_bounded(rgb.shape, _SEEN_SIDE_PX))
    salient = _looked_at_twice(small)
    if salient.max() < _THERE or _sureness(salient) < _SURE:
        return Image.new("L", image.size)
    return _drawn_to_edges(_largest(_by_colors(salient, small)), rgb, image)


def _looked_at_twice(rgb: np.ndarray) -> np.ndarray:
    """Saliency ``[H, W]`` of the whole, and of what was found in it seen from nearer."""
    salient = _look(rgb)
    if salient.max() >= _THERE:
        box = _box(salient >= _FOUND)
        salient[box] = np.maximum(salient[box], _look(rgb[box]))
    return salient


def _sureness(salient: np.ndarray) -> float:
    """Mean saliency of what is found, weighted by itself, in [0, 1]."""
    found = salient[salient >= _FOUND]
    return float(np.square(found).sum() / found.sum())


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

    height, width = _bounded(rgb.shape, _COLORS_SIDE_PX)
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
    """Return alpha ``[H, W]`` of its largest part and what is near it, without haze around."""
    from scipy.ndimage import distance_transform_edt, find_objects, white_tophat

    small = _resized(soft, *_bounded(soft.shape, _COLORS_SIDE_PX))
    solid = (small >= _SOLID) | (np.asarray(white_tophat(small, _THIN_PX)) >= _THIN)
    parts = connected_parts(small >= _FAINT)
    areas = np.bincount(parts[solid], minlength=2)
    if not areas[1:].any():  # too small to be seen at this size
        return soft
    largest = areas[1:].argmax() + 1
    reach = max(1.0, _REACH * longest_side(find_objects(parts)[largest - 1]))
    near = np.asarray(distance_transform_edt(parts != largest)) <= reach
    kept = np.unique(parts[near & (parts > 0)])
    away = np.asarray(distance_transform_edt(~(solid & np.isin(parts, kept))))
    there = np.clip(_SOFT_PX + 1.0 - away, 0.0, 1.0).astype(soft.dtype)
    return soft * _resized(there, *soft.shape)


def _drawn_to_edges(soft: np.ndarray, guide: np.ndarray, image: Image.Image) -> Image.Image:
    """Return alpha whose edges are the image's: guided filter, the colours its guide.

    Args:
        guide: the image, maybe smaller.
    """
    height, width = _bounded(guide.shape, _GUIDED_SIDE_PX)
    lines = _guided(*(_resized(one, height, width) for one in (guide, soft)))
    alpha = Image.new("L", image.size)
    rows = max(1, _STRIP_PX // image.width)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        rgb = _values(image.crop((0, top, image.width, bottom)))
        there = _strip(lines, top, bottom, image.height)
        there = _resized(there, bottom - top, image.width)
        drawn = np.einsum("hwc,hwc->hw", there[..., :3], rgb) + there[..., 3]
        # More contrast: the network's transition is wider than an edge of an image.
        drawn = np.clip((drawn - 0.5) * 1.5 + 0.5, 0.0, 1.0)
        alpha.paste(Image.fromarray(np.rint(drawn * 255.0).astype(np.uint8)), (0, top))
    return alpha


def _guided(guide: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return slopes and offset ``[H, W, 4]`` of alpha as a line over colours (guided filter)."""
    from scipy.ndimage import uniform_filter

    window = 2 * max(1, round(2 * max(target.shape) / SIDE_PX)) + 1
    # In double precision: variances are differences of large numbers.
    guide, target = guide.astype(np.float64), target.astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, window, axes=(0, 1))

    guide_mean, target_mean = mean(guide), mean(target)
    covariance = mean(guide * target[..., None]) - guide_mean * target_mean[..., None]
    variance = mean(guide[..., :, None] * guide[..., None, :])
    variance -= guide_mean[..., :, None] * guide_mean[..., None, :]
    slope = np.linalg.solve(variance + 1e-5 * np.eye(3), covariance[..., None])[..., 0]
    offset = target_mean - (slope * guide_mean).sum(axis=-1)
    return mean(np.concatenate([slope, offset[..., None]], -1)).astype(np.float32)


def _strip(values: np.ndarray, top: int, bottom: int, height: int) -> np.ndarray:
    """Return rows ``[bottom - top, w, C]`` of ``[h, w, C]`` made `height` tall, bilinear."""
    last = len(values) - 1
    at = np.clip((np.arange(top, bottom) + 0.5) * len(values) / height - 0.5, 0, last)
    above = at.astype(int)
    share = (at - above).astype(values.dtype)[:, None, None]
    return values[above] * (1 - share) + values[np.minimum(above + 1, last)] * share


def _at_most(image: Image.Image, side: int) -> Image.Image:
    height, width = _bounded((image.height, image.width), side)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _values(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.float32) / 255.0


def _bounded(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Height and width of ``[H, W, ...]`` made no longer than a side."""
    height, width = shape[:2]
    scale = min(1.0, side / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``[H, W]`` or ``[H, W, C]``, bilinear and antialiased."""
    if values.shape[:2] == (height, width):
        return values
    planes = torch.from_numpy(np.ascontiguousarray(values)).reshape(*values.shape[:2], -1)
    resized = interpolate(
        planes.permute(2, 0, 1)[None], (height, width), mode="bilinear", antialias=True
    )[0]
    return resized.permute(1, 2, 0).numpy().reshape(height, width, *values.shape[2:])
