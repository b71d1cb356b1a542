"""An image of a mesh: rasterise, shade, composite, and average the samples of each pixel."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.rasterize import Fragments, rasterizer
from zero123lib.meshes.settings import MAX_SAMPLES_PER_SIDE
from zero123lib.meshes.shading import LAMBERT, Light, shade, to_srgb

# So many surfaces behind each other are composited where materials let see through.
LAYERS = 8


@dataclass(frozen=True, eq=False)
class Rendering:
    """Holds what a camera sees of a mesh, before a transparent background.

    Attributes:
        color: sRGB with straight alpha ``[S, S, 4]`` in [0, 1]; alpha is the share of the pixel
            that the mesh covers. White where that is 0.
        depth: distance along the camera's axis, scene units ``[S, S]``, the mean over the pixel's
            samples on the mesh; infinite where there are none. A surface counts from half opaque.
        normals: unit normals in the world, towards the camera ``[S, S, 3]``; 0 where there is none.
        mask: bool ``[S, S]``, at least half covered.
    """

    color: Tensor
    depth: Tensor
    normals: Tensor
    mask: Tensor


def render(
    mesh: Mesh,
    camera: Camera,
    light: Light = LAMBERT,
    supersample: int = 3,
    backend: str = "auto",
) -> Rendering:
    """Render one image of a mesh: see `renderer`."""
    return renderer(mesh, supersample, backend)(camera, light)


def renderer(
    mesh: Mesh, supersample: int = 3, backend: str = "auto", threads: int = 0
) -> Callable[[Camera, Light], Rendering]:
    """Return a function from a camera and a light to a `Rendering`, for several images.

    Args:
        supersample: samples along a pixel's side; 1 has jagged edges.
        backend: of `rasterizer`.
        threads: of Open3D; 0 takes all cores.

    Raises:
        ValueError: an argument is out of range.
        MissingExtraError: the backend is not installed.
    """
    if supersample < 1:
        raise ValueError(f"supersample: expected at least 1, got {supersample}")
    look = rasterizer(mesh, backend, LAYERS, threads)

    def take(camera: Camera, light: Light = LAMBERT) -> Rendering:
        if camera.size * supersample > MAX_SAMPLES_PER_SIDE:
            raise ValueError(
                f"size: expected at most {MAX_SAMPLES_PER_SIDE} pixels times supersample, got "
                f"{camera.size} x {supersample}"
            )
        fine = replace(camera, size=camera.size * supersample)
        fragments = look(fine)
        color, alpha, normals = shade(mesh, fragments, fine, light)
        return _average(*_flatten(fragments, color, alpha, normals), supersample)

    return take


def _flatten(
    fragments: Fragments, color: Tensor, alpha: Tensor, normals: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Composite layers from front to back (Porter and Duff 1984, "over").

    Returns:
        Linear RGBA ``[S, S, 4]`` premultiplied by alpha; depth ``[S, S]`` and normals
        ``[S, S, 3]`` of the first surface that is at least half opaque.
    """
    through = torch.cumprod(1.0 - alpha, dim=0)
    before = torch.cat([torch.ones_like(through[:1]), through[:-1]])
    share = (before * alpha).unsqueeze(-1)
    rgba = torch.cat([(share * color).sum(0), share.sum(0)], dim=-1)
    solid = alpha >= 0.5
    front = solid.long().argmax(0, keepdim=True)
    none = ~solid.any(0)
    depth = fragments.depth.gather(0, front)[0].masked_fill(none, math.inf)
    normal = normals.gather(0, front.unsqueeze(-1).expand(-1, -1, -1, 3))[0]
    return rgba, depth, normal.masked_fill(none.unsqueeze(-1), 0.0)


def _average(rgba: Tensor, depth: Tensor, normals: Tensor, factor: int) -> Rendering:
    """Return the rendering of samples ``[S * factor, S * factor, ...]``."""
    rgba = _box(rgba, factor)
    alpha = rgba[..., 3:]
    # The division undoes the premultiplication; pixels without the mesh are white.
    straight = torch.where(alpha > 0.0, rgba[..., :3] / alpha.clamp(min=1e-12), 1.0)
    seen = torch.isfinite(depth)
    share = _box(seen.to(rgba).unsqueeze(-1), factor)[..., 0]
    total = _box(torch.where(seen, depth, 0.0).unsqueeze(-1), factor)[..., 0]
    return Rendering(
        color=to_srgb(torch.cat([straight, alpha.clamp(max=1.0)], dim=-1)),
        depth=torch.where(share > 0.0, total / share.clamp(min=1e-12), math.inf),
        normals=F.normalize(_box(normals, factor), dim=-1),
        mask=alpha[..., 0] >= 0.5,
    )


def _box(samples: Tensor, factor: int) -> Tensor:
    """Return means ``[S, S, C]`` over squares of samples ``[S * factor, S * factor, C]``."""
    size, channels = samples.shape[0] // factor, samples.shape[2]
    return samples.reshape(size, factor, size, factor, channels).mean((1, 3))
