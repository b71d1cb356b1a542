"""`zero123 render`: training views of mesh files."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from zero123lib._choices import Lighting, RasterBackend, UpAxis
from zero123lib._errors import ArgumentError
from zero123lib._files import check_folder
from zero123lib._words import count
from zero123lib.cli.options import Degrees, Positive, Seed, check_present, whole

WORK = Parameter(group=Group("The work", sort_key=1))
LOW_HIGH = Parameter(metavar="LOW HIGH")


@Parameter(name="*")
@dataclass(frozen=True)
class Drawing:
    """How each object is rendered.

    Attributes:
        views: cameras per object.
        size: pixels of an image's side; the official data set has 512.
        elevation_deg: cameras are drawn between these elevations, in degrees.
        radius: and between these distances; an object's longest side is 1.
        supersample: samples along a pixel's side.
        light: random, for each object, or fixed.
        up: the files' axis that is up; auto is y for glTF and OBJ, z for PLY and STL.
    """

    views: Annotated[int, whole(1, 1000)] = 12
    size: Annotated[int, whole(8, 8192, "PX")] = 256
    elevation_deg: Annotated[tuple[Degrees, Degrees], LOW_HIGH, Parameter(name="--elevation")] = (
        -90.0,
        90.0,
    )
    radius: Annotated[tuple[Positive, Positive], LOW_HIGH] = (1.5, 2.2)
    supersample: Annotated[int, whole(1, 16)] = 3
    light: Lighting = "random"
    up: UpAxis = "auto"


def render(
    meshes: Annotated[Path, Parameter(name="MESH_OR_FOLDER")],
    out: Annotated[Path, Parameter(name="OUT")],
    /,
    *,
    drawing: Drawing = Drawing(),
    seed: Seed = 0,
    backend: Annotated[RasterBackend, WORK] = "auto",
    device: Annotated[Literal["auto", "cpu", "cuda"], WORK] = "auto",
    workers: Annotated[int | None, whole(0, 1024), WORK] = None,
    timeout: Annotated[Positive, Parameter(metavar="S"), WORK] = 600.0,
) -> int:
    """Render training views of mesh files from the official cameras.

    Meshes are .glb, .gltf, .obj (with its .mtl and textures), .ply and .stl
    files. OUT/NAME/000.png is a view with alpha, 000.npy its camera, in the
    official layout. The same command goes on where it stopped. Meshes that
    cannot be used are named in OUT/failures.json, and the exit status is 1; the
    others are made.

        zero123 render meshes/ data/ --views 12 --size 256
        zero123 render chair.glb data/ --elevation -10 60 --light fixed

    Args:
        meshes: a mesh file, or a folder of such.
        out: folder of the data set.
        seed: of cameras and lights, together with an object's name.
        backend: what rasterizes; auto takes pytorch3d on a GPU where it is installed.
        device: auto takes cuda where pytorch3d can use it.
        workers: processes of one thread; 0 renders in this one (as many as cores; 1 on a GPU).
        timeout: seconds that an object may take.
    """
    from zero123lib.rendering.settings import RenderSettings

    check_present(meshes, "meshes", "a mesh file or a folder")
    check_folder(out)
    settings = RenderSettings(**asdict(drawing), seed=seed)
    from tqdm import tqdm

    from zero123lib.rendering.dataset import FAILURES, render_dataset
    from zero123lib.rendering.objects import find_meshes

    place = _device(device, backend)
    sources = find_meshes(meshes)
    if workers is None:
        workers = 1 if place == "cuda" else os.cpu_count() or 1
    outcomes = render_dataset(
        sources,
        out,
        settings,
        backend=backend,
        device=place,
        workers=min(workers, len(sources)),
        timeout_s=timeout,
    )
    states = {"rendered": 0, "kept": 0, "failed": 0}
    for outcome in tqdm(outcomes, total=len(sources), unit="object", disable=None):
        states[outcome.state] += 1
        if outcome.reason:
            tqdm.write(f"zero123 render: {outcome.reason}", file=sys.stderr)
    print(
        f"{out}: rendered {states['rendered']} of {count(len(sources), 'object')}, "
        f"{count(drawing.views, 'view')} each; {states['kept']} were there already, "
        f"{states['failed']} failed"
    )
    if not states["failed"]:
        return 0
    told = f"{states['failed']} of {len(sources)} meshes: see {out / FAILURES}"
    print(f"zero123 render: could not use {told}", file=sys.stderr)
    return 1


def _device(name: str, backend: RasterBackend) -> str:
    """Return the device, after a look whether what rasterizes there is installed."""
    import torch

    from zero123lib.meshes.rasterize import check_backend, choose_backend

    cuda = torch.cuda.is_available()
    if name == "cuda" and not cuda:
        raise ArgumentError("device", "a device that is here", "'cuda'")
    if name == "auto":
        on_gpu = choose_backend(backend, torch.device("cuda")) == "pytorch3d"
        name = "cuda" if cuda and on_gpu else "cpu"
    check_backend(choose_backend(backend, torch.device(name)))
    return name
