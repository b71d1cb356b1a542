"""transforms.json: ours as it is written, and those of all makes as they are read.

    ours            `camera_angle_x` for all; `file_path` with its extension
    NeRF's          the same without an extension, in transforms_train.json
    nerfstudio's    `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h`, for all or frame by frame; `mask_path`;
                    `applied_transform`, which the matrices have in them already
    instant-ngp's   both angles and focal lengths

Matrices are OpenGL camera-to-world in all of them. Lenses that bend straight lines are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError

from .cameras import FOV_DEG, camera_to_world, pose_from_camera
from .poses import Pose

# Of lenses that are pinholes once their distortion is 0.
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE")
_DISTORTION = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Pinhole:
    """A camera without distortion, in pixels of its image.

    Attributes:
        width, height: of the image.
        fl_x, fl_y: focal lengths.
        cx, cy: where the optical axis meets the image, from its upper left corner.
    """

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a listing.

    Attributes:
        file_path: of the image, as it is listed.
        mask_path: of a mask, white where the object is; None where there is none.
        camera_to_world: OpenGL, float32 ``[4, 4]``.
        intrinsics: what the listing says of the camera, by the names of the listing.
    """

    file_path: str
    mask_path: str | None
    camera_to_world: Tensor
    intrinsics: Mapping[str, float]

    def pinhole(self, width: int, height: int) -> Pinhole:
        """Return the camera for an image of a size, which may be that of a smaller copy."""
        told = self.intrinsics
        listed_width, listed_height = told.get("w", width), told.get("h", height)
        fl_x = told.get("fl_x") or _focal(listed_width, told.get("camera_angle_x"))
        fl_y = told.get("fl_y") or _focal(listed_height, told.get("camera_angle_y")) or fl_x
        assert fl_x is not None and fl_y is not None, "frames without a focal length are refused"
        across, down = width / listed_width, height / listed_height
        return Pinhole(
            width,
            height,
            fl_x * across,
            fl_y * down,
            told.get("cx", listed_width / 2) * across,
            told.get("cy", listed_height / 2) * down,
        )


def transforms_json(
    file_names: Sequence[str], poses: Sequence[Pose], fov_deg: float = FOV_DEG
) -> dict[str, Any]:
    """Make the content of a transforms.json, ready for `json.dump`.

    Args:
        file_names: one per pose, relative to the file, with the extension.
        poses: absolute poses.

    Raises:
        ArgumentError: a different number of names and poses, or a name without an extension.
    """
    if len(file_names) != len(poses):
        raise ArgumentError("file_names", f"one per pose ({len(poses)})", str(len(file_names)))
    for name in file_names:
        if "." not in name.replace("\\", "/").rsplit("/", 1)[-1].lstrip("."):
            raise ArgumentError("file_names", "names with an extension", repr(name))
    frames = [
        {"file_path": name, "transform_matrix": matrix}
        for name, matrix in zip(file_names, camera_to_world(poses).tolist(), strict=True)
    ]
    return {"camera_angle_x": math.radians(fov_deg), "frames": frames}


def read_frames(listing: Path) -> list[Frame]:
    """Read what a file lists.

    Raises:
        ArgumentError: as :func:`frames_of`, or it cannot be read.
    """
    try:
        content = json.loads(listing.read_text())
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        expected = f"a transforms.json with frames in {str(listing)!r}"
        raise ArgumentError("views", expected, f"{type(error).__name__} {reason}") from error
    return frames_of(content, listing.name)


def frames_of(content: Any, name: str = "transforms.json") -> list[Frame]:
    """Take from the content of a transforms.json of any make what it says of its images.

    Args:
        content: as it was parsed.
        name: what to call it in complaints.

    Raises:
        ArgumentError: it is no listing, or a camera of it is not a pinhole; the message names the
            frame and the key.
    """
    frames = content.get("frames") if isinstance(content, Mapping) else None
    if not isinstance(frames, list) or not frames:
        raise ArgumentError("views", f"a list of frames in {name}", "none")
    return [_frame(content, one, f"frame {i} of {name}") for i, one in enumerate(frames)]


def poses_from_transforms(content: Any) -> list[Pose]:
    """Return the absolute poses in a parsed transforms.json whose cameras look at the origin."""
    return [pose_from_camera(one.camera_to_world) for one in frames_of(content)]


def _frame(content: Mapping[str, Any], frame: Any, where: str) -> Frame:
    if not isinstance(frame, Mapping):
        raise ArgumentError(where, "an object", type(frame).__name__)
    for key in ("file_path", "transform_matrix"):
        if key not in frame:
            raise ArgumentError(where, f"the key {key}", "none")
    told = {**content, **frame}
    _check_lens(told, where)
    names = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y")
    intrinsics = {name: _number(told[name], f"{where}.{name}") for name in names if name in told}
    for name in ("w", "h", "fl_x", "fl_y"):
        if name in intrinsics and not intrinsics[name] > 0.0:
            raise ArgumentError(f"{where}.{name}", "a number above 0", f"{intrinsics[name]:g}")
    angles = [intrinsics[one] for one in ("camera_angle_x", "camera_angle_y") if one in intrinsics]
    if not all(0.0 < angle < math.pi for angle in angles):
        raise ArgumentError(f"{where}.camera_angle_x", "radians between 0 and pi", str(angles))
    if "fl_x" not in intrinsics and "camera_angle_x" not in intrinsics:
        raise ArgumentError(where, "fl_x or camera_angle_x", "neither")
    mask = frame.get("mask_path")
    return Frame(
        str(frame["file_path"]),
        None if mask is None else str(mask),
        _rigid(frame["transform_matrix"], f"{where}.transform_matrix"),
        intrinsics,
    )


def _check_lens(told: Mapping[str, Any], where: str) -> None:
    """Raise ArgumentError for a camera that is no pinhole."""
    model = str(told.get("camera_model") or "PINHOLE")
    bent = [name for name in _DISTORTION if _number(told.get(name) or 0, f"{where}.{name}")]
    if model.upper() not in _PINHOLES or told.get("is_fisheye") or bent:
        shown = ", ".join(f"{name} = {float(told[name]):g}" for name in bent) or "a fisheye lens"
        raise ArgumentError(
            where,
            "an image without lens distortion: undistort the images first, with COLMAP's "
            "image_undistorter, say",
            f"camera_model {model} with {shown}" if bent or told.get("is_fisheye") else model,
        )


def _rigid(matrix: Any, where: str) -> Tensor:
    """Return a camera-to-world matrix, float32 ``[4, 4]``."""
    try:
        values = torch.tensor(matrix, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ArgumentError(where, "4 rows of 4 numbers", type(matrix).__name__) from error
    if tuple(values.shape) not in ((4, 4), (3, 4)):
        raise ArgumentError(where, "4 rows of 4 numbers", f"the shape {list(values.shape)}")
    if not bool(torch.isfinite(values).all()):
        raise ArgumentError(where, "finite numbers", "NaN or infinity")
    turn = values[:3, :3]
    off = float((turn.T @ turn - torch.eye(3, dtype=torch.float64)).abs().max())
    if off > _TOLERANCE or float(torch.linalg.det(turn)) < 0.0:
        raise ArgumentError(where, "a rotation and a place", f"{turn.tolist()}")
    whole = torch.eye(4, dtype=torch.float64)
    whole[:3] = values[:3]
    return whole.float()


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(where, "a number", repr(value)) from error
    if not math.isfinite(number):
        raise ArgumentError(where, "a finite number", str(number))
    return number


def _focal(size: float, angle: float | None) -> float | None:
    """Focal length in pixels of an image of a size that spans an angle, radians."""
    return None if angle is None else 0.5 * size / math.tan(0.5 * angle)
