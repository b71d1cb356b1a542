"""The files of photos whose cameras were found: what `zero123 reconstruct --views` reads."""

from __future__ import annotations

from typing import Any

from PIL import Image

from zero123lib.inversion.poses import PoseEstimate
from zero123lib.views.folder import png, view_files
from zero123lib.views.poses import Pose

LANDSCAPE = "landscape.png"


def posed_files(found: PoseEstimate, source: Pose, made_by: dict[str, Any]) -> dict[str, bytes]:
    """Encode the photos, framed as for the model at the pixels that they have, with their cameras.

    Args:
        source: the first photo's camera.
        made_by: how they came about, for transforms.json.

    Returns:
        Content by name: those of :func:`zero123lib.views.folder.view_files`, and landscape.png.

    Raises:
        ArgumentError: a camera would lie beyond a pole.
    """
    details = [one.detail or one.rgba for one in found.prepared]
    size = min(one.width for one in details)
    images = [one.resize((size, size), Image.Resampling.LANCZOS) for one in details]
    files = view_files(images, found.cameras(source), made_by=made_by)
    return {LANDSCAPE: png(found.image()), **files}
