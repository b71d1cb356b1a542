"""Meshes made fit for use: repaired, rid of loose parts and hollows, smoothed, thinned.

The steps, in order. Each is left out where its setting says so.

    parts        faces without area or twice there go; loose parts that are too small go
    orientation  neighbours agree on which side is outside, and closed parts face outwards
    holes        small holes are closed
    cavities     closed hollows inside a solid, which nobody can see, go
    smoothing    Taubin (1995), by Open3D: noise goes, and far less volume than by plain averaging
    decimation   quadric error (Garland and Heckbert 1997), by Open3D, to a number of faces
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._optional import require
from zero123lib.meshes.corners import per_vertex
from zero123lib.meshes.holes import close_holes
from zero123lib.meshes.inspect import Facts, surface_facts
from zero123lib.meshes.mesh import Material, Mesh
from zero123lib.meshes.normals import crease_normals, smooth_normals
from zero123lib.meshes.surface import Surface, from_mesh, to_mesh, without_slivers
from zero123lib.meshes.texture import surface_colors
from zero123lib.meshes.topology import (
    areas,
    distinct,
    edges,
    first_of_each,
    shells,
    slivers,
    vertex_components,
    volumes,
    weld,
)

# The filter lets coarse shape grow a little with each round: far more of them make a balloon.
MAX_ROUNDS = 100

# Hollows are looked for in so many of the largest solids.
_SOLIDS = 100
# A part whose volume is below this share of that of a ball with its area is a sheet: it has no
# outside.
_SHEET = 0.01


@dataclass(frozen=True)
class Cleaning:
    """Holds what `clean` does.

    Attributes:
        min_share: a part stays where its area is at least this share of the largest part's; 1
            keeps the largest alone, 0 keeps all.
        max_hole: holes of up to this radius are closed, as a share of the longest side of the
            bounding box; 0 closes none.
        fill_cavities: remove closed hollows inside solids, unless a material lets see through.
        smooth: rounds of Taubin smoothing, up to 100; the volume drifts with them.
        max_faces: thinned to this many; None keeps all.

    Raises:
        ValueError: a setting is out of range.
    """

    min_share: float = 0.01
    max_hole: float = 0.1
    fill_cavities: bool = True
    smooth: int = 0
    max_faces: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_share <= 1.0:
            raise ArgumentError("min_share", "a share from 0 to 1", f"{self.min_share:g}")
        if not 0.0 <= self.max_hole <= 1.0:
            raise ArgumentError("max_hole", "a share from 0 to 1", f"{self.max_hole:g}")
        if not 0 <= self.smooth <= MAX_ROUNDS:
            raise ArgumentError("smooth", f"0 to {MAX_ROUNDS} rounds", str(self.smooth))
        if self.max_faces is not None and self.max_faces < 4:
            raise ArgumentError("max_faces", "at least 4", str(self.max_faces))


@dataclass(frozen=True)
class Step:
    """One step of cleaning, with the numbers before and after it."""

    name: str
    before: Facts
    after: Facts


@dataclass(frozen=True, eq=False)
class Cleaned:
    """Holds what `clean` has made.

    Attributes:
        mesh: float32, on the CPU, no two vertices at one place.
        steps: those that were taken.
        dropped: what the mesh had and has no more, in words.
    """

    mesh: Mesh
    steps: tuple[Step, ...]
    dropped: tuple[str, ...] = ()


def clean(
    mesh: Mesh, settings: Cleaning | None = None, tell: Callable[[Step], None] | None = None
) -> Cleaned:
    """Clean a mesh, see above.

    Materials, textures and their coordinates stay with the faces that stay; closed holes look like
    their surroundings. Decimation moves faces across textures: it leaves the colours of the
    surface at the new vertices instead. Normals are made anew where the shape changes.

    Args:
        mesh: any; it is not changed.
        settings: of `Cleaning`; None takes its defaults.
        tell: called after each step.

    Raises:
        ValueError: the mesh has no face with an area, none is left when it is thinned, or
            smoothing would open what is closed.
        MissingExtraError: Open3D is not installed, and smoothing, thinning or hollows need it.
    """
    settings = settings or Cleaning()
    surface = from_mesh(mesh)
    before = surface_facts(surface.positions, surface.faces)
    steps = []

    def take(name: str, work: Callable[[Surface], Surface]) -> None:
        nonlocal surface, before
        made = work(surface)
        after = before if made is surface else surface_facts(made.positions, made.faces)
        steps.append(Step(name, before, after))
        surface, before = made, after
        if tell:
            tell(steps[-1])

    take("parts", lambda one: _large_parts(_whole_faces(one), settings.min_share))
    take("orientation", _oriented)
    if settings.max_hole > 0.0:
        take("holes", lambda one: _closed(one, settings.max_hole))
    if settings.fill_cavities and not bool(mesh.see_through.any()):
        take("cavities", _solid)
    if settings.smooth:
        take("smoothing", lambda one: _smoothed(one, settings.smooth))
    full, budget = surface, settings.max_faces
    if budget is not None and len(full.faces) > budget:
        take("decimation", lambda one: _thinned(one, budget))
    normals = _normals(mesh, surface, moved=settings.smooth > 0 or surface is not full)
    if surface is full:
        return Cleaned(to_mesh(surface, mesh, normals), tuple(steps))
    cleaned, dropped = _recolored(to_mesh(surface, mesh, normals), to_mesh(full, mesh, None))
    return Cleaned(cleaned, tuple(steps), dropped)


def _whole_faces(surface: Surface) -> Surface:
    """Return what is left without faces that have no area or are there twice."""
    whole = distinct(surface.faces)
    if not whole.all():
        surface = surface.take(whole)
    surface = without_slivers(surface)
    firsts = first_of_each(surface.faces)
    return surface.take(firsts) if len(firsts) < len(surface.faces) else surface


def _large_parts(surface: Surface, min_share: float) -> Surface:
    if slivers(surface.triangles).all():
        raise ArgumentError("mesh", "a surface", "triangles without any area")
    part = vertex_components(surface.faces, len(surface.positions))
    size = np.bincount(part, areas(surface.triangles))
    # Of several largest parts "the largest alone" is one.
    large = (
        size >= min_share * size.max() if min_share < 1.0 else np.arange(len(size)) == size.argmax()
    )
    return surface if large.all() else surface.take(large[part])


def _oriented(surface: Surface) -> Surface:
    """Return all shells wound alike, and outwards where they are closed or at least have an inside.

    A closed shell that is inside out stays so where it is in another solid: it is a hollow.
    """
    found = shells(surface.faces, areas(surface.triangles))
    surface = surface.turned(found.flip)
    triangles = surface.triangles
    # Measured from each shell's own middle, so that open ones have a volume, too.
    middle = _means(triangles.mean(1), found.of)
    volume = np.bincount(found.of, volumes(triangles - middle[found.of][:, None]))
    ball = np.bincount(found.of, areas(triangles)) ** 1.5 / (6.0 * np.sqrt(np.pi))
    inverted = found.orientable & (volume < -np.where(found.closed, 0.0, _SHEET * ball))
    hollow = _hollows(surface, found.of, found.closed, volume)
    return surface.turned((inverted & ~hollow)[found.of])


def _solid(surface: Surface) -> Surface:
    found = shells(surface.faces, areas(surface.triangles))
    centred = surface.triangles - surface.positions.mean(0)
    volume = np.bincount(found.of, volumes(centred))
    hollow = _hollows(surface, found.of, found.closed, volume)
    return surface.take(~hollow[found.of]) if hollow.any() else surface


def _hollows(
    surface: Surface, shell: np.ndarray, closed: np.ndarray, volume: np.ndarray
) -> np.ndarray:
    """Return which shells are closed, inside out, and within a closed one that is not, bool."""
    hollow = np.zeros(len(volume), bool)
    inverted = np.flatnonzero(closed & (volume < 0.0))
    solids = np.flatnonzero(closed & (volume > 0.0))
    if not len(inverted) or not len(solids):
        return hollow
    o3d: Any = require("open3d", "meshes")
    _, firsts = np.unique(shell, return_index=True)
    probes = surface.positions[surface.faces[firsts[inverted], 0]].astype(np.float32)
    for solid in solids[np.argsort(-volume[solids])][:_SOLIDS]:
        scene = o3d.t.geometry.RaycastingScene()
        used, faces = np.unique(surface.faces[shell == solid], return_inverse=True)
        scene.add_triangles(
            surface.positions[used].astype(np.float32), faces.reshape(-1, 3).astype(np.uint32)
        )
        hollow[inverted] |= scene.compute_occupancy(probes, nsamples=3).numpy() > 0.5
    return hollow


def _closed(surface: Surface, max_hole: float) -> Surface:
    longest = float(np.ptp(surface.triangles.reshape(-1, 3), axis=0).max())
    added = close_holes(surface.positions, surface.faces, max_hole * longest)
    return without_slivers(surface.with_faces(added)) if len(added) else surface


def _smoothed(surface: Surface, rounds: int) -> Surface:
    o3d: Any = require("open3d", "meshes")
    smooth = _legacy(o3d, surface).filter_smooth_taubin(
        rounds, filter_scope=o3d.geometry.FilterScope.Vertex
    )
    positions = surface.positions.copy()
    used = np.unique(surface.faces)
    positions[used] = np.asarray(smooth.vertices)[used]
    made = _rounded(replace(surface, positions=positions))
    if not len(made.faces) or (_is_closed(surface) and not _is_closed(made)):
        raise ArgumentError(
            "smooth",
            "fewer rounds",
            f"{rounds}, in which parts of the surface shrink to nothing; small ones do so first",
        )
    return made


def _is_closed(surface: Surface) -> bool:
    return bool((edges(surface.faces).counts == 2).all())


def _rounded(surface: Surface) -> Surface:
    """Keep positions that float32 tells apart, as files do, and no faces that this flattens."""
    positions = surface.positions.astype(np.float32).astype(np.float64)
    place, firsts = weld(positions, surface.faces)
    colors = None if surface.colors is None else surface.colors[firsts]
    made = replace(surface, positions=positions[firsts], faces=place[surface.faces], colors=colors)
    return without_slivers(made.take(distinct(made.faces)))


def _thinned(surface: Surface, budget: int) -> Surface:
    """Keep at most so many faces; what belongs to corners is gone."""
    o3d: Any = require("open3d", "meshes")
    thin = _legacy(o3d, surface).simplify_quadric_decimation(budget)
    positions, faces = np.asarray(thin.vertices), np.asarray(thin.triangles).astype(np.int64)
    made = Surface(positions, faces)
    if slivers(made.triangles).all():
        raise ArgumentError(
            "max_faces", "a number that leaves a surface", f"{budget}, which leaves none"
        )
    return _whole_faces(made)


def _legacy(o3d: Any, surface: Surface) -> Any:
    return o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(surface.positions),
        o3d.utility.Vector3iVector(surface.faces.astype(np.int32)),
    )


def _normals(mesh: Mesh, surface: Surface, moved: bool) -> Tensor | None:
    """Return the surface's normals: its own, or new ones of the same kind where faces have
    moved."""
    if mesh.normals is None:
        return None
    if not moved and surface.normals is not None:
        return torch.from_numpy(surface.normals)
    positions, faces = torch.from_numpy(surface.positions), torch.from_numpy(surface.faces)
    smooth = per_vertex(mesh.normals.cpu(), mesh.to("cpu")) is not None
    return (smooth_normals if smooth else crease_normals)(positions, faces).float()


def _recolored(thin: Mesh, full: Mesh) -> tuple[Mesh, tuple[str, ...]]:
    """Return a thinned mesh with the colours of the full one at its vertices; what is lost by
    that."""
    only = full.materials[0]
    if full.vertex_colors is None and full.face_material is None and only.texture is None:
        return replace(thin, materials=(only,)), ()
    colors = surface_colors(full)(thin.vertices)
    colors = torch.cat([colors, torch.ones(len(colors), 1)], dim=1)
    dropped = []
    if any(material.texture is not None for material in full.materials):
        dropped.append("textures, but for their colours at the vertices")
    if bool(full.see_through.any()):
        dropped.append("transparency")
    return replace(thin, materials=(Material(),), vertex_colors=colors), tuple(dropped)


def _means(points: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return means ``[G, 3]`` of points ``[N, 3]`` by group ``[N]``."""
    counts = np.bincount(group)
    return np.stack([np.bincount(group, axis) / counts for axis in points.T], axis=1)
