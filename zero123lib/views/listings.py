"""Which file lists a folder's images, and where they are: to be asked before torch is there."""

from __future__ import annotations

from pathlib import Path

from zero123lib._errors import ArgumentError

LISTING = "transforms.json"
LISTINGS = (LISTING, "transforms_train.json")


def find_listing(place: Path) -> Path:
    """Find the listing of a folder, or take the file that is named.

    Raises:
        ArgumentError: there is none.
    """
    for file in (place, *(place / name for name in LISTINGS)):
        if file.is_file():
            return file
    raise ArgumentError("views", f"a folder with a {LISTING}", f"none in {str(place)!r}")


def find_image(folder: Path, file_path: str) -> Path:
    """Find a listed file, with an extension of its own where it is listed without one.

    Raises:
        ArgumentError: there is none, or it is outside the folder.
    """
    root, shown = folder.resolve(), repr(file_path[:200])
    named = file_path.replace("\\", "/")
    problem = "none"
    for suffix in ("", ".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG", ".JPEG"):
        try:
            path = (root / f"{named}{suffix}").resolve()
            if not path.is_relative_to(root):
                raise ArgumentError("views", f"images within {str(folder)!r}", shown)
            if path.is_file():
                return path
        except ArgumentError:
            raise
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL, a loop
            problem = getattr(error, "strerror", None) or str(error)
    raise ArgumentError("views", f"the image {shown} in {str(folder)!r}", problem)
