"""Light on surface points, the same seen from everywhere but for a weak highlight.

Colours are lit in linear light under a gamma of 2: an sRGB colour is multiplied by the square
root of the light that it gets.
"""

from __future__ import annotations

import torch
from torch import Tensor

_KEY, _WRAP = 0.78, 0.25  # strength of the key light, and how far it reaches round the edge
_SKY, _GROUND = (0.54, 0.56, 0.60), (0.32, 0.30, 0.28)
_SPECULAR, _SHININESS = 0.09, 24
_CREASE = 0.3  # how much darker the middle of the object is than its outside
_FLOOR = 0.12  # how much darker its lowest points are


def lit(
    albedo: Tensor, points: Tensor, normals: Tensor, to_camera: Tensor, light: Tensor
) -> Tensor:
    """Colour of surface points, sRGB in [0, 1].

    A wrapped Lambert key light, a sky above and a darker ground below, and in place of ambient
    occlusion a darkening towards the centre of the object and towards its foot.

    Args:
        albedo: ``[M, 3]`` sRGB.
        points: ``[M, 3]`` world.
        normals: ``[M, 3]`` unit, outward, world.
        to_camera: ``[M, 3]`` unit, from the point towards the camera.
        light: ``[3]`` unit, towards the key light.

    Returns:
        ``[M, 3]``.
    """
    facing = normals @ light
    key = _KEY * ((facing + _WRAP) / (1 + _WRAP)).clamp_min(0)
    up = (normals[:, 2:] + 1) / 2
    ambient = torch.lerp(points.new_tensor(_GROUND), points.new_tensor(_SKY), up)
    outside = (4 * (points * points).sum(-1)).clamp_max(1)
    foot = (points[:, 2] + 0.5).clamp(0, 0.4) / 0.4
    open_sky = (1 - _CREASE * (1 - outside)) * (1 - _FLOOR * (1 - foot))
    brightness = (ambient + key[:, None]) * open_sky[:, None]
    half = to_camera + light
    half = half / half.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    highlight = _SPECULAR * (normals * half).sum(-1).clamp_min(0) ** _SHININESS
    return (albedo * brightness.sqrt() + highlight[:, None]).clamp(0, 1)
