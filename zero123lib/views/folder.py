"""A folder of views: images of one object and their cameras.

    000.png, 001.png, ...   the views, in the order of their cameras
    contact_sheet.png       the model's input and all views, each with a label
    orbit.gif               the views in turn
    transforms.json         the cameras (see `transforms`), the size, what made it

The last lists the first; the others are for people. :func:`view_files` makes the content, which
``zero123lib._files.write_folder`` writes; :func:`read_views` reads any folder with a
transforms.json, of any make.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._files import json_bytes

from .eight_bits import to_8_bit_srgb
from .listings import LISTING, find_image, find_listing
from .loading import FORMATS
from .paths import KEY, CameraPath, path_content
from .poses import Pose
from .sheet import contact_sheet
from .transforms import Pinhole, read_frames, transforms_json

SHEET, ANIMATION = "contact_sheet.png", "orbit.gif"
GIF_FRAME_MS = 80
# Browsers show a frame that says less for 100 ms.
GIF_LEAST_MS = 20
# Of all images of a folder together.
MAX_PIXELS = 2**28


@dataclass(frozen=True, eq=False)
class PosedImage:
    """An image and the camera that took it.

    Attributes:
        name: as it is listed.
        image: RGBA with straight alpha.
        camera_to_world: OpenGL, float32 ``[4, 4]``.
        pinhole: its intrinsics.
    """

    name: str
    image: Image.Image
    camera_to_world: Tensor
    pinhole: Pinhole


def view_files(
    images: Sequence[Image.Image],
    cameras: Sequence[Pose],
    *,
    condition: Image.Image | None = None,
    labels: Sequence[str] = (),
    animation: Sequence[Image.Image] = (),
    made_by: Mapping[str, Any] | None = None,
    path: CameraPath | None = None,
) -> dict[str, bytes]:
    """Encode the files of a folder of views.

    Args:
        images: the views, RGB or RGBA, all of one size.
        cameras: absolute poses, one per view.
        condition: the model's input; with it there is a contact sheet.
        labels: on the sheet, of the condition and of every view.
        animation: frames of the GIF; none writes no GIF.
        made_by: what made the views, for transforms.json.
        path: that the cameras are on; the animation takes as long as it does, at up to
            50 frames a second.

    Returns:
        Content by name; transforms.json, which describes the others, is the last.
    """
    names = [f"{index:03d}.png" for index in range(len(images))]
    files = {name: png(image) for name, image in zip(names, images, strict=True)}
    if condition is not None:
        # Beside views that were enlarged, the input as large.
        shown = condition.resize(images[0].size, Image.Resampling.LANCZOS)
        files[SHEET] = png(contact_sheet([shown, *images], labels=labels))
    if animation:
        pace = GIF_FRAME_MS
        if path is not None:
            pace = max(GIF_LEAST_MS, path.frame_ms(len(animation)))
        files[ANIMATION] = gif(animation, pace)
    width, height = images[0].size
    origin = {} if made_by is None else {"made_by": dict(made_by)}
    if path is not None:
        origin[KEY] = path_content(path)
    listing = {**origin, "w": width, "h": height, **transforms_json(names, cameras)}
    return {**files, LISTING: json_bytes(listing)}


def read_views(place: str | Path, max_side: int | None = None) -> list[PosedImage]:
    """Read the images that a transforms.json lists, see :mod:`zero123lib.views.transforms`.

    Args:
        place: a folder with a transforms.json or transforms_train.json, or such a file.
        max_side: pixels; larger images are made smaller as they are read, and so are their cameras.

    Raises:
        ArgumentError: there is no such file; or an image that it lists is missing, damaged,
            outside the folder, too large, or not a pinhole's.
    """
    listing = find_listing(Path(place))
    folder, pixels, images = listing.parent, 0, []
    for frame in read_frames(listing):
        image = _read(find_image(folder, frame.file_path), "RGBA", max_side)
        if frame.mask_path is not None:
            mask = _read(find_image(folder, frame.mask_path), "L", max_side)
            if mask.size != image.size:
                raise ArgumentError("views", f"a mask of {image.size}", f"{mask.size}")
            image.putalpha(mask)
        pixels += image.width * image.height
        if pixels > MAX_PIXELS:
            raise ArgumentError("views", f"at most {MAX_PIXELS} pixels in all", "more")
        pinhole = frame.pinhole(*image.size)
        images.append(PosedImage(frame.file_path, image, frame.camera_to_world, pinhole))
    return images


def _read(path: Path, mode: str, max_side: int | None) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width} x {file.height} pixels are too many")
            # Cameras are those of the pixels as they are stored, whichever way a viewer turns them.
            file.info.pop("exif", None)
            image = to_8_bit_srgb(file).convert(mode)
            if max_side is not None:
                image.thumbnail((max_side, max_side))
            return image
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("views", "images that can be read", f"{path}: {reason}") from error


def png(image: Image.Image) -> bytes:
    """Encode an image as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def gif(images: Sequence[Image.Image], frame_ms: int = GIF_FRAME_MS) -> bytes:
    """Encode images as an endless GIF animation."""
    buffer = io.BytesIO()
    first, *others = images
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=frame_ms, loop=0)
    return buffer.getvalue()
