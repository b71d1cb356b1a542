"""Cameras of photos by the photos' names: what several photos of one object are given with.

`zero123 pose` writes such a transforms.json. It lists the files that it wrote, 000.png and so on,
and in `made_by` the photos that they were made of, in the same order; either are found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zero123lib._errors import ArgumentError

from .cameras import pose_from_camera
from .listings import find_listing
from .poses import Pose
from .transforms import frames_of


def photo_cameras(place: str | Path, names: Sequence[str]) -> list[Pose]:
    """Look up the cameras of photos.

    Args:
        place: a transforms.json of any make whose cameras look at the origin, or its folder.
        names: of the photos' files, in any order; not all that are listed need to be among them.
            Files beside the listing are those that were written, others the photos, by their names
            alone: only where no photo has a name it is that of a written file, too. A name that is
            listed twice stands for one after the other.

    Raises:
        ArgumentError: the file is of no use, or does not list a photo.
    """
    try:
        listing = find_listing(Path(place))
        content = json.loads(listing.read_text())
        frames = frames_of(content, listing.name)
    except ArgumentError as error:
        raise error.renamed("cameras") if error.name == "views" else error from error
    except (OSError, ValueError, RecursionError) as error:
        expected = f"a transforms.json in {str(place)!r}"
        raise ArgumentError("cameras", expected, type(error).__name__) from error
    beside = listing.resolve().parent
    written, photos = [one.file_path for one in frames], _photos(content, len(frames))
    found: list[int] = []
    for name in names:
        own = (written, photos) if Path(name).resolve().parent == beside else (photos, written)
        left = [number for number in _numbers(name, own) if number not in found]
        if not left:
            expected = f"a frame of {str(listing)!r} for each image"
            raise ArgumentError("cameras", expected, f"none for {name!r}")
        found.append(left[0])
    return [_pose(frames[number], number, listing) for number in found]


def _numbers(name: str, listings: Sequence[Sequence[str]]) -> list[int]:
    """Return where a file is listed, in the first listing that has it; if none, its bare stem."""
    for key in (_name, _stem):
        for listed in listings:
            if numbers := [i for i, one in enumerate(listed) if key(one) == key(name)]:
                return numbers
    return []


def _photos(content: Any, count: int) -> list[str]:
    """Return the names of the photos that the frames were made of, where those are told."""
    made_by = content.get("made_by")
    names = made_by.get("images") if isinstance(made_by, dict) else None
    whole = isinstance(names, list) and len(names) == count
    return [str(name) for name in names] if whole and names else []


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _stem(path: str) -> str:
    return Path(_name(path)).stem


def _pose(frame: Any, number: int, listing: Path) -> Pose:
    try:
        return pose_from_camera(frame.camera_to_world)
    except ValueError as error:
        expected = "cameras that look at the origin, +z up, as those of `zero123 pose` do"
        got = f"frame {number} of {str(listing)!r}: {error}"
        raise ArgumentError("cameras", expected, got) from error
