"""Draw the two views of a pair from an object, past those that cannot be used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from zero123lib.views.poses import Encoding

from .batches import Pair, pair_camera, pair_pose
from .samples import Sample, SampleError, image_tensor, read_sample

# What a number is drawn for; the second entry of the seeds, so that no two streams are alike.
ORDER, VIEWS, SUBSTITUTE, BUFFER, AUGMENT = range(5)

# all; or one side of a data set that is split by its objects' names
Part = Literal["all", "training", "held_out"]

_VIEW_FILE = re.compile(r"([0-9]+)\.(png|npy)")


@dataclass(frozen=True, eq=False)
class StoredObject:
    """The files of one object, wherever they lie.

    Attributes:
        name: its path in the data set, such as "chairs/17".
        files: names of its files, such as "000.png".
        read: the content of one of them; raises OSError where it cannot be read.
    """

    name: str
    files: Iterable[str]
    read: Callable[[str], bytes]


def view_files(files: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Return views with both an image and a camera, sorted; and what is wrong with the others.

    Returns:
        Names such as "000", and name -> reason. Files that belong to no view are left alone.
    """
    parts: dict[str, set[str]] = {}
    for name in files:
        if match := _VIEW_FILE.fullmatch(name):
            parts.setdefault(match[1], set()).add(match[2])
    lonely = {
        view: f"expected {view}.{'npy' if 'png' in has else 'png'} beside its other file, got none"
        for view, has in sorted(parts.items())
        if len(has) == 1
    }
    return sorted(view for view, has in parts.items() if len(has) == 2), lonely


def read_view(stored: StoredObject, view: str) -> Sample:
    """Return one view of an object.

    Raises:
        SampleError: it cannot be used.
    """
    try:
        npy, png = stored.read(f"{view}.npy"), stored.read(f"{view}.png")
    except OSError as error:
        raise SampleError(f"files: expected readable ones, got {error}") from error
    return read_sample(png, npy)


def draw_pair(
    stored: StoredObject,
    random: np.random.Generator,
    size: int,
    encoding: Encoding,
    skipped: dict[str, str],
) -> Pair | None:
    """Return two distinct views in an order drawn by `random`: the first two that can be used.

    Args:
        skipped: name -> reason of what could not be; read, to try nothing twice, and added to.
            Since it holds what lies in the files alone, the pair does not depend on it.

    Returns:
        None where the object has no two such views; it is then in `skipped` itself.
    """
    views, lonely = view_files(stored.files)
    for view, reason in lonely.items():
        skipped.setdefault(f"{stored.name}/{view}", reason)
    good: list[Sample] = []
    for index in random.permutation(len(views)).tolist():
        name = f"{stored.name}/{views[index]}"
        if name in skipped:
            continue
        try:
            good.append(read_view(stored, views[index]))
        except SampleError as error:
            skipped[name] = str(error)
        if len(good) == 2:
            condition, target = good
            return Pair(
                image_tensor(condition.image, size),
                image_tensor(target.image, size),
                pair_pose(condition.pose, target.pose, encoding),
                pair_camera(condition.pose, target.pose),
            )
    skipped[stored.name] = f"expected at least 2 usable views, got {len(good)}"
    return None


def is_held_out(name: str, share: float) -> bool:
    """Decide by the last part of an object's name, wherever it lies, whether it is held out.

    Args:
        name: a path in a data set, perhaps behind its shard's address and a colon.
        share: of all objects that are, in [0, 1].
    """
    last = PurePosixPath(name).name.rpartition(":")[2]
    digest = hashlib.sha256(last.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def belongs(name: str, part: Part, share: float) -> bool:
    """Decide whether an object belongs to a part of a data set, see `is_held_out`."""
    return part == "all" or is_held_out(name, share) == (part == "held_out")


def generator(seed: int, purpose: int, *numbers: int) -> np.random.Generator:
    """Return random numbers that depend on the arguments alone."""
    return np.random.default_rng((seed, purpose, *numbers))


def nothing_usable(source: str, skipped: Mapping[str, str]) -> ValueError:
    """Return the error to raise where no object of a data set has two usable views."""
    name, reason = next(iter(skipped.items()), ("", "no objects"))
    return ValueError(
        f"path: expected at least one object with two usable views in {source!r}, got none; "
        f"the first of {len(skipped)} complaints: {name}: {reason}"
    )
