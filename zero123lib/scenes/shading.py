"""Light on surface points, the same seen from everywhere but for a weak highlight.

Colours are lit in linear light under a gamma of 2: an sRGB colour is multiplied by the square
root of the light that it gets.
"""

from __future__ import annotations

from torch import Tensor

_KEY, _WRAP = 0.78, 0.25  # strength of the key light, and how far it reaches round the edge
_SKY, _GROUND = (0.54, 0.56, 0.60), (0.32, 0.30, 0.28)
_SPECULAR, _SHININESS = 0.09, 24
_CREASE = 0.3  # how much darker the middle of the object is than its outside
_FLOOR = 0.12  # how much darker its lowest points are


def lit(
    albedo: Tensor, points: Tensor, normals: Tensor, to_camera: Tensor, light: Tensor
) -> Tensor:
    """Return colour of surface points, sRGB in [0, 1].

    A wrapped Lambert key light, a sky above and a darker ground below, and in place of ambient
    occlusion a darkening towards the centre of the object and towards its foot.

    The coordinate is the first axis throughout.

    Args:
        albedo: ``[3, M]`` sRGB.
        points: ``[3, M]`` world.
        normals: ``[3, M]`` outward, world, of any length.
        to_camera: ``[3, M]`` from the point towards the camera, of any length.
        light: ``[3]`` unit, towards the key light.

    Returns:
        ``[3, M]``.
    """
    normals = normals * _norm(normals).reciprocal_()
    facing = light @ normals
    key = (facing + _WRAP).clamp_min_(0).mul_(_KEY / (1 + _WRAP))
    up = (normals[2] + 1) / 2
    ground, sky = points.new_tensor(_GROUND)[:, None], points.new_tensor(_SKY)[:, None]
    outside = (4 * _dot(points, points)).clamp_max_(1)
    foot = ((points[2] + 0.5) / 0.4).clamp_(0, 1)
    open_sky = (1 - _CREASE * (1 - outside)) * (1 - _FLOOR * (1 - foot))
    brightness = (ground + (sky - ground) * up).add_(key).mul_(open_sky)
    half = to_camera * _norm(to_camera).reciprocal_() + light[:, None]
    highlight = (_dot(normals, half) / _norm(half)).clamp_min_(0)
    return (albedo * brightness.sqrt_() + _SPECULAR * highlight**_SHININESS).clamp_(0, 1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).clamp_min_(1e-18).sqrt_()
