"""What a mesh is made of, in numbers: the answer to "can this be printed, textured, simulated?"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.topology import (
    areas,
    distinct,
    edges,
    first_of_each,
    slivers,
    vertex_components,
    volumes,
    weld,
)


@dataclass(frozen=True)
class Facts:
    """A surface in numbers. Vertices at the same place count as one.

    Attributes:
        positions: vertices that faces use.
        faces: triangles.
        components: parts that hang together by vertices.
        border_edges: edges of a single face; 0 where there are no holes.
        branching_edges: edges of three faces or more, where the surface is no surface.
        opposed_edges: edges of two faces that are wound against each other.
        degenerate_faces: faces without area: see `topology.slivers`.
        duplicate_faces: faces on the same three positions as another one.
        area: scene units squared.
        volume: signed, scene units cubed, above 0 where the surface faces outwards; None where it
            is not closed.
    """

    positions: int
    faces: int
    components: int
    border_edges: int
    branching_edges: int
    opposed_edges: int
    degenerate_faces: int
    duplicate_faces: int
    area: float
    volume: float | None

    @property
    def watertight(self) -> bool:
        """Tell whether every edge has exactly two faces."""
        return not self.border_edges and not self.branching_edges

    @property
    def oriented(self) -> bool:
        """Tell whether neighbours agree on which of their sides is outside."""
        return not self.opposed_edges


def facts(mesh: Mesh) -> Facts:
    """Return the numbers of a mesh."""
    vertices = mesh.vertices.detach().cpu().numpy().astype(np.float64)
    faces = mesh.faces.cpu().numpy()
    place, firsts = weld(vertices, faces)
    return surface_facts(vertices[firsts], place[faces])


def surface_facts(positions: np.ndarray, faces: np.ndarray) -> Facts:
    """Count what faces ``[F, 3]`` of positions ``[P, 3]``, no two of them the same, make up."""
    # A face that has one place twice is no face: its neighbours are each other's.
    whole = faces[distinct(faces)]
    found = edges(whole)
    triangles = positions[faces]
    closed = bool((found.counts == 2).all()) and len(whole) > 0
    return Facts(
        positions=len(np.unique(faces)),
        faces=len(faces),
        components=int(vertex_components(faces, len(positions)).max(initial=-1)) + 1,
        border_edges=int((found.counts == 1).sum()),
        branching_edges=int((found.counts > 2).sum()),
        opposed_edges=int(((found.counts == 2) & ~found.opposed).sum()),
        degenerate_faces=int(slivers(triangles).sum()),
        duplicate_faces=len(whole) - len(first_of_each(whole)),
        area=float(areas(triangles).sum()),
        volume=float(volumes(triangles - positions.mean(0)).sum()) if closed else None,
    )
