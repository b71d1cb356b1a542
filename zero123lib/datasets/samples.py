"""One view of a data set: a square image and the camera that took it, checked.

The camera is a `.npy` file of a 3x4 world-to-camera matrix [R | T] for column vectors, in
Blender's axes (x right, y up, looking along -z), as the official renders have it. The image is
a PNG with straight (not premultiplied) alpha, or without any.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib.views.cameras import pose_from_world_to_camera, spherical_to_camera
from zero123lib.views.images import load_image
from zero123lib.views.poses import Pose

# How far a camera may turn away from the origin, or roll. The official renders do neither.
TOLERANCE_DEG = 10.0

# Of |R R^T - I|, entry by entry: files written in half precision pass, scaled axes do not.
_ORTHONORMAL = 2e-3

# Of any number in a camera: the object has a size of 1.
_LARGEST = 1e6

# A matrix of 3x4 numbers and its header take less than 300 bytes.
_MAX_NPY_BYTES = 4096


class SampleError(ValueError):
    """A view that cannot be used; the message says why, on one line."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A view as it lies on disk.

    Attributes:
        image: RGB or RGBA, square.
        pose: its camera.
    """

    image: Image.Image
    pose: Pose


def read_sample(png: bytes, npy: bytes) -> Sample:
    """Return the view of the two files' contents.

    Raises:
        SampleError: one of them cannot be used.
    """
    pose = read_pose(npy)
    return Sample(read_image(png), pose)


def read_image(png: bytes) -> Image.Image:
    """Return RGB or RGBA of an image file's content.

    Raises:
        SampleError: damaged, empty (every pixel transparent), or not square.
    """
    try:
        image = load_image(png)
    except ValueError as error:
        raise SampleError(str(error)) from error
    if image.width != image.height:
        raise SampleError(
            f"image: expected a square image, got {image.width} x {image.height} pixels"
        )
    return image


@lru_cache(maxsize=1 << 17)  # training reads the same ones again and again
def read_pose(npy: bytes) -> Pose:
    """Return the camera of a `.npy` file's content.

    Raises:
        SampleError: not a matrix, or not one of a camera that looks at the origin upright.
    """
    w2c = read_matrix(npy)
    if complaint := camera_complaint(w2c):
        raise SampleError(f"camera: {complaint}")
    return pose_from_world_to_camera(torch.from_numpy(w2c))


def read_matrix(npy: bytes) -> np.ndarray:
    """Return float64 [3, 4] of a `.npy` file's content; its header is checked before its numbers.

    Raises:
        SampleError: not a `.npy` file, of another shape, or not finite numbers.
    """
    if len(npy) > _MAX_NPY_BYTES:
        raise SampleError(f"camera: expected a .npy file of a 3x4 matrix, got {len(npy)} bytes")
    file = io.BytesIO(npy)
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read_header(file)
    except Exception as error:  # a header of noise fails with errors of many types
        raise SampleError(f"camera: expected a .npy file, got {len(npy)} other bytes") from error
    if shape != (3, 4) or dtype.kind != "f":
        raise SampleError(f"camera: expected 3x4 floats, got shape {list(shape)} of {dtype}")
    try:
        matrix = np.load(io.BytesIO(npy), allow_pickle=False).astype(np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise SampleError(f"camera: expected a whole .npy file, got {len(npy)} bytes") from error
    if not np.isfinite(matrix).all():
        raise SampleError("camera: expected finite numbers, got NaN or infinity")
    return matrix


def camera_complaint(w2c: np.ndarray) -> str | None:
    """Return what is wrong with a finite world-to-camera matrix [3, 4], or None.

    The look direction tells common mix-ups apart: in OpenCV's axes a camera that looks at the
    origin seems to look away from it, and a camera-to-world matrix looks at it when inverted.
    """
    rotation, translation = w2c[:, :3], w2c[:, 3]
    if np.abs(w2c).max() > _LARGEST:
        return f"expected numbers of at most {_LARGEST:g}, got {np.abs(w2c).max():.3g}"
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ORTHONORMAL:
        return "expected a rotation in the first three columns, got axes that are not orthonormal"
    if np.linalg.det(rotation) < 0.0:
        return "expected a rotation in the first three columns, got a reflection"
    centre = -rotation.T @ translation
    distance = float(np.linalg.norm(centre))
    if distance < 1e-6:
        return "expected a camera away from the origin, got one at it"
    # Columns of camera-to-world: right, up, back. Looking at the origin, back points outwards.
    off_deg = _angle_deg(rotation[2], centre)
    if off_deg > TOLERANCE_DEG:
        found = f"one that looks {off_deg:.3g} degrees past it"
        if off_deg >= 180.0 - TOLERANCE_DEG:
            found = "one that looks away from it, as in OpenCV's axes (y down, looking along +z)"
        elif _angle_deg(rotation[:, 2], translation) <= TOLERANCE_DEG:
            found = "a camera-to-world matrix, where world-to-camera was expected"
        elif _angle_deg(rotation[:, 2], -translation) <= TOLERANCE_DEG:
            found = "a camera-to-world matrix in OpenCV's axes, where world-to-camera was expected"
        return f"expected a camera in Blender's axes that looks at the origin, got {found}"
    roll_deg = _roll_deg(rotation, torch.from_numpy(w2c))
    if roll_deg > 180.0 - TOLERANCE_DEG:
        return "expected an upright camera (+z up), got one that is upside down"
    if roll_deg > TOLERANCE_DEG:
        return f"expected an upright camera (+z up), got one rolled by {roll_deg:.3g} degrees"
    return None


def image_tensor(image: Image.Image, size: int) -> Tensor:
    """Return float32 [3, size, size] in [-1, 1] of a view on white.

    alpha * colour + (1 - alpha) at full size, then LANCZOS, in floats. Since both are linear this
    is resizing with premultiplied alpha, and edges get no rim.

    Args:
        image: RGB, or RGBA with straight alpha; square.
        size: pixels.
    """
    values = np.asarray(image, np.float32) / 255.0
    if image.mode == "RGBA":
        alpha = values[..., 3:]
        values = alpha * values[..., :3] + (1.0 - alpha)
    if image.width != size:
        values = np.stack(
            [
                np.asarray(
                    Image.fromarray(np.ascontiguousarray(values[..., channel])).resize(
                        (size, size), Image.Resampling.LANCZOS
                    )
                )
                for channel in range(3)
            ],
            axis=-1,
        ).clip(0.0, 1.0)
    return torch.from_numpy(values * 2.0 - 1.0).permute(2, 0, 1).contiguous()


def world_to_camera(pose: Pose) -> np.ndarray:
    """Return float64 [3, 4], what the `.npy` file of a camera holds."""
    numbers = (pose.elevation_deg, pose.azimuth_deg, pose.radius)
    c2w = spherical_to_camera(*torch.tensor(numbers, dtype=torch.float64)).numpy()
    rotation = c2w[:3, :3].T
    return np.concatenate([rotation, -rotation @ c2w[:3, 3:]], axis=1)


def _roll_deg(rotation: np.ndarray, w2c: Tensor) -> float:
    """Measure how far the image is turned about the look direction, from +z up."""
    pose = pose_from_world_to_camera(w2c)
    return _angle_deg(world_to_camera(pose)[1, :3], rotation[1])


def _angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the angle between two vectors [3], which need not be of unit length, in [0, 180]
    degrees."""
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    if scale < 1e-12:
        return 180.0
    return float(np.degrees(np.arccos(np.clip(a @ b / scale, -1.0, 1.0))))
