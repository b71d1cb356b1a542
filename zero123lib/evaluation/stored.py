"""Held-out samples of a data set: objects that training on it leaves out.

Objects come in the order of their names' hashes, so that any number of them is a fair choice; the
input of each is its first usable view, the targets are those after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.datasets.drawing import Part, StoredObject, belongs, read_view, view_files
from zero123lib.datasets.folder import find_objects, open_object
from zero123lib.datasets.samples import Sample as View
from zero123lib.datasets.samples import SampleError, image_tensor
from zero123lib.evaluation.samples import Sample, check_counts

_MEAN_OBJECTS = 256
_WHITE = 252  # a level of 8 bits; brighter is the background of an image without alpha


def stored_samples(
    path: str | Path, objects: int, views: int, size: int, held_out: float = 0.0
) -> Iterator[Sample]:
    """Yield held-out objects of a folder in the official layout, always the same.

    Args:
        path: the folder.
        objects: how many at most, at least 1.
        views: targets per object, at least 1; objects with fewer views are passed over.
        size: S, pixels.
        held_out: share of the objects, by their names, that training left out, as its
            ``data.held_out``; 0 takes all of them.

    Raises:
        ArgumentError: a number out of range, or nothing at the path to evaluate on.
    """
    check_counts(objects=objects, views=views, size=size)
    root, part = Path(path), "held_out" if held_out else "all"
    names = _names(root, part, held_out)
    if not names:
        raise ArgumentError(
            "held_out", f"a share that holds out some of the objects in {path}", f"{held_out:g}"
        )
    return _samples(root, names, objects, views, size, held_out)


def _names(root: Path, part: Part, held_out: float) -> list[str]:
    names = [name for name in find_objects(root) if belongs(name, part, held_out)]
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())


def _samples(
    root: Path, names: list[str], objects: int, views: int, size: int, held_out: float
) -> Iterator[Sample]:
    mean, index, most = _mean_image(root, size, held_out), 0, 0
    for name in names:
        found = _views(open_object(root, name), 1 + views)
        most = max(most, len(found))
        if len(found) <= views:
            continue
        images = torch.stack([(image_tensor(one.image, size) + 1) / 2 for one in found])
        alpha = torch.stack([_alpha(one.image, size) for one in found])
        poses = [one.pose for one in found]
        yield Sample.of_views(images, alpha, poses, index=index, name=name, seed=index, mean=mean)
        index += 1
        if index == objects:
            return
    if not index and most < 2:
        expected = f"objects with two views, 000.png with its camera 000.npy, ..., in {str(root)!r}"
        raise ArgumentError("path", expected, "none")
    if not index:
        expected = f"at most {most - 1}, the targets beside the input in {str(root)!r}"
        raise ArgumentError("views", expected, repr(views))


def _mean_image(root: Path, size: int, held_out: float) -> Tensor:
    """Compute the mean on white of a view of each of some objects that training knows."""
    known = _names(root, "training" if held_out else "all", held_out)[:_MEAN_OBJECTS]
    first = [view for name in known for view in _views(open_object(root, name), 1)]
    if not first:
        return torch.ones(3, size, size)
    return torch.stack([(image_tensor(one.image, size) + 1) / 2 for one in first]).mean(0)


def _views(stored: StoredObject, count: int) -> list[View]:
    """Read an object's first usable views."""
    found: list[View] = []
    for view in view_files(stored.files)[0]:
        if len(found) == count:
            break
        with suppress(SampleError):
            found.append(read_view(stored, view))
    return found


def _alpha(image: Image.Image, size: int) -> Tensor:
    """Give a view's alpha ``[S, S]`` in [0, 1]; what is not white where it has none."""
    if image.mode == "RGBA":
        alpha = image.getchannel("A")
    else:
        alpha = image.convert("L").point([255 * (level < _WHITE) for level in range(256)])
    return torch.from_numpy(np.array(alpha.resize((size, size), Image.Resampling.BOX)) / 255)
