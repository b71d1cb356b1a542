"""Camera matrices for poses, and the same camera in other people's axes.

Everything is vectorised over leading axes `[...]` and keeps the device and floating type given.

    camera-to-world   [..., 4, 4], columns right, up, back, centre. OpenGL axes, which are also
                      Blender's: x right, y up, and the camera looks along -z. Our own form.
    OpenCV            camera-to-world with x right, y down, looking along +z.
    PyTorch3D         (R [..., 3, 3], T [..., 3]) world-to-camera for row vectors,
                      x_camera = x_world @ R + T, with x left, y up, z into the image.
    transforms.json   OpenGL camera-to-world, see :mod:`zero123lib.views.transforms`.

Images are square; pixel (column, row) covers [column, column + 1] x [row, row + 1], its
centre is at +0.5, row 0 is the top. The field of view 49.13 degrees is a 35 mm lens on a
32 mm sensor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from .poses import Pose

FOV_DEG = 49.13

# Nearer to a pole than this share of the radius, the azimuth is read from the image's right.
_POLE = 1e-6


def focal_px(size: int, fov_deg: float = FOV_DEG) -> float:
    """Return the focal length in pixels of a square image of `size` pixels."""
    if not size >= 1:
        raise ValueError(f"size: expected at least 1 pixel, got {size}")
    if not 0.0 < fov_deg < 180.0:
        raise ValueError(f"fov_deg: expected degrees between 0 and 180, got {fov_deg}")
    return 0.5 * size / math.tan(math.radians(0.5 * fov_deg))


def intrinsics(size: int, fov_deg: float = FOV_DEG) -> Tensor:
    """Return the pinhole matrix K, float32 [3, 3], pixels: OpenCV camera to image."""
    focal = focal_px(size, fov_deg)
    return torch.tensor([[focal, 0.0, size / 2], [0.0, focal, size / 2], [0.0, 0.0, 1.0]])


def spherical_to_camera(elevation_deg: Tensor, azimuth_deg: Tensor, radius: Tensor) -> Tensor:
    """Return the OpenGL camera-to-world of cameras that look at the origin with +z up.

    A closed form without a cross product: at the poles up is the limit along the orbit, so
    the matrix is continuous (and differentiable) in all three arguments.

    Args:
        elevation_deg, azimuth_deg: degrees, shapes [...].
        radius: scene units, shape [...].

    Returns:
        [..., 4, 4].
    """
    elevation, azimuth, radius = torch.broadcast_tensors(
        torch.deg2rad(elevation_deg), torch.deg2rad(azimuth_deg), radius
    )
    sin_e, cos_e = torch.sin(elevation), torch.cos(elevation)
    sin_a, cos_a = torch.sin(azimuth), torch.cos(azimuth)
    zero = torch.zeros_like(sin_e)
    right = torch.stack([-sin_a, cos_a, zero], dim=-1)
    up = torch.stack([-sin_e * cos_a, -sin_e * sin_a, cos_e], dim=-1)
    back = torch.stack([cos_e * cos_a, cos_e * sin_a, sin_e], dim=-1)
    return _assemble(torch.stack([right, up, back], dim=-1), radius.unsqueeze(-1) * back)


@overload
def camera_to_world(poses: Pose) -> Tensor: ...
@overload
def camera_to_world(poses: Sequence[Pose]) -> Tensor: ...
def camera_to_world(poses: Pose | Sequence[Pose]) -> Tensor:
    """Return OpenGL camera-to-world, float32: [4, 4] of one pose, [N, 4, 4] of a sequence."""
    if isinstance(poses, Pose):
        return camera_to_world([poses])[0]
    table = torch.tensor(
        [[pose.elevation_deg, pose.azimuth_deg, pose.radius] for pose in poses],
        dtype=torch.float64,
    ).reshape(-1, 3)
    return spherical_to_camera(*table.unbind(-1)).float()


def pose_from_camera(c2w: Tensor, tolerance_deg: float | None = 1.0) -> Pose:
    """Return the pose of one OpenGL camera-to-world matrix.

    Exactly over a pole the centre has no azimuth; there it comes from the image's right.

    Args:
        c2w: [4, 4] or [3, 4].
        tolerance_deg: how far, in degrees, the view may turn or roll away from that of a
            `Pose` at the same centre; None accepts any view and keeps the centre only.

    Raises:
        ValueError: wrong shape, not finite, at the origin, or not looking at the origin upright.
    """
    c2w = _matrix("c2w", c2w, ((4, 4), (3, 4)))
    pose = _pose_at(c2w[:3, 3], right=c2w[:3, 0])
    if tolerance_deg is None:
        return pose
    expected = spherical_to_camera(
        *torch.tensor([pose.elevation_deg, pose.azimuth_deg, pose.radius]).double()
    )
    turned_deg = rotation_angle_deg(expected[:3, :3], c2w[:3, :3])
    if not turned_deg <= tolerance_deg:
        raise ValueError(
            f"c2w: expected a camera that looks at the origin with +z up (within "
            f"{tolerance_deg:g} degrees), got one turned away by {turned_deg:.3g} degrees"
        )
    return pose


def pose_from_world_to_camera(w2c: Tensor) -> Pose:
    """Return the pose of one official `.npy` camera (`ldm/data/simple.py: get_T`).

    centre = -R^T T; theta = atan2(sqrt(x^2 + y^2), z); phi = atan2(y, x). The files use
    Blender's camera axes; only the centre is read, so they play no part except over a pole.

    Args:
        w2c: [3, 4] world-to-camera ``[R | T]`` for column vectors.
    """
    w2c = _matrix("w2c", w2c, ((3, 4), (4, 4)))
    rotation, translation = w2c[:3, :3], w2c[:3, 3]
    return _pose_at(-rotation.T @ translation, right=rotation[0])


def rotation_angle_deg(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle in degrees, shape [...], of the turn between rotations [..., 3, 3].

    From the chord ``|a - b|_F = 2 sqrt(2) sin(angle / 2)``, which stays exact at small angles.
    """
    chord = torch.linalg.matrix_norm(a - b) / (2.0 * math.sqrt(2.0))
    return torch.rad2deg(2.0 * torch.asin(chord.clamp(max=1.0)))


def rays(c2w: Tensor, size: int, fov_deg: float = FOV_DEG) -> tuple[Tensor, Tensor]:
    """Return one ray through the centre of each pixel of a square image.

    Args:
        c2w: OpenGL camera-to-world [..., 4, 4].
        size: pixels H = W.

    Returns:
        Origins [..., H, W, 3] and unit directions [..., H, W, 3], both in the world; row 0 is
        the top of the image. Origins are an expanded view: clone before writing to them.
    """
    steps = torch.arange(size, dtype=c2w.dtype, device=c2w.device)
    slope = (steps + 0.5 - 0.5 * size) / focal_px(size, fov_deg)
    y, x = torch.meshgrid(-slope, slope, indexing="ij")
    local = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
    local = local / torch.linalg.vector_norm(local, dim=-1, keepdim=True)
    directions = torch.einsum("...ij,hwj->...hwi", c2w[..., :3, :3], local)
    origins = c2w[..., None, None, :3, 3].expand_as(directions)
    return origins, directions


def opengl_to_opencv(c2w: Tensor) -> Tensor:
    """Return camera-to-world [..., 4, 4] with the camera's y and z axes turned to OpenCV's."""
    return _flip_columns(c2w, (1.0, -1.0, -1.0))


def opencv_to_opengl(c2w: Tensor) -> Tensor:
    """Return camera-to-world [..., 4, 4] with the camera's y and z axes turned to OpenGL's."""
    return _flip_columns(c2w, (1.0, -1.0, -1.0))


def to_pytorch3d(c2w: Tensor) -> tuple[Tensor, Tensor]:
    """Return PyTorch3D's (R [..., 3, 3], T [..., 3]) of OpenGL camera-to-world [..., 4, 4].

    Row vectors: x_camera = x_world @ R + T, so R's columns are the camera's left, up and
    forward in the world.
    """
    rotation = _flip_columns(c2w, (-1.0, 1.0, -1.0))[..., :3, :3]
    centre = c2w[..., :3, 3]
    return rotation, -torch.einsum("...i,...ij->...j", centre, rotation)


def from_pytorch3d(rotation: Tensor, translation: Tensor) -> Tensor:
    """Return the OpenGL camera-to-world [..., 4, 4] of PyTorch3D's R [..., 3, 3] and T [..., 3]."""
    centre = -torch.einsum("...j,...ij->...i", translation, rotation)
    return _flip_columns(_assemble(rotation, centre), (-1.0, 1.0, -1.0))


def _pose_at(centre: Tensor, right: Tensor) -> Pose:
    """Pose of a camera at `centre` [3]; `right` [3] gives the azimuth over a pole."""
    x, y, z = centre.tolist()
    across, radius = math.hypot(x, y), math.hypot(x, y, z)
    if across > _POLE * radius:
        azimuth = math.atan2(y, x)
    else:
        azimuth = math.atan2(-float(right[0]), float(right[1]))
    return Pose(90.0 - math.degrees(math.atan2(across, z)), math.degrees(azimuth), radius)


def _matrix(argument: str, matrix: Tensor, shapes: tuple[tuple[int, int], ...]) -> Tensor:
    """Return the matrix in float64 on the CPU, after checking its shape and that it is finite."""
    matrix = torch.as_tensor(matrix).detach().to("cpu", torch.float64)
    if tuple(matrix.shape) not in shapes:
        wanted = " or ".join(f"{rows}x{columns}" for rows, columns in shapes)
        raise ValueError(f"{argument}: expected a {wanted} matrix, got {list(matrix.shape)}")
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError(f"{argument}: expected finite numbers, got NaN or infinity")
    return matrix


def _assemble(rotation: Tensor, centre: Tensor) -> Tensor:
    """[..., 4, 4] of rotation [..., 3, 3] and centre [..., 3]."""
    top = torch.cat([rotation, centre.unsqueeze(-1)], dim=-1)
    bottom = top.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 4)
    return torch.cat([top, bottom], dim=-2)


def _flip_columns(c2w: Tensor, signs: tuple[float, float, float]) -> Tensor:
    """Return the matrix with its three axis columns scaled by +-1; the centre stays."""
    return c2w * c2w.new_tensor([*signs, 1.0])
