"""One geometry of a file, as readers give it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from zero123lib.meshes.materials import PLAIN_LOOK, Look


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a mesh, in the file's axes. Arrays as in `Mesh`, but for their types.

    Attributes:
        vertices: float64 ``[V, 3]``.
        faces: int64 ``[F, 3]``, wound counter-clockwise seen from outside.
        looks: at least one.
        kinds: the look of each face, int64 ``[F]``; None gives all faces the first.
        uv: texture coordinates of the corners ``[F, 3, 2]``, origin at the lower left.
        colors: sRGB with alpha ``[V, 4]`` in [0, 1].
        normals: of the corners ``[F, 3, 3]``, of any length, 0 where there is none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    looks: tuple[Look, ...] = (PLAIN_LOOK,)
    kinds: np.ndarray | None = None
    uv: np.ndarray | None = None
    colors: np.ndarray | None = None
    normals: np.ndarray | None = None

    def placed(self, matrices: np.ndarray) -> Piece:
        """Return the piece moved by one matrix ``[4, 4]``, or one for each vertex ``[V, 4, 4]``."""
        linear = matrices[..., :3, :3]
        sign = np.sign(np.linalg.det(linear))
        if linear.ndim == 2:
            moved = self.vertices @ linear.T + matrices[:3, 3]
        else:
            moved = np.einsum("vij,vj->vi", linear, self.vertices) + matrices[:, :3, 3]
        normals = self.normals
        if normals is not None:
            turned = _cofactors(linear) * np.where(sign < 0.0, -1.0, 1.0)[..., None, None]
            if turned.ndim == 2:
                normals = normals @ turned.T
            else:
                normals = np.einsum("fkij,fkj->fki", turned[self.faces], normals)
        piece = replace(self, vertices=moved, normals=normals)
        return piece.mirrored() if np.mean(sign) < 0.0 else piece

    def mirrored(self) -> Piece:
        """Return the piece with its faces wound the other way."""
        parts = {
            name: None if value is None else value[:, ::-1]
            for name in ("faces", "uv", "normals")
            for value in [getattr(self, name)]
        }
        return replace(self, **parts)

    def take(self, chosen: np.ndarray) -> Piece:
        """Return the piece with only some faces, by number or as bool ``[F]``."""
        parts = {
            name: None if value is None else value[chosen]
            for name in ("faces", "kinds", "uv", "normals")
            for value in [getattr(self, name)]
        }
        return replace(self, **parts)


def split_by_texture(piece: Piece) -> list[Piece]:
    """Return a piece in two where it has both textures and colours at its vertices.

    A texture holds all of a face's colour in the formats whose vertices' colours do not tint it.
    """
    textured = np.array([look.image is not None for look in piece.looks])
    if piece.colors is None or not textured.any():
        return [piece]
    which = textured[np.zeros(len(piece.faces), int) if piece.kinds is None else piece.kinds]
    parts = [replace(piece.take(which), colors=None), piece.take(~which)]
    return [part for part in parts if len(part.faces)]


def _cofactors(linear: np.ndarray) -> np.ndarray:
    """Return what turns normals as ``[..., 3, 3]`` turns points, but for a factor, also where it
    is flat: det(M) times the inverse's transpose."""
    a, b, c = (linear[..., column] for column in range(3))
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-1)


def check_faces(faces: np.ndarray, vertices: int, first: int = 0) -> np.ndarray:
    """Return indices of vertices as int64.

    Args:
        first: what the file calls the vertex of number 0, for the message.

    Raises:
        ValueError: one is out of range.
    """
    faces = faces.astype(np.int64)
    if faces.size and (faces.min() < 0 or faces.max() >= vertices):
        worst = faces.min() if faces.min() < 0 else faces.max()
        raise ValueError(
            f"expected faces of {vertices} vertices, from {first} to {vertices - 1 + first}, got "
            f"one of number {worst + first}"
        )
    return faces
