"""Which face each pixel sees, where on it, and how far away.

One interface with two backends. A backend answers only which faces a pixel's ray meets, nearest
first; where it meets them is then one formula in torch, `meet`, so that both backends give the
same numbers, differentiable with respect to vertices and camera on either.

    open3d      Embree's ray casting: any CPU, no display.
    pytorch3d   its mesh rasteriser: CUDA, or the CPU at O(pixels x faces).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from zero123lib._choices import RasterBackend
from zero123lib._optional import MissingExtraError, require
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.views.cameras import rays, to_pytorch3d

Backend = Literal["open3d", "pytorch3d"]
BACKENDS = get_args(RasterBackend)

# As a share of its length, a ray that has met a face goes on this much behind it: two faces at the
# same place are one layer.
_BEHIND = 1e-5
# PyTorch3D gives a pixel on the edge between two faces to neither, a hole, unless edges have a
# width: this is its square, where the image is 2 wide.
_EDGE = 1e-12
# PyTorch3D's bins hold a list of faces each; beyond this memory it goes without bins.
_BIN_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Fragments:
    """Holds what the pixels see, in layers from front to back.

    There are as many layers as needed, at least one: behind a face whose material is opaque there
    is none, and at most as many as were asked for.

    Attributes:
        face_ids: int64 ``[L, S, S]``, -1 where there is no face.
        barycentrics: weights of the face's corners ``[L, S, S, 3]``, 0 where there is no face.
        depth: distance along the camera's axis, scene units ``[L, S, S]``; infinite where there
            is no face.
    """

    face_ids: Tensor
    barycentrics: Tensor
    depth: Tensor


Rasterizer = Callable[[Camera], Fragments]


def rasterize(mesh: Mesh, camera: Camera, backend: str = "auto", layers: int = 1) -> Fragments:
    """Return what one camera sees of a mesh: see `rasterizer`."""
    return rasterizer(mesh, backend, layers)(camera)


def rasterizer(mesh: Mesh, backend: str = "auto", layers: int = 1, threads: int = 0) -> Rasterizer:
    """Return a function from a camera to `Fragments`, for several cameras of one mesh.

    Args:
        mesh: of one device; the fragments lie on it, too.
        backend: "open3d", "pytorch3d" or "auto": PyTorch3D for meshes on a GPU where it is
            installed, else Open3D where it is, else PyTorch3D.
        layers: how many faces behind each other at most, where materials let see through.
        threads: of Open3D; 0 takes all cores.

    Raises:
        ValueError: no such backend, or no layer.
        MissingExtraError: the backend is not installed.
    """
    if layers < 1:
        raise ValueError(f"layers: expected at least 1, got {layers}")
    name = choose_backend(backend, mesh.device)
    see_through = mesh.see_through
    if not bool(see_through.any()):
        layers = 1
    if name == "open3d":
        find = _open3d(mesh, layers, see_through, threads)
    else:
        find = _pytorch3d(mesh, layers)

    def look(camera: Camera) -> Fragments:
        face_ids = _cut_behind_opaque(find(camera), see_through)
        return _fragments(mesh, camera, face_ids)

    return look


def choose_backend(backend: str, device: torch.device) -> Backend:
    """Return the backend of that name, or the one that "auto" means for a mesh on `device`."""
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "open3d" or backend == "pytorch3d":
        return backend
    if find_spec("pytorch3d") and (device.type == "cuda" or not find_spec("open3d")):
        return "pytorch3d"
    return "open3d"


def check_backend(backend: Backend) -> None:
    """Raise MissingExtraError, without loading anything, where a backend is not installed."""
    if find_spec(backend) is None:
        # No extra brings PyTorch3D: PyPI has no build of it for Linux.
        how = {
            "open3d": "pip install 'zero123lib[meshes]'",
            "pytorch3d": "its INSTALL.md says how, or take the backend open3d",
        }
        raise MissingExtraError(f"{backend} is not installed: {how[backend]}", name=backend)


def meet(triangles: Tensor, origins: Tensor, directions: Tensor) -> Tensor:
    """Tell where rays meet the planes of triangles (Möller and Trumbore 1997), kept inside them.

    Computed in float64: seen edge-on, a triangle's weights lose many digits.

    Args:
        triangles: ``[N, 3, 3]``.
        origins, directions: ``[N, 3]``.

    Returns:
        Weights of the corners ``[N, 3]``, at least 0, sum 1, in the triangles' type.
    """
    a, b, c = triangles.double().unbind(1)
    direction, to_origin = directions.double(), origins.double() - a
    across = torch.linalg.cross(direction, c - a)
    area = (across * (b - a)).sum(-1)
    # A plane that contains the ray has no single point: its weights come out finite, not right.
    area = torch.where(area.abs() < 1e-30, torch.full_like(area, 1e-30), area)
    v = (across * to_origin).sum(-1) / area
    w = (torch.linalg.cross(to_origin, b - a) * direction).sum(-1) / area
    weights = torch.stack([1.0 - v - w, v, w], dim=-1).clamp(0.0, 1.0)
    return (weights / weights.sum(-1, keepdim=True)).to(triangles.dtype)


def _fragments(mesh: Mesh, camera: Camera, face_ids: Tensor) -> Fragments:
    """Return the fragments of face ids ``[L, S, S]``."""
    c2w = camera.camera_to_world.to(mesh.vertices)
    origins, directions = rays(c2w, camera.size, camera.fov_deg)
    layer, row, column = torch.nonzero(face_ids >= 0, as_tuple=True)
    triangles = mesh.vertices[mesh.faces[face_ids[layer, row, column]]]
    weights = meet(triangles, origins[row, column], directions[row, column])
    points = (weights.unsqueeze(-1) * triangles).sum(1)
    distance = (points - c2w[:3, 3]) @ -c2w[:3, 2]
    where = (layer, row, column)
    shape = face_ids.shape
    return Fragments(
        face_ids,
        weights.new_zeros(*shape, 3).index_put(where, weights),
        distance.new_full(shape, math.inf).index_put(where, distance),
    )


def _cut_behind_opaque(face_ids: Tensor, see_through: Tensor) -> Tensor:
    """Return face ids ``[L, S, S]`` with -1 behind opaque faces, without layers that are empty
    then."""
    opaque = (face_ids >= 0) & ~see_through[face_ids.clamp(min=0)]
    behind = (opaque.long().cumsum(0) - opaque.long()) > 0
    face_ids = face_ids.masked_fill(behind, -1)
    used = int((face_ids >= 0).flatten(1).any(1).sum())
    return face_ids[: max(used, 1)]


def _open3d(
    mesh: Mesh, layers: int, see_through: Tensor, threads: int
) -> Callable[[Camera], Tensor]:
    open3d = require("open3d", "meshes")
    scene = open3d.t.geometry.RaycastingScene(nthreads=threads)
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float32)
    faces = mesh.faces.cpu().numpy().astype(np.uint32)
    scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(faces))
    through = see_through.cpu()

    def find(camera: Camera) -> Tensor:
        c2w = camera.camera_to_world.detach().cpu().float()
        directions = rays(c2w, camera.size, camera.fov_deg)[1].flatten(0, 1)
        cosines = directions @ -c2w[:3, 2]
        start = camera.near / cosines
        found = torch.full((layers, camera.size**2), -1, dtype=torch.int64)
        going = torch.arange(camera.size**2)
        for layer in range(layers):
            ray = directions[going]
            origin = c2w[:3, 3] + start[going, None] * ray
            packed = torch.cat([origin, ray], dim=-1).numpy()
            hit = scene.cast_rays(open3d.core.Tensor(packed), nthreads=threads)
            distance = torch.from_numpy(hit["t_hit"].numpy())
            face = torch.from_numpy(hit["primitive_ids"].numpy().astype(np.int64))
            met = torch.isfinite(distance)
            found[layer, going[met]] = face[met]
            start[going] += distance * (1.0 + _BEHIND)
            going = going[met][through[face[met]]]
        return found.reshape(layers, camera.size, camera.size).to(mesh.device)

    return find


def _pytorch3d(mesh: Mesh, layers: int) -> Callable[[Camera], Tensor]:
    check_backend("pytorch3d")
    structures: Any = require("pytorch3d.structures", "meshes")
    library: Any = require("pytorch3d.renderer.mesh.rasterize_meshes", "meshes")

    def find(camera: Camera) -> Tensor:
        rotation, translation = to_pytorch3d(camera.camera_to_world.detach().to(mesh.vertices))
        x, y, z = (mesh.vertices.detach() @ rotation + translation).float().unbind(-1)
        ahead = z.clamp(min=1e-6) if bool((z > 0).all()) else torch.where(z.abs() < 1e-6, 1e-6, z)
        zoom = 1.0 / math.tan(math.radians(0.5 * camera.fov_deg))
        screen = torch.stack([zoom * x / ahead, zoom * y / ahead, z], dim=-1)
        bins = 2 ** max(math.ceil(math.log2(camera.size)) - 4, 4)
        lists = math.ceil(camera.size / bins) ** 2 * len(mesh.faces) * 4
        face_ids, depth, *_ = library.rasterize_meshes(
            structures.Meshes([screen], [mesh.faces]),
            image_size=camera.size,
            blur_radius=_EDGE,
            faces_per_pixel=layers,
            # Its bins drop faces, with a warning only, when one overflows: make room for all.
            bin_size=None if lists <= _BIN_BYTES else 0,
            max_faces_per_bin=len(mesh.faces),
            perspective_correct=True,
            # Clipping costs time, and only cameras close to the mesh need it.
            z_clip_value=camera.near if bool((z < camera.near).any()) else None,
        )
        return _one_each(face_ids[0].permute(2, 0, 1), depth[0].permute(2, 0, 1))

    return find


def _one_each(face_ids: Tensor, depth: Tensor) -> Tensor:
    """Return face ids ``[L, S, S]`` without those at the depth of the one before, as next to an
    edge."""
    same = (face_ids[1:] >= 0) & (depth[1:] <= depth[:-1] * (1.0 + _BEHIND))
    face_ids = torch.cat([face_ids[:1], face_ids[1:].masked_fill(same, -1)])
    return face_ids.gather(0, torch.argsort((face_ids < 0).int(), dim=0, stable=True))
