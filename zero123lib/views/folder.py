"""A folder of views: images of one object and their cameras.

    000.png, 001.png, ...   the views, in the order of their cameras
    contact_sheet.png       the model's input and all views, each with a label
    orbit.gif               the views in turn
    transforms.json         the cameras (see `cameras.transforms_json`), the size, what made it

The last lists the first; the others are for people. :func:`view_files` makes the content, which
:func:`zero123lib._files.write_folder` writes; :func:`read_views` reads any folder with a
transforms.json.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError

from .cameras import cameras_from_transforms, transforms_json
from .poses import Pose
from .sheet import contact_sheet

SHEET, ANIMATION, LISTING = "contact_sheet.png", "orbit.gif", "transforms.json"
GIF_FRAME_MS = 80
# Of all images of a folder together.
MAX_PIXELS = 2**28


def view_files(
    images: Sequence[Image.Image],
    cameras: Sequence[Pose],
    *,
    condition: Image.Image | None = None,
    labels: Sequence[str] = (),
    animation: Sequence[Image.Image] = (),
    made_by: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Encode the files of a folder of views.

    Args:
        images: the views, RGB or RGBA, all of one size.
        cameras: absolute poses, one per view.
        condition: the model's input; with it there is a contact sheet.
        labels: on the sheet, of the condition and of every view.
        animation: frames of the GIF; none writes no GIF.
        made_by: what made the views, for transforms.json.

    Returns:
        Content by name; transforms.json, which describes the others, is the last.
    """
    names = [f"{index:03d}.png" for index in range(len(images))]
    files = {name: png(image) for name, image in zip(names, images, strict=True)}
    if condition is not None:
        files[SHEET] = png(contact_sheet([condition, *images], labels=labels))
    if animation:
        files[ANIMATION] = gif(animation)
    width, height = images[0].size
    origin = {} if made_by is None else {"made_by": dict(made_by)}
    listing = {**origin, "w": width, "h": height, **transforms_json(names, cameras)}
    text = json.dumps(listing, indent=2, allow_nan=False) + "\n"
    return {**files, LISTING: text.encode()}


def read_views(folder: str | Path) -> tuple[list[Image.Image], Tensor, float]:
    """Read the images that a folder's transforms.json lists, and their cameras.

    Returns:
        RGBA images, square and of one size; OpenGL camera-to-world matrices float32 [V, 4, 4]; the
        field of view in degrees.

    Raises:
        ArgumentError: there is no such file, or what it lists is missing, damaged, outside the
            folder, not square, or not of one size.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / LISTING).read_text())
        names, cameras_to_world, fov_deg = cameras_from_transforms(content)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        expected = f"pictures with a {LISTING} in {str(folder)!r}"
        raise ArgumentError("views", expected, reason) from error
    if not names:
        raise ArgumentError("views", f"pictures in {str(folder / LISTING)!r}", "none")
    images: list[Image.Image] = []
    for name in names:
        images.append(_square_image(folder, name))
        side, first = images[-1].width, images[0].width
        if side != first:
            got = f"{first} x {first} and {side} x {side}"
            raise ArgumentError("views", "pictures of one size", got)
        if len(names) * first**2 > MAX_PIXELS:
            got = f"{len(names)} pictures of {first} x {first}"
            raise ArgumentError("views", f"at most {MAX_PIXELS} pixels", got)
    return images, cameras_to_world, fov_deg


def _square_image(folder: Path, name: str) -> Image.Image:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ArgumentError("views", f"pictures within {str(folder)!r}", repr(name))
    try:
        with Image.open(path) as file:
            if file.width != file.height or file.width**2 > MAX_PIXELS:
                raise ValueError(f"expected a square picture, got {file.width} x {file.height}")
            return file.convert("RGBA")
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("views", "pictures that can be used", f"{path}: {reason}") from error


def png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(images: Sequence[Image.Image], frame_ms: int = GIF_FRAME_MS) -> bytes:
    """Encode images as an endless GIF animation."""
    buffer = io.BytesIO()
    first, *others = images
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=frame_ms, loop=0)
    return buffer.getvalue()
