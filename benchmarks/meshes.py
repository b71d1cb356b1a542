"""What meshes cost: processor time and peak memory against grid, faces and texture size.

    python benchmarks/meshes.py [--full] [--out FILE]

Each row runs in a process of its own, of one thread: its processor time is the same on a busy
machine, and its peak of memory is its own. The memory that is taken once the libraries are loaded
stands in a row of its own; peaks include it. The field is a formula, so that what is measured is
the extraction; a learned field's own time comes on top. --full adds the largest sizes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from _measuring import peak_mib, processor_time, tabulate
from torch import Tensor

from zero123lib.meshes.cleanup import Cleaning, clean
from zero123lib.meshes.export import write_mesh
from zero123lib.meshes.extract import extract
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Mesh
from zero123lib.meshes.texture import bake, unwrap

GRIDS, LARGE_GRIDS = (64, 128, 256), (512,)
# Of grids whose surfaces have about as many faces as the table says.
FACES = {50_000: 104, 200_000: 207, 800_000: 415}
LARGE_FACES = {3_000_000: 803}
SIZES, LARGE_SIZES = (512, 1024, 2048), (4096,)
BUDGET = 20_000


def knobbly(points: Tensor) -> Tensor:
    """The density of a ball with bumps, 50 inside."""
    x, y, z = points.unbind(-1)
    bumps = 0.03 * torch.sin(14.0 * x) * torch.sin(14.0 * y) * torch.sin(14.0 * z)
    return 50.0 * torch.sigmoid((0.42 + bumps - points.norm(dim=-1)) * 200.0)


def colorful(points: Tensor) -> Tensor:
    """Colours that change with the place."""
    return 0.5 + 0.5 * torch.sin(20.0 * points)


def spent(action: Callable[[], object]) -> tuple[object, float]:
    """What an action returns, and its processor time in seconds."""
    before = processor_time()
    return action(), processor_time() - before


def surface(faces: int) -> Mesh:
    """A mesh of about so many faces."""
    return extract(knobbly, resolution={**FACES, **LARGE_FACES}[faces], level=25.0)


def row(kind: str, size: int) -> dict:
    """One row of the table, measured in this process."""
    faces = None
    if kind == "libraries loaded":
        extract(knobbly, resolution=8, level=25.0)
        seconds = 0.0
    elif kind == "extract":
        made, seconds = spent(lambda: extract(knobbly, resolution=size))
        faces = len(made.faces)  # pyright: ignore[reportAttributeAccessIssue]
    elif kind == "bake":
        mesh = clean(surface(50_000), Cleaning(max_faces=BUDGET)).mesh
        unwrapped, seconds = spent(lambda: unwrap(mesh, size))
        assert isinstance(unwrapped, Mesh)
        _, more = spent(lambda: bake(unwrapped, colorful, size))
        faces, seconds = len(mesh.faces), seconds + more
    else:
        mesh = surface(size)
        faces = len(mesh.faces)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.glb"
            if kind == "read":
                write_mesh(path, mesh)
            actions: dict[str, Callable[[], object]] = {
                "clean": lambda: clean(mesh),
                "clean, thin": lambda: clean(mesh, Cleaning(max_faces=BUDGET)),
                "write": lambda: write_mesh(path, mesh),
                "read": lambda: load_mesh(path),
            }
            _, seconds = spent(actions[kind])
    return {
        "kind": kind,
        "size": size,
        "faces": faces,
        "cpu_s": round(seconds, 2),
        "peak_mib": peak_mib(),
    }


def rows(full: bool) -> list[tuple[str, int]]:
    """All rows: what is done, and the grid, number of faces or texture size."""
    faces = [*FACES, *(LARGE_FACES if full else ())]
    return [
        ("libraries loaded", 0),
        *(("extract", grid) for grid in (*GRIDS, *(LARGE_GRIDS if full else ()))),
        *((kind, count) for count in faces for kind in ("clean", "clean, thin", "write", "read")),
        *(("bake", size) for size in (*SIZES, *(LARGE_SIZES if full else ()))),
    ]


if __name__ == "__main__":
    tabulate(__file__, __doc__, rows, row)
