"""Foreground without a network: what the colours along the image's edge do not explain.

A background is modelled as colours in CIELAB that vary smoothly over the image (plain walls,
gradients, vignettes), in several pieces when one does not suffice (a wall and a floor). Pixels
that it explains badly are foreground; their colours, and the background's anew, then label all
pixels, and a random walk on the pixel grid (Grady, "Multilabel random walker image segmentation
using prior models", CVPR 2005, eq. 9) turns labels into soft regions that end at edges. Two more
rounds of this, as in GrabCut, settle it.

Arrays are numpy, [H, W] or [H, W, channels]. Colours are L, a, b, where about 2 is a just
noticeable difference; `where` arguments are boolean masks [H, W].
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from .specks import longest_side

# Longest side at which regions are found; their edges are refined at full size.
WORKING_SIDE_PX = 192

_ROUNDS = 2
_BORDER_SHARE = 0.04
_LEAST_SIGMA = 1.5
# A background pixel this much less likely than the border's median is foreground at first sight.
_FIRST_SIGHT = 8.0
_FOREGROUND_COLOURS = 5
_BACKGROUND_PIECES = 4
# How far from its fit a colour may be and count as explained, and what share must be for one
# smooth surface to do without pieces.
_EXPLAINED_LAB, _EXPLAINED_SHARE = 6.0, 0.9
# A part of the object has at least this share of the largest part's area, or of its longest side:
# legs and antennas that come loose have no area to speak of.
_LEAST_PART, _LEAST_SIDE = 0.01, 0.1
# Least area of a hole, relative to the foreground.
_LEAST_HOLE = 0.01


def foreground(rgb: np.ndarray) -> np.ndarray:
    """Return the soft alpha of the object before a background that is plain, or varies smoothly.

    Args:
        rgb: [H, W, 3] in [0, 1], sRGB.

    Returns:
        Alpha [H, W] in [0, 1]; all zero when nothing stands out.
    """
    lab = _working_lab(rgb)
    border = _border(*lab.shape[:2])
    background = _background(lab, border, border)
    region = _walk(lab, np.median(background[border]) - _FIRST_SIGHT - background)
    for _ in range(_ROUNDS):
        inside, outside = _surely(_solid(region))
        if min(inside.sum(), outside.sum()) < 50:
            break
        ratio = _foreground(lab, inside) - _background(lab, outside, border)
        region = _walk(lab, ratio)
    return _at_full_size(region, _solid(region), rgb)


def _working_lab(rgb: np.ndarray) -> np.ndarray:
    """L, a, b at the working size, with noise removed as far as there is any."""
    from scipy.ndimage import convolve, gaussian_filter
    from skimage.color import rgb2lab

    lab = rgb2lab(_resized(rgb, *_working_shape(*rgb.shape[:2])))
    # The second difference in both directions sees neither gradients nor straight edges
    # (Immerkaer, "Fast noise variance estimation", 1996).
    kernel = np.outer([1, -2, 1], [1, -2, 1])[..., None] / 6.0
    residual = np.abs(convolve(lab, kernel))[_border(*lab.shape[:2])]
    noise = 1.48 * np.median(residual, axis=0).max()
    lab = gaussian_filter(lab, (0.6, 0.6, 0.0))
    if noise < 0.7:
        return lab
    from skimage.restoration import denoise_tv_chambolle  # slow to load, seldom needed

    return denoise_tv_chambolle(lab, weight=2.0 * noise, channel_axis=-1, max_num_iter=60)


def _working_shape(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    return max(8, round(scale * height)), max(8, round(scale * width))


def _resized(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Antialiased bilinear resize of [H, W] or [H, W, C]."""
    if values.shape[:2] == (height, width):
        return values
    planes = torch.from_numpy(values.reshape(*values.shape[:2], -1)).permute(2, 0, 1)
    resized = interpolate(planes[None], (height, width), mode="bilinear", antialias=True)[0]
    return resized.permute(1, 2, 0).numpy().reshape(height, width, *values.shape[2:])


def _border(height: int, width: int) -> np.ndarray:
    border = np.ones((height, width), bool)
    thick = max(2, round(_BORDER_SHARE * min(height, width)))
    border[thick:-thick, thick:-thick] = False
    return border


def _background(lab: np.ndarray, where: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Log-likelihood [H, W] of each colour under a background fitted to `where`."""
    degree = 2 if where is border else 3
    smooth, explained = _surface(lab, where, degree)
    if explained >= _EXPLAINED_SHARE:
        return smooth
    groups = np.full(where.shape, -1)
    groups[where] = _k_means(lab[where], _BACKGROUND_PIECES)
    pieces = [groups == label for label in range(_BACKGROUND_PIECES)]
    # Floors and skies reach opposite sides; an object that leaves the image seldom does.
    fits = [_surface(lab, piece, 1)[0] for piece in pieces if _reaches_across(piece)]
    return np.max([smooth, *fits], axis=0)


def _surface(lab: np.ndarray, where: np.ndarray, degree: int) -> tuple[np.ndarray, float]:
    """A polynomial of position per channel, robustly fitted to the colours at `where`.

    Returns:
        Gaussian log-likelihood [H, W] of all colours (without constants), and the share of
        `where` that it explains.
    """
    height, width, _ = lab.shape
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    terms = np.stack([x**i * y**j for i, j in powers], axis=-1)
    step = 1 + int(where.sum()) // 5000
    seen, colours = terms[where][::step], lab[where][::step]
    weight = np.ones(len(seen))
    for _ in range(10):  # iteratively reweighted least squares; far colours lose their say
        weighted = (seen * weight[:, None]).T
        fit = np.linalg.lstsq(weighted @ seen, weighted @ colours, rcond=None)[0]
        off = np.linalg.norm(colours - seen @ fit, axis=-1)
        scale = max(_LEAST_SIGMA, 1.48 * float(np.median(off)))
        weight = (1.0 + (off / (2.0 * scale)) ** 2) ** -2
    sigma = 1.48 * np.median(np.abs(colours - seen @ fit), axis=0)
    sigma = np.maximum(_LEAST_SIGMA, sigma)
    residual = lab - terms @ fit
    likelihood = -0.5 * (residual**2 / sigma**2).sum(axis=-1) - np.log(sigma).sum()
    return likelihood, float(np.mean(off < _EXPLAINED_LAB))


def _reaches_across(piece: np.ndarray) -> bool:
    """Whether a mask has its part in the left and right, or the top and bottom, edge strips."""
    thick = max(2, round(_BORDER_SHARE * min(piece.shape)))
    strips = piece[:, :thick], piece[:, -thick:], piece[:thick], piece[-thick:]
    left, right, top, bottom = (float(np.mean(strip)) for strip in strips)
    return max(min(left, right), min(top, bottom)) > 0.08


def _foreground(lab: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Log-likelihood [H, W] under a mixture of Gaussians fitted to the colours at `where`.

    A uniform density over CIELAB is mixed in, for colours that were not seen.
    """
    colours = lab[where]
    labels = _k_means(colours, _FOREGROUND_COLOURS)
    likelihoods = [np.full(lab.shape[:2], 1.5 * np.log(2 * np.pi) - np.log(100.0 * 200 * 200))]
    for label in np.unique(labels):
        group = colours[labels == label]
        if len(group) < 8:
            continue
        covariance = np.cov(group.T) + 2.0 * np.eye(3)
        off = lab - group.mean(axis=0)
        distance = np.einsum("...i,ij,...j->...", off, np.linalg.inv(covariance), off)
        size = np.log(len(group) / len(colours)) - 0.5 * np.linalg.slogdet(covariance)[1]
        likelihoods.append(size - 0.5 * distance)
    return np.logaddexp.reduce(likelihoods)


def _k_means(points: np.ndarray, count: int) -> np.ndarray:
    """Labels [P] of points [P, D], Lloyd's iteration from equal slices along the main axis."""
    centred = points - points.mean(axis=0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    rank = np.argsort(np.argsort(centred @ axis, kind="stable"), kind="stable")
    labels = rank * count // len(points)
    for _ in range(15):
        centres = np.array([points[labels == label].mean(axis=0) for label in np.unique(labels)])
        # |p - c|^2 without |p|^2, which all centres share
        labels = ((centres**2).sum(axis=1) - 2.0 * points @ centres.T).argmin(axis=1)
    return labels


def _walk(lab: np.ndarray, log_ratio: np.ndarray) -> np.ndarray:
    """Probability [H, W] of foreground: random walk with priors (Grady 2005, eq. 9).

    Args:
        log_ratio: log-likelihood of foreground minus background, per pixel.
    """
    from scipy.sparse import coo_matrix, diags

    height, width, _ = lab.shape
    index = np.arange(height * width).reshape(height, width)
    ends_a, ends_b, weights = [], [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        b = np.s_[down:, max(0, right) : width + min(0, right)]
        difference = ((lab[a] - lab[b]) ** 2).sum(axis=-1)
        weights.append((np.exp(-0.02 * difference) + 1e-4).ravel() / np.hypot(down, right))
        ends_a.append(index[a].ravel())
        ends_b.append(index[b].ravel())
    i, j, w = map(np.concatenate, (ends_a, ends_b, weights))
    graph = coo_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i]))).tocsr()
    prior = 1.0 / (1.0 + np.exp(-np.clip(log_ratio, -10.0, 10.0))).ravel()
    pull = 0.02  # of the priors, relative to that of an equal neighbour
    diagonal = np.asarray(graph.sum(axis=1)).ravel() + pull
    system = (diags(diagonal) - graph).tocsr()
    return _solved(system, pull * prior, diagonal, prior).reshape(height, width)


def _solved(system: Any, right: np.ndarray, diagonal: np.ndarray, start: np.ndarray) -> np.ndarray:
    """x of `system @ x = right` to 0.1 %: conjugate gradients with Jacobi preconditioning.

    Inner products are sums, not BLAS calls: on vectors this short the threads of a BLAS cost
    more than they bring, and on busy cores ten times as much.
    """
    solution, residual = start.copy(), right - system @ start
    direction, slope = np.zeros_like(start), 1.0
    goal = 1e-6 * (right * right).sum()
    for _ in range(300):
        if (residual * residual).sum() <= goal:
            break
        scaled = residual / diagonal
        slope, before = (residual * scaled).sum(), slope
        direction = scaled + slope / before * direction
        image = system @ direction
        step = slope / (direction * image).sum()
        solution += step * direction
        residual -= step * image
    return solution


def _solid(region: np.ndarray) -> np.ndarray:
    """The region as a mask: its large or long connected parts, with small holes filled."""
    from scipy.ndimage import binary_fill_holes, find_objects

    mask = region > 0.5
    parts, areas = _parts(mask)
    if len(areas):
        sides = np.array([longest_side(box) for box in find_objects(parts)])
        kept = areas >= _LEAST_PART * areas.max()
        kept |= sides >= _LEAST_SIDE * sides[areas.argmax()]
        mask = np.isin(parts, np.flatnonzero(kept) + 1)
    holes, areas = _parts(np.asarray(binary_fill_holes(mask), bool) & ~mask)
    return mask | np.isin(holes, np.flatnonzero(areas < _LEAST_HOLE * mask.sum()) + 1)


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Connected parts of a mask, labelled from 1 in [H, W], and their areas."""
    from scipy.ndimage import label

    parts = np.empty(mask.shape, np.int32)
    label(mask, output=parts)
    return parts, np.bincount(parts.ravel())[1:]


def _surely(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks well inside and well outside, away from pixels that mix both."""
    from scipy.ndimage import binary_dilation, binary_erosion

    inside = np.asarray(binary_erosion(mask), bool)
    outside = np.logical_not(binary_dilation(mask, iterations=2))
    return (inside if inside.sum() >= 50 else mask), outside


def _at_full_size(region: np.ndarray, mask: np.ndarray, rgb: np.ndarray) -> np.ndarray:
    """Alpha [H, W] of the full image, its edges drawn to those of the image.

    Guided filter (He, Sun, Tang, 2013, eq. 5-8, luminance as guide), then more contrast: the
    walk's transition is wider than an edge of an image.
    """
    from scipy.ndimage import binary_dilation, uniform_filter
    from skimage.color import rgb2gray

    soft = np.where(mask, np.maximum(region, 0.75), np.minimum(region, 0.5))
    soft = np.where(binary_dilation(mask, iterations=2), soft, 0.0)
    height, width = rgb.shape[:2]
    soft = _resized(soft, height, width)
    guide = rgb2gray(rgb)
    window = 2 * max(1, round(max(height, width) / WORKING_SIDE_PX)) + 1

    def mean(values: np.ndarray) -> np.ndarray:
        return uniform_filter(values, window)

    slope = mean(guide * soft) - mean(guide) * mean(soft)
    slope = slope / (mean(guide * guide) - mean(guide) ** 2 + 1e-4)
    offset = mean(soft) - slope * mean(guide)
    drawn = mean(slope) * guide + mean(offset)
    return np.clip((drawn - 0.5) * 2.5 + 0.5, 0.0, 1.0)
