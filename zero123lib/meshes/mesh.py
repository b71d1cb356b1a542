"""A mesh with its materials, in our world, and the camera that looks at it.

World: z-up, right-handed. Texture coordinates (u, v) have their origin at the lower left of the
image, v up, as in OBJ; outside [0, 1] the image repeats. Colours of vertices and textures are
sRGB in [0, 1] (textures also as uint8), a material's own colour is linear, as in glTF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px
from zero123lib.views.poses import Pose

# opaque: alpha is ignored. mask: visible where alpha reaches the cutoff. blend: alpha is coverage.
AlphaMode = Literal["opaque", "mask", "blend"]


@dataclass(frozen=True, eq=False)
class Material:
    """Holds what a face looks like.

    Attributes:
        color: linear RGBA in [0, 1], multiplies the texture and the vertices' colours.
        texture: sRGB with straight alpha ``[h, w, 4]``, uint8 or floating in [0, 1], row 0 on top.
        alpha: what alpha means, see `AlphaMode`.
        alpha_cutoff: of "mask".
    """

    color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: Tensor | None = None
    alpha: AlphaMode = "opaque"
    alpha_cutoff: float = 0.5

    def __post_init__(self) -> None:
        if self.alpha not in get_args(AlphaMode):
            names = ", ".join(get_args(AlphaMode))
            raise ValueError(f"alpha: expected one of {names}, got {self.alpha!r}")
        shape = None if self.texture is None else list(self.texture.shape)
        if shape is not None and (len(shape) != 3 or shape[2] != 4 or 0 in shape):
            raise ValueError(f"texture: expected a shape [h, w, 4], got {shape}")


@dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles, counter-clockwise seen from outside, with what colours them.

    Attributes:
        vertices: floating ``[V, 3]``.
        faces: int64 ``[F, 3]``, indices of vertices.
        materials: at least one.
        face_material: int64 ``[F]``, indices of materials; None gives all faces the first.
        uv: texture coordinates of the faces' corners, floating ``[F, 3, 2]``.
        vertex_colors: sRGB with straight alpha, floating ``[V, 4]``.
        normals: unit normals of the faces' corners ``[F, 3, 3]``; None shades faces flat.
        info: what a file says about itself, such as "copyright".

    Raises:
        ValueError: shapes do not fit, a number is not finite, or an index is out of range.
    """

    vertices: Tensor
    faces: Tensor
    materials: tuple[Material, ...] = (Material(),)
    face_material: Tensor | None = None
    uv: Tensor | None = None
    vertex_colors: Tensor | None = None
    normals: Tensor | None = None
    info: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        vertices, faces = self.vertices.shape[0], self.faces.shape[0]
        shapes = {
            "vertices": (vertices, 3),
            "faces": (faces, 3),
            "face_material": (faces,),
            "uv": (faces, 3, 2),
            "vertex_colors": (vertices, 4),
            "normals": (faces, 3, 3),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is None:
                continue
            if tuple(value.shape) != shape:
                raise ValueError(f"{name}: expected shape {list(shape)}, got {list(value.shape)}")
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
        if not faces:
            raise ValueError("faces: expected at least one triangle, got none")
        _check_indices("faces", self.faces, vertices, "vertices")
        if self.face_material is not None:
            _check_indices("face_material", self.face_material, len(self.materials), "materials")
        if not self.materials:
            raise ValueError("materials: expected at least one, got none")

    @property
    def device(self) -> torch.device:
        """Tell where the vertices are."""
        return self.vertices.device

    @property
    def triangles(self) -> Tensor:
        """Return the corners' positions ``[F, 3, 3]``."""
        return self.vertices[self.faces]

    @property
    def see_through(self) -> Tensor:
        """Tell which faces may show what lies behind them, bool ``[F]``."""
        by_material = [material.alpha != "opaque" for material in self.materials]
        table = torch.tensor(by_material, device=self.device)
        if self.face_material is None:
            return table[:1].expand(len(self.faces))
        return table[self.face_material]

    def to(self, device: torch.device | str) -> Mesh:
        """Return the same mesh with all its tensors on a device."""
        moved = {
            name: None if value is None else value.to(device)
            for name in ("vertices", "faces", "face_material", "uv", "vertex_colors", "normals")
            for value in [getattr(self, name)]
        }
        materials = tuple(
            material
            if material.texture is None
            else replace(material, texture=material.texture.to(device))
            for material in self.materials
        )
        return replace(self, materials=materials, **moved)


@dataclass(frozen=True, eq=False)
class Camera:
    """A square pinhole camera.

    Attributes:
        camera_to_world: OpenGL axes, floating ``[4, 4]``.
        size: pixels H = W.
        fov_deg: field of view in degrees.
        near: surfaces nearer than this along the view's axis are not seen, scene units.
    """

    camera_to_world: Tensor
    size: int
    fov_deg: float = FOV_DEG
    near: float = 0.01

    def __post_init__(self) -> None:
        focal_px(self.size, self.fov_deg)
        if tuple(self.camera_to_world.shape) != (4, 4):
            shape = list(self.camera_to_world.shape)
            raise ValueError(f"camera_to_world: expected shape [4, 4], got {shape}")
        if not self.near > 0.0:
            raise ValueError(f"near: expected a distance above 0, got {self.near:g}")

    @classmethod
    def at(cls, pose: Pose, size: int, fov_deg: float = FOV_DEG) -> Camera:
        """Return the camera of a pose."""
        return cls(camera_to_world(pose), size, fov_deg)


def _check_indices(name: str, indices: Tensor, count: int, of: str) -> None:
    if indices.dtype != torch.int64:
        raise ValueError(f"{name}: expected int64 indices, got {indices.dtype}")
    low, high = (int(bound) for bound in torch.aminmax(indices))
    if low < 0 or high >= count:
        raise ValueError(
            f"{name}: expected indices of {count} {of}, from 0 to {count - 1}, got {low} to {high}"
        )
