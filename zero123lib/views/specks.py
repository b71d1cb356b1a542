"""Specks: parts of a mask that are too small and too far off to belong to the object."""

from __future__ import annotations

import numpy as np

# A part is a speck where its longest side is below this share of the largest part's. Specks
# together make up less than the second share of the mask: what makes up more is part of the
# object, such as leaves.
_LARGEST_SIDE, _LARGEST_SHARE = 0.08, 0.05
# Parts nearer to each other than this share of the largest part's longest side are one: a thin
# part falls into dashes where it is less than a pixel wide.
_GAP = 0.04
# What connects parts may be fainter than what frames them: shares of the highest alpha.
_SOLID, _SEEN = 1 / 2, 1 / 8


def object_and_specks(alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell the object from stray specks, by their size and distance alone.

    Args:
        alpha: [H, W], not all zero.

    Returns:
        Masks [H, W]: the object's pixels of at least half the highest alpha; and the specks, with
        a few pixels around them.
    """
    from scipy.ndimage import find_objects, maximum_filter

    highest = alpha.max()
    solid, seen = alpha >= _SOLID * highest, alpha >= _SEEN * highest
    nothing = np.zeros_like(solid)
    parts = connected_parts(seen)
    if parts.max() == 1:
        return solid, nothing
    largest = np.bincount(parts[solid]).argmax()
    reach = max(1, round(_GAP / 2 * longest_side(find_objects(parts)[largest - 1])))
    parts = connected_parts(np.asarray(maximum_filter(seen, 2 * reach + 1), bool))
    areas = np.bincount(parts[solid], minlength=parts.max() + 1)
    boxes = find_objects(np.where(solid, parts, 0), parts.max())
    sides = np.array([0, *map(longest_side, boxes)])
    # A part without a solid pixel frames nothing and is no speck: faint surroundings stay.
    small = (sides > 0) & (sides < _LARGEST_SIDE * sides[areas.argmax()])
    if areas[small].sum() >= _LARGEST_SHARE * areas.sum():
        return solid, nothing
    specks = small[parts]
    return solid & ~specks, specks


def connected_parts(mask: np.ndarray) -> np.ndarray:
    """Connected parts [H, W] of a mask, over corners too, labelled from 1."""
    from scipy.ndimage import label

    parts = np.empty(mask.shape, np.int32)
    label(mask, np.ones((3, 3)), output=parts)
    return parts


def longest_side(box: tuple[slice, slice] | None) -> int:
    """Return the longest side of a box, in pixels; 0 of no box."""
    return max((edge.stop - edge.start for edge in box), default=0) if box else 0
