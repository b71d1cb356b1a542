"""`zero123 render`: training views of mesh files, with progress."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from zero123lib.cli.arguments import degrees, one_of, positive, whole

# Named again here, since the rooms that own them load torch; a test keeps them the same.
BACKENDS = ("auto", "open3d", "pytorch3d")
LIGHTS = ("random", "fixed")
UPS = ("auto", "y", "z")
DEVICES = ("auto", "cpu", "cuda")

EPILOG = """examples:
  zero123 render meshes/ data/ --views 12 --size 256
  zero123 render chair.glb data/ --elevation -10 60 --light fixed

Meshes are .glb, .gltf, .obj (with its .mtl and textures), .ply and .stl files. OUT/NAME/000.png is
a view with alpha, 000.npy its camera, in the official layout. The same command goes on where it
stopped. Meshes that cannot be used are named in OUT/failures.json; the others are made."""


def add_render(verbs: Any) -> None:
    """Add the verb `render` to a parser's verbs."""
    parser = verbs.add_parser(
        "render",
        description="Render training views of mesh files from the official cameras.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "meshes", type=Path, metavar="MESH_OR_FOLDER", help="a mesh file, or a folder of such"
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the data set")
    _add_pictures(parser.add_argument_group("pictures"))
    _add_work(parser.add_argument_group("work"))
    parser.set_defaults(run=run)


def _add_pictures(group: Any) -> None:
    group.add_argument(
        "--views", type=whole(1, 1000), default=12, metavar="N", help="cameras per object (12)"
    )
    group.add_argument(
        "--size", type=whole(8, 8192), default=256, metavar="PX",
        help="pixels of a picture's side; the official data set has 512 (256)",
    )  # fmt: skip
    group.add_argument(
        "--elevation", type=degrees, nargs=2, default=(-90.0, 90.0), metavar=("LOW", "HIGH"),
        help="cameras are drawn between these elevations, in degrees (-90 90)",
    )  # fmt: skip
    group.add_argument(
        "--radius", type=positive, nargs=2, default=(1.5, 2.2), metavar=("LOW", "HIGH"),
        help="and between these distances; an object's longest side is 1 (1.5 2.2)",
    )  # fmt: skip
    group.add_argument(
        "--seed", type=whole(0, 2**63 - 1), default=0, metavar="N",
        help="of cameras and lights, together with an object's name (0)",
    )  # fmt: skip
    group.add_argument(
        "--supersample", type=whole(1, 16), default=3, metavar="N",
        help="samples along a pixel's side (3)",
    )  # fmt: skip
    group.add_argument(
        "--light", type=one_of(LIGHTS), default="random", metavar="NAME",
        help="random, for each object, or fixed (random)",
    )  # fmt: skip
    group.add_argument(
        "--up", type=one_of(UPS), default="auto", metavar="AXIS",
        help="the files' axis that is up: y, z, or auto: y for glTF and OBJ, z for PLY and STL "
        "(auto)",
    )  # fmt: skip


def _add_work(group: Any) -> None:
    group.add_argument(
        "--backend", type=one_of(BACKENDS), default="auto", metavar="NAME",
        help="what rasterises: open3d, pytorch3d, or auto: pytorch3d on a GPU where it is "
        "installed (auto)",
    )  # fmt: skip
    group.add_argument(
        "--device", type=one_of(DEVICES), default="auto", metavar="NAME",
        help="cpu, cuda, or auto: cuda where pytorch3d can use it (auto)",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=whole(0, 1024), metavar="N",
        help="processes, of one thread each; 0 renders in this one, unprotected from meshes that "
        "crash or hang (as many as cores; 1 on a GPU)",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=positive, default=600.0, metavar="S",
        help="seconds that an object may take (600)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Render what is not there yet, with a bar of the objects where stderr is a terminal.

    Returns:
        0, or 1 where some meshes could not be used.

    Raises:
        ValueError: an argument is of no use; nothing was written.
        MissingExtraError: a library is not installed.
        OSError: a file could not be written.
    """
    from tqdm import tqdm

    from zero123lib.rendering.dataset import FAILURES, render_dataset
    from zero123lib.rendering.objects import find_meshes

    try:
        settings = _settings(args)
        device = _device(args)
        sources = find_meshes(args.meshes)
        workers = args.workers
        if workers is None:
            workers = 1 if device == "cuda" else os.cpu_count() or 1
        outcomes = render_dataset(
            sources,
            args.out,
            settings,
            backend=args.backend,
            device=device,
            workers=min(workers, len(sources)),
            timeout_s=args.timeout,
        )
        counts = {"rendered": 0, "kept": 0, "failed": 0}
        for outcome in tqdm(outcomes, total=len(sources), unit="object", disable=None):
            counts[outcome.state] += 1
            if outcome.reason:
                tqdm.write(f"zero123 render: {outcome.reason}", file=sys.stderr)
    except ValueError as error:
        argument, colon, complaint = str(error).partition(": ")
        name = {"meshes": "MESH_OR_FOLDER", "out": "OUT"}.get(argument, f"--{argument}")
        known = argument in {"meshes", "out", "device", *vars(args)}
        raise ValueError(f"{name}{colon}{complaint}" if known else str(error)) from error
    print(
        f"{args.out}: rendered {counts['rendered']} of {len(sources)} objects, {settings.views} "
        f"views each; {counts['kept']} were there already, {counts['failed']} failed"
    )
    if not counts["failed"]:
        return 0
    report = args.out / FAILURES
    print(
        f"zero123 render: could not use {counts['failed']} of {len(sources)} meshes: see {report}",
        file=sys.stderr,
    )
    return 1


def _settings(args: argparse.Namespace) -> Any:
    from zero123lib.rendering.settings import RenderSettings

    return RenderSettings(
        views=args.views,
        size=args.size,
        elevation_deg=tuple(args.elevation),
        radius=tuple(args.radius),
        seed=args.seed,
        supersample=args.supersample,
        light=args.light,
        up=args.up,
    )


def _device(args: argparse.Namespace) -> str:
    """The device, after a look whether what rasterises there is installed."""
    import torch

    from zero123lib.meshes.rasterize import check_backend, choose_backend

    cuda = torch.cuda.is_available()
    if args.device == "cuda" and not cuda:
        raise ValueError("device: expected a device that is here, got 'cuda'")
    on_gpu = choose_backend(args.backend, torch.device("cuda")) == "pytorch3d"
    device = args.device
    if device == "auto":
        device = "cuda" if cuda and on_gpu else "cpu"
    check_backend(choose_backend(args.backend, torch.device(device)))
    return device
