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
        names: of the photos' files, folders left out of account; in any order, and not all that
            are listed need to be among them. A name that is listed twice stands for one after the
            other.

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
    known: dict[str, list[int]] = {}
    for listed in ([one.file_path for one in frames], _photos(content, len(frames))):
        for number, name in enumerate(listed):
            for key in {_name(name), Path(_name(name)).stem}:
                known.setdefault(key, []).append(number)
    found = []
    for name in names:
        numbers = known.get(_name(name)) or known.get(Path(_name(name)).stem) or []
        left = [number for number in numbers if number not in found]
        if not left:
            expected = f"a frame of {str(listing)!r} for each image"
            raise ArgumentError("cameras", expected, f"none for {name!r}")
        found.append(left[0])
    return [_pose(frames[number], number, listing) for number in found]


def _photos(content: Any, count: int) -> list[str]:
    """Return the names of the photos that the frames were made of, where those are told."""
    made_by = content.get("made_by")
    names = made_by.get("images") if isinstance(made_by, dict) else None
    whole = isinstance(names, list) and len(names) == count
    return [str(name) for name in names] if whole and names else []


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _pose(frame: Any, number: int, listing: Path) -> Pose:
    try:
        return pose_from_camera(frame.camera_to_world)
    except ValueError as error:
        expected = "cameras that look at the origin, +z up, as those of `zero123 pose` do"
        got = f"frame {number} of {str(listing)!r}: {error}"
        raise ArgumentError("cameras", expected, got) from error
