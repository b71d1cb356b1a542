"""What textures cost: processor time and peak memory against faces, texture size and images.

    python benchmarks/texture.py [--full] [--out FILE]

Each row runs in a process of its own, of one thread, so that its processor time is the same on a
busy machine and its peak of memory its own; the peak includes the libraries, which have a row too.
The mesh is a ball with bumps, its colours a formula. --full adds the largest sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import trimesh
from _measuring import peak_mib, processor_time, tabulate
from torch import Tensor

from zero123lib.meshes.atlas import unwrap
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.refine import RefineSettings, refine
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.meshes.texture import bake, with_vertex_colors
from zero123lib.meshes.texture_views import texture_from_views
from zero123lib.views.poses import Pose

FACES, LARGE_FACES = (5_120, 20_480, 81_920), (327_680,)
SIZES, LARGE_SIZES = (512, 1024, 2048), (4096,)
PICTURES = (4, 12, 24)
USUAL_FACES, USUAL_SIZE, USUAL_PICTURES, PIXELS = 20_480, 1024, 12, 256


def bumpy(faces: int) -> Mesh:
    """A ball with bumps of 20 * 4 ** n faces."""
    ball = trimesh.creation.icosphere({20 * 4**n: n for n in range(9)}[faces], 0.45)
    vertices = torch.from_numpy(ball.vertices.astype("float32"))
    bumps = 1.0 + 0.05 * torch.sin(vertices * 30.0).prod(-1, keepdim=True)
    return Mesh(vertices * bumps, torch.from_numpy(ball.faces.astype("int64")))


def colorful(points: Tensor) -> Tensor:
    """Colours that change with the place."""
    return 0.5 + 0.5 * torch.sin(20.0 * points)


def pictures(mesh: Mesh, count: int) -> tuple[Tensor, list[Camera]]:
    """Images of the mesh from all around, and their cameras."""
    poses = [Pose(30.0 * (-1) ** i, 360.0 * i / count, 1.85) for i in range(count)]
    cameras = [Camera.at(pose, PIXELS) for pose in poses]
    colored = with_vertex_colors(mesh, colorful)
    return torch.stack([render(colored, c, AMBIENT, 2).color for c in cameras]), cameras


def prepared(kind: str, number: int) -> Callable[[], object]:
    """What a row measures."""
    mesh = bumpy(number if kind == "unwrap" else USUAL_FACES)
    if kind == "unwrap":
        return lambda: unwrap(mesh, USUAL_SIZE, limit_s=1e6)
    if kind == "bake":
        unwrapped = unwrap(mesh, number)
        return lambda: bake(unwrapped, colorful, number)
    count = number if kind == "views, by images" else USUAL_PICTURES
    images, cameras = pictures(mesh, count)
    if kind == "refine, 10 steps":
        settings = RefineSettings(steps=10)
        start = with_vertex_colors(mesh, colorful)
        return lambda: list(refine(start, images, cameras, settings))
    size = number if kind == "views, by texels" else USUAL_SIZE
    unwrapped = unwrap(mesh, size)
    return lambda: texture_from_views(unwrapped, images, cameras, size)


def row(kind: str, number: int) -> dict:
    """One row of the table, measured in this process."""
    action = prepared(kind, number) if number else lambda: bake(bumpy(20), colorful, 16)
    before = processor_time()
    action()
    seconds = processor_time() - before
    return {
        "kind": kind,
        "number": number,
        "cpu_s": round(seconds, 2),
        "peak_mib": peak_mib(),
    }


def rows(full: bool) -> list[tuple[str, int]]:
    """All rows: what is done, and the number of faces, texels along a side, or images."""
    sizes = (*SIZES, *(LARGE_SIZES if full else ()))
    return [
        ("libraries loaded", 0),
        *(("unwrap", faces) for faces in (*FACES, *(LARGE_FACES if full else ()))),
        *((kind, size) for kind in ("bake", "views, by texels") for size in sizes),
        *(("views, by images", count) for count in PICTURES),
        ("refine, 10 steps", USUAL_FACES),
    ]


if __name__ == "__main__":
    tabulate(__file__, __doc__, rows, row)
