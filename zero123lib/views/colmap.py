"""COLMAP's sparse model of a set of views, as text: what structure-from-motion tools open.

    sparse/0/cameras.txt    one PINHOLE camera: width, height, focal lengths, middle, in pixels
    sparse/0/images.txt     world to camera: a quaternion (w, x, y, z), a translation, a name; then
                            the points that are seen, of which there are none
    sparse/0/points3D.txt   coloured points without tracks

Cameras are OpenCV's (x right, y down, looking along +z), and a pixel's middle is at +0.5, as ours
is. The format: https://colmap.github.io/format.html.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zero123lib._errors import ArgumentError

from .cameras import FOV_DEG, camera_to_world, focal_px, opengl_to_opencv
from .poses import Pose

FOLDER = "sparse/0"


def colmap_files(
    file_names: Sequence[str],
    poses: Sequence[Pose],
    size: int,
    points: np.ndarray | None = None,
    colors: np.ndarray | None = None,
    fov_deg: float = FOV_DEG,
) -> dict[str, bytes]:
    """Make the three files of a model.

    Args:
        file_names: one per pose, relative to the folder of the images.
        poses: absolute poses.
        size: side of the square images, pixels.
        points: of the object ``[N, 3]``, to begin from; None lists none.
        colors: of the points, uint8 ``[N, 3]``.
        fov_deg: of the cameras.

    Returns:
        Content by name.

    Raises:
        ArgumentError: a different number of names and poses, or a name with a blank.
    """
    from scipy.spatial.transform import Rotation

    if len(file_names) != len(poses):
        raise ArgumentError("file_names", f"one per pose ({len(poses)})", str(len(file_names)))
    for name in file_names:
        if not name or any(sign.isspace() for sign in name):
            raise ArgumentError("file_names", "names without blanks", repr(name))
    focal, middle = focal_px(size, fov_deg), size / 2
    camera = f"1 PINHOLE {size} {size} {focal:.10g} {focal:.10g} {middle:.10g} {middle:.10g}"
    world_from_camera = opengl_to_opencv(camera_to_world(poses).double()).numpy()
    turns = np.transpose(world_from_camera[:, :3, :3], (0, 2, 1))
    moves = -np.einsum("nij,nj->ni", turns, world_from_camera[:, :3, 3])
    images = []
    for number, (name, turn, move) in enumerate(zip(file_names, turns, moves, strict=True), 1):
        x, y, z, w = Rotation.from_matrix(turn).as_quat()
        placed = " ".join(f"{value:.10g}" for value in (w, x, y, z, *move))
        # The second line of an image lists its points.
        images += [f"{number} {placed} 1 {name}", ""]
    listed = []
    if points is not None:
        shades = np.full((len(points), 3), 128) if colors is None else colors
        for number, (point, color) in enumerate(zip(points, shades, strict=True), 1):
            place = " ".join(f"{value:.7g}" for value in point)
            listed.append(f"{number} {place} {' '.join(str(int(c)) for c in color)} 0")
    return {
        f"{FOLDER}/cameras.txt": _text("CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]", [camera]),
        f"{FOLDER}/images.txt": _text(
            "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then POINTS2D[]", images
        ),
        f"{FOLDER}/points3D.txt": _text("POINT3D_ID X Y Z R G B ERROR TRACK[]", listed),
    }


def _text(heading: str, lines: Sequence[str]) -> bytes:
    return ("\n".join([f"# {heading}", *lines]) + "\n").encode()
