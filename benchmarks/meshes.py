"""What meshes cost: processor time and peak memory against grid, faces and texture size.

    python benchmarks/meshes.py [--full] [--out FILE]

Each row runs in a process of its own, of one thread: its processor time is the same on a busy
machine, and its peak of memory is its own. The memory that is taken once the libraries are loaded
stands in a row of its own; peaks include it. The field is a formula, so that what is measured is
the extraction; a learned field's own time comes on top. --full adds the largest sizes.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
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
    before = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = action()
    after = resource.getrusage(resource.RUSAGE_SELF)
    later = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, own + later.ru_utime + later.ru_stime - children.ru_utime - children.ru_stime


def surface(faces: int) -> Mesh:
    """A mesh of about so many faces."""
    return extract(knobbly, resolution={**FACES, **LARGE_FACES}[faces], level=25.0)


def row(kind: str, size: int) -> dict:
    """One row of the table, measured in this process."""
    torch.set_num_threads(1)
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Kilobytes, but bytes on a Mac.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "kind": kind,
        "size": size,
        "faces": faces,
        "cpu_s": round(seconds, 2),
        "peak_mib": round(max(peak, children) / unit),
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


def main() -> None:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="the largest sizes, too")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(row(options.row[0], int(options.row[1]))))
        return
    table = []
    for kind, size in rows(options.full):
        command = [sys.executable, __file__, "--row", kind, str(size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        table.append(json.loads(done.stdout.splitlines()[-1]))
        found = table[-1]
        print(f"{kind:18s} {size:8d} {found['faces'] or '':>9} {found['cpu_s']:8.2f} s "
              f"{found['peak_mib']:6d} MiB", flush=True)  # fmt: skip
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    options.out.write_text(json.dumps({"machine": machine, "rows": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
