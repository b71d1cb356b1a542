"""A folder of views: images of one object and their cameras, in a transforms.json of any make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError

from .listings import find_image, find_listing
from .transforms import Pinhole, read_frames

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

    @property
    def opaque(self) -> bool:
        """Whether nothing of the image is transparent: the object has not been cut out."""
        return self.image.getchannel("A").getextrema() == (255, 255)


def read_views(place: str | Path) -> list[PosedImage]:
    """Read the images that a transforms.json lists, see :mod:`zero123lib.views.transforms`.

    Args:
        place: a folder with a transforms.json or transforms_train.json, or such a file.

    Raises:
        ArgumentError: there is no such file; or an image that it lists is missing, damaged,
            outside the folder, too large, or not a pinhole's.
    """
    listing = find_listing(Path(place))
    folder, pixels, images = listing.parent, 0, []
    for frame in read_frames(listing):
        image = _read(find_image(folder, frame.file_path), "RGBA")
        if frame.mask_path is not None:
            mask = _read(find_image(folder, frame.mask_path), "L")
            if mask.size != image.size:
                raise ArgumentError("views", f"a mask of {image.size}", f"{mask.size}")
            image.putalpha(mask)
        pixels += image.width * image.height
        if pixels > MAX_PIXELS:
            raise ArgumentError("views", f"at most {MAX_PIXELS} pixels in all", "more")
        pinhole = frame.pinhole(*image.size)
        images.append(PosedImage(frame.file_path, image, frame.camera_to_world, pinhole))
    return images


def _read(path: Path, mode: str) -> Image.Image:
    try:
        with Image.open(path) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width} x {file.height} pixels are too many")
            return file.convert(mode)
    except Exception as error:
        # Decoders meet damaged files with errors of any type.
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("views", "images that can be read", f"{path}: {reason}") from error
