"""One shader above all rasterisers: colours, textures and light, in linear RGB, in torch.

Gradients flow to textures, vertices' colours, positions, normals and the light.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import Fragments


@dataclass(frozen=True)
class Light:
    """Light from all around and from one direction (Phong 1975), linear, white.

    colour = base * (ambient + diffuse * max(0, n.l)) + specular * max(0, r.v) ** shininess

    Attributes:
        ambient, diffuse, specular: strengths, at least 0; all light that a white surface can give
            back is 1, brighter is clipped.
        shininess: how narrow the highlight is, above 0.
        direction: towards the light, in the world, of any length but 0.
    """

    ambient: float = 0.6
    diffuse: float = 0.4
    specular: float = 0.0
    shininess: float = 32.0
    direction: tuple[float, float, float] = (1.0, 0.5, 1.5)

    def __post_init__(self) -> None:
        for name in ("ambient", "diffuse", "specular"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}: expected a strength of at least 0, got {getattr(self, name)}"
                )
        if not 0.0 < self.shininess < float("inf"):
            raise ValueError(f"shininess: expected a number above 0, got {self.shininess}")
        length = sum(part * part for part in self.direction)
        if not 0.0 < length < float("inf"):
            raise ValueError(f"direction: expected a finite length above 0, got {self.direction}")


AMBIENT = Light(ambient=1.0, diffuse=0.0)  # The colours as they are in the file.
LAMBERT = Light()
PHONG = Light(ambient=0.5, diffuse=0.4, specular=0.3)


def shade(
    mesh: Mesh, fragments: Fragments, camera: Camera, light: Light = LAMBERT
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the light and colour of fragments.

    Normals are turned towards the camera: a face has the same colour from both its sides.

    Returns:
        ``[L, S, S, 3]`` linear colour; ``[L, S, S]`` alpha in [0, 1]; ``[L, S, S, 3]`` unit normals
        in the world. All are 0 where there is no face.
    """
    where = torch.nonzero(fragments.face_ids >= 0, as_tuple=True)
    faces, weights = fragments.face_ids[where], fragments.barycentrics[where]
    triangles = mesh.vertices[mesh.faces[faces]]
    camera_at = camera.camera_to_world.to(mesh.vertices)[:3, 3]
    towards = F.normalize(camera_at - _blend(weights, triangles), dim=-1)
    normals = _normals(mesh, faces, weights, triangles, towards)
    base = base_color(mesh, faces, weights)
    color = _lit(base[:, :3], normals, towards, light)
    shape = fragments.face_ids.shape
    empty = color.new_zeros(*shape, 3)
    return (
        empty.index_put(where, color),
        color.new_zeros(shape).index_put(where, base[:, 3]),
        empty.index_put(where, normals),
    )


def base_color(mesh: Mesh, faces: Tensor, weights: Tensor) -> Tensor:
    """Return linear RGBA ``[N, 4]`` of points, by faces ``[N]`` and corner weights ``[N, 3]``."""
    if mesh.vertex_colors is None:
        color = weights.new_ones(len(faces), 4)
    else:
        color = _blend(weights, to_linear(mesh.vertex_colors[mesh.faces[faces]]))
    uv = None if mesh.uv is None else _blend(weights, mesh.uv[faces])
    if mesh.face_material is None:
        return _of_material(mesh.materials[0], color, uv)
    kinds = mesh.face_material[faces]
    for index in torch.unique(kinds).tolist():
        (these,) = torch.nonzero(kinds == index, as_tuple=True)
        part = _of_material(mesh.materials[index], color[these], None if uv is None else uv[these])
        color = color.index_put((these,), part)
    return color


def look_up(texture: Tensor, uv: Tensor) -> Tensor:
    """Return linear RGBA ``[N, 4]`` of a texture at ``[N, 2]``, bilinear, repeating.

    A texel's colour is that at its centre: of an image of width w the first column's is at
    u = 0.5 / w. Texels are made linear before they are mixed.

    Args:
        texture: sRGB ``[h, w, 4]``, uint8 or floating in [0, 1], row 0 on top.
        uv: origin at the lower left, v up.
    """
    height, width = texture.shape[:2]
    # Whole repeats go first, so that large coordinates keep their digits.
    u, v = (uv - uv.detach().floor()).unbind(-1)
    x, y = u * width - 0.5, (1.0 - v) * height - 0.5
    left, top = x.detach().floor(), y.detach().floor()
    across, down = (x - left).unsqueeze(-1), (y - top).unsqueeze(-1)
    left, top = left.long(), top.long()

    def texel(row: Tensor, column: Tensor) -> Tensor:
        value = texture[row % height, column % width]
        return to_linear(value if value.is_floating_point() else value.to(uv.dtype) / 255.0)

    upper = torch.lerp(texel(top, left), texel(top, left + 1), across.expand(-1, 4))
    lower = torch.lerp(texel(top + 1, left), texel(top + 1, left + 1), across.expand(-1, 4))
    return torch.lerp(upper, lower, down.expand(-1, 4))


def to_linear(color: Tensor) -> Tensor:
    """Convert sRGB ``[..., 3|4]`` in [0, 1] to linear (IEC 61966-2-1); alpha stays as it is."""
    rgb = color[..., :3]
    curved = ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, curved)
    return torch.cat([linear, color[..., 3:]], dim=-1)


def to_srgb(color: Tensor) -> Tensor:
    """Convert linear ``[..., 3|4]`` to sRGB, clipped to [0, 1]; alpha stays as it is."""
    rgb = color[..., :3].clamp(0.0, 1.0)
    # The clamp keeps the power's slope finite where the other branch is taken.
    curved = 1.055 * rgb.clamp(min=0.0031308) ** (1.0 / 2.4) - 0.055
    encoded = torch.where(rgb <= 0.0031308, 12.92 * rgb, curved)
    return torch.cat([encoded, color[..., 3:]], dim=-1)


def _of_material(material: Material, color: Tensor, uv: Tensor | None) -> Tensor:
    """Return the material's linear RGBA ``[N, 4]`` over the vertices' ``[N, 4]``."""
    color = color * color.new_tensor(material.color)
    if material.texture is not None and uv is not None:
        color = color * look_up(material.texture, uv)
    if material.alpha == "opaque":
        alpha = torch.ones_like(color[:, 3:])
    elif material.alpha == "mask":
        alpha = (color[:, 3:] >= material.alpha_cutoff).to(color)
    else:
        alpha = color[:, 3:]
    return torch.cat([color[:, :3], alpha], dim=-1)


def _normals(
    mesh: Mesh, faces: Tensor, weights: Tensor, triangles: Tensor, towards: Tensor
) -> Tensor:
    """Return unit normals ``[N, 3]``, on the camera's side of the face."""
    a, b, c = triangles.unbind(1)
    flat = F.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-30)
    side = torch.where((flat * towards).sum(-1, keepdim=True) < 0.0, -1.0, 1.0)
    if mesh.normals is None:
        return side * flat
    return side * F.normalize(_blend(weights, mesh.normals[faces]), dim=-1, eps=1e-30)


def _lit(base: Tensor, normals: Tensor, towards: Tensor, light: Light) -> Tensor:
    direction = F.normalize(base.new_tensor(light.direction), dim=0)
    cosine = (normals @ direction).unsqueeze(-1)
    color = base * (light.ambient + light.diffuse * cosine.clamp(min=0.0))
    if light.specular == 0.0:
        return color
    mirrored = 2.0 * cosine * normals - direction
    along = (mirrored * towards).sum(-1, keepdim=True).clamp(min=0.0)
    return color + light.specular * (cosine > 0.0) * along**light.shininess


def _blend(weights: Tensor, corners: Tensor) -> Tensor:
    """Return values ``[N, D]`` of the corners' ``[N, 3, D]`` at weights ``[N, 3]``."""
    return (weights.unsqueeze(-1) * corners).sum(1)
