"""A mesh whose vertices are welded, as arrays that cleaning can take faces from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from zero123lib.meshes.colors import first_corners
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.topology import edges, slivers, weld

_MAX_FLIPS = 20_000
_FLIP_ROUNDS = 8


@dataclass(frozen=True, eq=False)
class Surface:
    """Faces and what belongs to them.

    Attributes:
        positions: float64 ``[P, 3]``, no two the same.
        faces: int64 ``[F, 3]``.
        colors: of the positions ``[P, 4]``, as of `Mesh.vertex_colors`.
        uv, normals: of the corners ``[F, 3, D]``.
        kinds: material of each face ``[F]``.
    """

    positions: np.ndarray
    faces: np.ndarray
    colors: np.ndarray | None = None
    uv: np.ndarray | None = None
    normals: np.ndarray | None = None
    kinds: np.ndarray | None = None

    @property
    def triangles(self) -> np.ndarray:
        return self.positions[self.faces]

    def take(self, chosen: np.ndarray) -> Surface:
        """Take only some faces, by number or as bool ``[F]``."""
        parts = {
            field.name: None if value is None else value[chosen]
            for field in fields(self)
            if field.name not in ("positions", "colors")
            for value in [getattr(self, field.name)]
        }
        return replace(self, **parts)

    def turned(self, which: np.ndarray) -> Surface:
        """Wind some faces, bool ``[F]``, the other way."""
        if not which.any():
            return self
        parts = {}
        for name in ("faces", "uv", "normals"):
            value = getattr(self, name)
            if value is not None:
                value = value.copy()
                value[which] = value[which][:, ::-1]
            parts[name] = value
        if parts["normals"] is not None:
            parts["normals"][which] *= -1.0
        return replace(self, **parts)

    def with_faces(self, faces: np.ndarray) -> Surface:
        """Add faces between the positions there are, looking like those around them."""
        if not len(faces):
            return self
        corner = first_corners(torch.from_numpy(self.faces), len(self.positions)).numpy()[faces]
        parts = {"faces": np.concatenate([self.faces, faces])}
        if self.uv is not None:
            parts["uv"] = np.concatenate([self.uv, self.uv.reshape(-1, 2)[corner]])
        if self.normals is not None:
            parts["normals"] = np.concatenate([self.normals, self.normals.reshape(-1, 3)[corner]])
        if self.kinds is not None:
            parts["kinds"] = np.concatenate([self.kinds, self.kinds[corner[:, 0] // 3]])
        return replace(self, **parts)


def from_mesh(mesh: Mesh) -> Surface:
    """Return a mesh's surface; vertices at one place are one, with the mean of their colours."""
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float64)
    faces = mesh.faces.cpu().numpy()
    place, firsts = weld(vertices, faces)
    colors = _array(mesh.vertex_colors)
    if colors is not None:
        counts = np.bincount(place)
        sums = [np.bincount(place, channel) / counts for channel in colors.T]
        colors = np.stack(sums, axis=1).astype(np.float32)
    return Surface(
        vertices[firsts],
        place[faces],
        colors,
        _array(mesh.uv),
        _array(mesh.normals),
        _array(mesh.face_material),
    )


def to_mesh(surface: Surface, like: Mesh, normals: Tensor | None) -> Mesh:
    """Return the mesh of a surface, with the materials of another one, on the CPU."""
    used, faces = np.unique(surface.faces, return_inverse=True)

    def tensor(value: np.ndarray | None) -> Tensor | None:
        return None if value is None else torch.from_numpy(np.ascontiguousarray(value))

    return Mesh(
        torch.from_numpy(surface.positions[used].astype(np.float32)),
        torch.from_numpy(faces.reshape(-1, 3)),
        like.to("cpu").materials,
        tensor(surface.kinds),
        tensor(surface.uv),
        None if surface.colors is None else tensor(surface.colors[used]),
        normals,
        like.info,
    )


def without_slivers(surface: Surface) -> Surface:
    """Take out faces without area, leaving no crack where they were.

    The neighbour beyond a flat face's longest side is cut in two at the face's third corner, which
    lies on that side. Where nothing lies beyond it, or several faces do, it just goes, and so do
    all where there are very many. The few whose one neighbour cannot be cut stay.
    """
    for _ in range(_FLIP_ROUNDS):
        flat = np.flatnonzero(slivers(surface.triangles))
        if len(flat) > _MAX_FLIPS:
            return surface.take(~slivers(surface.triangles))
        if not len(flat):
            break
        surface, changed = _flipped(surface, flat)
        if not changed:
            found = edges(surface.faces)
            apart = (found.counts[found.of] != 2).reshape(-1, 3).any(1)
            surface = surface.take(~(slivers(surface.triangles) & apart))
            break
    return surface


def _flipped(surface: Surface, flat: np.ndarray) -> tuple[Surface, bool]:
    """Return one round of `without_slivers`: each neighbour is cut once."""
    faces = surface.faces
    triangles = surface.triangles[flat]
    sides = np.linalg.norm(np.roll(triangles, -1, axis=1) - triangles, axis=2)
    longest = sides.argmax(1)
    a = faces[flat, longest]
    c = faces[flat, (longest + 1) % 3]
    b = faces[flat, (longest + 2) % 3]
    ends = np.zeros(len(surface.positions), bool)
    ends[a] = ends[b] = ends[c] = True
    near = np.flatnonzero(ends[faces].any(1))
    owners: dict[tuple[int, int], list[int]] = {}
    for face, (x, y, z) in zip(near.tolist(), faces[near].tolist(), strict=True):
        for edge in ((x, y), (y, z), (z, x)):
            owners.setdefault((min(edge), max(edge)), []).append(face)
    cut: dict[int, tuple[int, int, int]] = {}
    gone: set[int] = set()
    for face, x, y, z in zip(flat.tolist(), a.tolist(), b.tolist(), c.tolist(), strict=True):
        others = [other for other in owners[(min(x, z), max(x, z))] if other != face]
        if not others:
            gone.add(face)
        elif len(others) == 1 and not {face, *others} & (gone | set(cut)):
            (far,) = set(faces[others[0]].tolist()) - {x, z}
            new = (min(y, far), max(y, far))
            # A second edge where there is one already would have too many faces.
            if y != far and new not in owners:
                owners[new] = []
                cut[others[0]] = (x, y, z)
                gone.add(face)
    keep = np.ones(len(faces), bool)
    keep[[*gone, *cut]] = False
    halves = [_half(surface, other, *cut[other], side) for other in cut for side in (0, 1)]
    return _appended(surface.take(keep), halves), bool(gone)


def _half(surface: Surface, face: int, a: int, b: int, c: int, side: int) -> Surface:
    """Return one half of a face, cut from its corner across from the edge a-c to b on that edge."""
    one = surface.take(np.array([face]))
    k, j = (int(np.flatnonzero(one.faces[0] == vertex)[0]) for vertex in (a, c))
    moved, other = (j, k) if side else (k, j)
    along = np.linalg.norm(surface.positions[[b, c]] - surface.positions[a], axis=1)
    # From the corner that moves towards the other one, to b.
    share = along[0] / along[1] if moved == k else 1.0 - along[0] / along[1]
    parts = {"faces": one.faces.copy()}
    parts["faces"][0, moved] = b
    for name in ("uv", "normals"):
        value = getattr(one, name)
        if value is not None:
            value = value.copy()
            value[0, moved] += (value[0, other] - value[0, moved]) * share
            parts[name] = value
    return replace(one, **parts)


def _appended(surface: Surface, more: list[Surface]) -> Surface:
    if not more:
        return surface
    parts = {
        name: np.concatenate([value, *(getattr(one, name) for one in more)])
        for name in ("faces", "uv", "normals", "kinds")
        for value in [getattr(surface, name)]
        if value is not None
    }
    return replace(surface, **parts)


def _array(values: Tensor | None) -> np.ndarray | None:
    if values is None:
        return None
    array = values.detach().cpu().numpy()
    return array.astype(np.float32) if values.is_floating_point() else array
