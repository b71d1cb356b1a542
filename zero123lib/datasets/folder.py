"""The official folder layout: `ROOT/<object>/000.png` and `000.npy`, `001.png` and so on.

Objects may lie deeper than one folder. Where `ROOT/valid_paths.json` exists, as in the official
data set, it lists the objects, and nothing else is looked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib._files import new_folder
from zero123lib.views.poses import Encoding, Pose

from .batches import Batch, Pair, check_numbers, check_source, collate
from .drawing import (
    ORDER,
    SUBSTITUTE,
    VIEWS,
    Part,
    StoredObject,
    belongs,
    draw_pair,
    generator,
    nothing_usable,
    view_files,
)
from .samples import world_to_camera

VALID_PATHS = "valid_paths.json"


class FolderPairs:
    """Pairs of a data set in the official layout, a `PairSource`.

    Every object comes once per epoch, in an order drawn anew for each, with two views drawn from
    it. In the place of an object without two usable views comes another one, drawn at random.

    Args:
        root: the folder.
        size: pixels of the images.
        encoding: of the poses.
        seed: of all that is drawn.
        held_out: share of the objects, by their names, that `part` tells from the others.
        part: which objects are drawn from.

    Raises:
        ValueError: an argument is out of range, or there is no such object in the folder.
    """

    def __init__(
        self,
        root: str | Path,
        size: int,
        *,
        encoding: Encoding = "zero123",
        seed: int = 0,
        held_out: float = 0.0,
        part: Part = "all",
    ) -> None:
        check_source(size, encoding, seed)
        self.encoding: Encoding = encoding
        self.root, self.size, self.seed = Path(root), size, seed
        found = find_objects(self.root)
        self.objects = tuple(name for name in found if belongs(name, part, held_out))
        if not self.objects:
            raise ArgumentError(
                "held_out",
                f"a share that parts the {len(found)} objects of {str(root)!r}",
                f"{held_out:g}",
            )
        self._skipped: dict[str, str] = {}
        self._bad: set[int] = set()  # objects without two usable views
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def skipped(self) -> Mapping[str, str]:
        return self._skipped

    def batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        check_numbers(first, step, batch_size)
        return self._batches(first, step, batch_size)

    def _batches(self, first: int, step: int, batch_size: int) -> Iterator[Batch]:
        number = first
        while True:
            start = number * batch_size
            yield collate([self.pair(start + index) for index in range(batch_size)])
            number += step

    def pair(self, number: int) -> Pair:
        """Return pair `number`, from 0.

        Raises:
            ValueError: no object has two usable views.
        """
        epoch, place = divmod(number, len(self.objects))
        index = int(self._epoch_order(epoch)[place])
        others = generator(self.seed, SUBSTITUTE, number)
        views = generator(self.seed, VIEWS, number)
        while index in self._bad or (pair := self._drawn(index, views)) is None:
            self._bad.add(index)
            if len(self._bad) == len(self.objects):
                raise nothing_usable(str(self.root), self._skipped)
            index = int(others.integers(len(self.objects)))
            views = generator(self.seed, VIEWS, number, index)
        return pair

    def _drawn(self, index: int, random: np.random.Generator) -> Pair | None:
        stored = open_object(self.root, self.objects[index])
        return draw_pair(stored, random, self.size, self.encoding, self._skipped)

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order is None or self._order[0] != epoch:
            random = generator(self.seed, ORDER, epoch)
            self._order = epoch, random.permutation(len(self.objects))
        return self._order[1]


def find_objects(root: Path) -> tuple[str, ...]:
    """Return paths of objects relative to `root`, sorted, or as `valid_paths.json` has them.

    An object is a folder with a file named as a view's. Names that begin with a dot are passed
    over: that is how unfinished objects are called. "." is `root` itself.

    Raises:
        ValueError: no such folder, no object in it, or a list that cannot be used.
    """
    if not root.is_dir():
        raise ArgumentError("path", "a folder of objects", repr(str(root)))
    if (root / VALID_PATHS).is_file():
        return _listed_objects(root / VALID_PATHS)
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".")]
        views, lonely = view_files(files)
        if views or lonely:
            found.append(Path(folder).relative_to(root).as_posix())
    if not found:
        raise ArgumentError(
            "path", f"folders with views (000.png and 000.npy, ...) in {str(root)!r}", "none"
        )
    return tuple(sorted(found))


def open_object(root: Path, name: str) -> StoredObject:
    """Return the files of one object; none where its folder cannot be read."""
    folder = root / name
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        files = []
    return StoredObject(name, files, lambda file: (folder / file).read_bytes())


def write_object(folder: str | Path, images: Sequence[np.ndarray], poses: Sequence[Pose]) -> None:
    """Write the views of one object in the official layout; the folder appears whole or not at all.

    It is made beside its final name, in a folder whose name begins with ".making-", and renamed.
    After a kill such a folder may stay behind; readers pass over it.

    Args:
        folder: a new name.
        images: one per view, uint8 [S, S, 4], straight alpha.
        poses: one per view.

    Raises:
        ValueError: the name is taken, or a view is not as described.
        OSError: a file could not be written.
    """
    folder = Path(folder)
    if os.path.lexists(folder):
        raise ArgumentError("folder", "a new name", f"{str(folder)!r}, which exists")
    if not images or len(images) != len(poses):
        raise ArgumentError(
            "images",
            "one per pose and at least one",
            f"{len(images)} images and {len(poses)} poses",
        )
    for image in images:
        square = image.ndim == 3 and image.shape[0] == image.shape[1] and image.shape[2] == 4
        if image.dtype != np.uint8 or not square:
            raise ArgumentError(
                "images", "uint8 arrays [S, S, 4]", f"{image.dtype} {list(image.shape)}"
            )
    with new_folder(folder) as made:
        for index, (image, pose) in enumerate(zip(images, poses, strict=True)):
            Image.fromarray(image).save(made / f"{index:03d}.png")
            np.save(made / f"{index:03d}.npy", world_to_camera(pose))


def _listed_objects(path: Path) -> tuple[str, ...]:
    """Return what `valid_paths.json` lists: paths relative to its folder."""
    try:
        names = json.loads(path.read_bytes())
    except ValueError as error:
        raise ArgumentError("path", f"JSON in {str(path)!r}", str(error)) from error
    if not isinstance(names, list) or not names:
        raise ArgumentError("path", f"a list of objects in {str(path)!r}", "none")
    for name in names:
        inside = isinstance(name, str) and name and ".." not in PurePosixPath(name).parts
        if not inside or PurePosixPath(name).is_absolute():
            raise ArgumentError("path", f"paths inside its folder in {str(path)!r}", repr(name))
    return tuple(PurePosixPath(name).as_posix() for name in names)
