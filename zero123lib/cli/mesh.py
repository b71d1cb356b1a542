"""`zero123 mesh`: look at mesh files, repair, colour, convert and picture them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from zero123lib.cli.arguments import degrees, number, one_of, positive, whole

# Named again here, since the rooms that own them load torch; a test keeps them the same.
BACKENDS = ("auto", "open3d", "pytorch3d")
DEVICES = ("cpu", "cuda")
LIGHTS = ("ambient", "lambert", "phong")
UPS = ("auto", "y", "z")

EPILOG = """examples:
  zero123 mesh inspect chair.glb
  zero123 mesh clean scan.ply chair.glb --keep 0.02 --faces 20000
  zero123 mesh bake chair.glb chair.obj --colors-of scan.glb --size 2048
  zero123 mesh texture chair.ply views/ chair.glb --refine 200
  zero123 mesh convert chair.obj chair.glb
  zero123 mesh render chair.glb views/ --views 8

Read are .glb, .gltf, .obj (with its .mtl and textures), .ply and .stl; written .glb, .obj, .ply and
.stl. Files appear whole or not at all. What a format cannot hold is named. `zero123 mesh VERB
--help` lists a verb's options; docs/meshes.md says more."""

_UP_HELP = "which of its axes is up: y, z, or auto: y for glTF and OBJ, z for PLY and STL (auto)"


def add_mesh(verbs: Any) -> None:
    """Add the verb `mesh` and its own verbs to a parser's verbs."""
    parser = verbs.add_parser(
        "mesh",
        description="Mesh files: inspect, clean, bake, texture, convert, render.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    inner = parser.add_subparsers(
        dest="mesh_verb", required=True, metavar="inspect|clean|bake|texture|convert|render"
    )
    _add_inspect(inner)
    _add_clean(inner)
    _add_bake(inner)
    _add_texture(inner)
    _add_convert(inner)
    _add_render(inner)


def _add(
    verbs: Any, name: str, description: str, examples: str, out: str | None, *between: str
) -> Any:
    parser = verbs.add_parser(
        name,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("mesh", type=Path, metavar="MESH", help="a mesh file")
    for one in between:
        parser.add_argument(one, type=Path, metavar=one.upper(), help="a folder")
    if out:
        parser.add_argument("out", type=Path, metavar="OUT", help=out)
    parser.add_argument("--up", type=one_of(UPS), default="auto", metavar="AXIS",
                        help=f"of MESH: {_UP_HELP}")  # fmt: skip
    parser.set_defaults(run=lambda args: _run(name, args))
    return parser


def _add_writing(parser: Any) -> None:
    parser.add_argument("--out-up", type=one_of(UPS), default="auto", metavar="AXIS",
                        help=f"of OUT: {_UP_HELP}")  # fmt: skip


def _add_inspect(verbs: Any) -> None:
    parser = _add(
        verbs, "inspect", "What a mesh is made of, and what is wrong with it.",
        "  zero123 mesh inspect chair.glb\n  zero123 mesh inspect chair.glb --json", None,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON on stdout")


def _add_clean(verbs: Any) -> None:
    parser = _add(
        verbs, "clean",
        "Repair a mesh: double and flat faces, loose parts, winding, holes, hollows; then smooth "
        "and thin it. Says what each step did. Textures stay unless the mesh is thinned.",
        "  zero123 mesh clean scan.ply clean.glb\n"
        "  zero123 mesh clean scan.ply clean.glb --keep 0.02 --smooth 5 --faces 20000",
        "a .glb, .obj, .ply or .stl file",
    )  # fmt: skip
    share = number(float, "a share from 0 to 1", lambda value: 0.0 <= value <= 1.0)
    parser.add_argument(
        "--keep", type=share, default=0.0, metavar="SHARE", dest="min_share",
        help="parts stay whose area is at least this share of the largest's: 0 keeps all, 1 the "
        "largest alone (0)",
    )  # fmt: skip
    parser.add_argument(
        "--holes", type=share, default=0.1, metavar="SHARE", dest="max_hole",
        help="holes are closed up to this radius, as a share of the longest side of the bounding "
        "box (0.1)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-hollows", action="store_true", help="leave closed hollows that nobody can see"
    )
    parser.add_argument(
        "--smooth", type=whole(0, 100), default=0, metavar="N",
        help="rounds of Taubin smoothing; a few leave the volume (0)",
    )  # fmt: skip
    parser.add_argument(
        "--faces", type=whole(4, 100_000_000), metavar="N", dest="max_faces",
        help="thin the mesh to so many faces; colours stay at the vertices alone (all)",
    )  # fmt: skip
    _add_writing(parser)


def _add_bake(verbs: Any) -> None:
    parser = _add(
        verbs, "bake",
        "Give a mesh one new texture with the colours that it has, or that another one has there.",
        "  zero123 mesh bake parts.glb one-texture.glb --size 2048\n"
        "  zero123 mesh bake thin.glb textured.glb --colors-of full.glb",
        "a .glb or .obj file; with --vertices also .ply",
    )  # fmt: skip
    parser.add_argument(
        "--colors-of", type=Path, metavar="MESH",
        help="take the colours of this mesh, at its points nearest to OUT's (MESH)",
    )  # fmt: skip
    parser.add_argument(
        "--colors-up", type=one_of(UPS), default="auto", metavar="AXIS",
        help=f"of the mesh of --colors-of: {_UP_HELP}",
    )  # fmt: skip
    _add_size(parser)
    parser.add_argument(
        "--vertices", action="store_true", help="colour the vertices, and make no texture"
    )
    _add_writing(parser)


def _add_size(parser: Any) -> None:
    parser.add_argument(
        "--size", type=whole(16, 8192), default=1024, metavar="PX",
        help="texels along the texture's side (1024)",
    )  # fmt: skip


def _add_normalise(parser: Any, why: str = "") -> None:
    parser.add_argument(
        "--normalise", action="store_true",
        help=f"centre the bounding box and make its longest side 1{why} (as large as it is)",
    )  # fmt: skip


def _add_device(parser: Any) -> None:
    parser.add_argument(
        "--device", type=one_of(DEVICES), default="cpu", metavar="NAME", help="cpu or cuda (cpu)"
    )


def _add_texture(verbs: Any) -> None:
    parser = _add(
        verbs, "texture",
        "Give a mesh one new texture with the colours of pictures, and change its shape until it "
        "looks as they do, if told so. VIEWS is a folder with pictures and a transforms.json, as "
        "`zero123 orbit` and `zero123 mesh render` write it; its cameras stand in the mesh's "
        "world. Pictures without alpha are taken to be on white.",
        "  zero123 mesh texture scan.ply views/ painted.glb\n"
        "  zero123 mesh texture scan.ply views/ refined.glb --refine 200",
        "a .glb or .obj file", "views",
    )  # fmt: skip
    parser.add_argument(
        "--refine", type=whole(0, 100_000), default=0, metavar="N",
        help="steps in which the shape is changed, too (0)",
    )  # fmt: skip
    parser.add_argument(
        "--steps", type=whole(0, 1000), metavar="N",
        help="steps that sharpen the texture: true pictures bear 20, made views that disagree "
        "speckle (as many as suit pictures held out)",
    )  # fmt: skip
    _add_size(parser)
    _add_normalise(parser, "; cameras of `mesh render` fit a mesh of any size without it")
    _add_device(parser)
    _add_writing(parser)


def _add_convert(verbs: Any) -> None:
    parser = _add(
        verbs, "convert", "Write a mesh in another format, upright.",
        "  zero123 mesh convert chair.obj chair.glb\n"
        "  zero123 mesh convert scan.stl chair.glb --up y --normalise",
        "a .glb, .obj, .ply or .stl file",
    )  # fmt: skip
    _add_normalise(parser)
    _add_writing(parser)


def _add_render(verbs: Any) -> None:
    parser = _add(
        verbs, "render",
        "Pictures of a mesh, made to fit in a box of side 1, from cameras around it: OUT/000.png "
        "and so on, with alpha, and their cameras in OUT/transforms.json.",
        "  zero123 mesh render chair.glb views/ --views 8\n"
        "  zero123 mesh render chair.glb views/ --elevation 30 --size 1024 --light phong",
        "a folder",
    )  # fmt: skip
    parser.add_argument(
        "--views", type=whole(1, 1000), default=8, metavar="N",
        help="cameras evenly around the object, counter-clockwise from its +x side (8)",
    )  # fmt: skip
    angles = (
        ("elevation", 20.0, "above the horizon"),
        ("azimuth", 0.0, "of the first camera, counter-clockwise from the +x side"),
    )
    for name, default, what in angles:
        parser.add_argument(
            f"--{name}", type=degrees, default=default, metavar="DEG",
            help=f"degrees {what} ({default:g})",
        )  # fmt: skip
    parser.add_argument(
        "--radius", type=positive, default=1.85, metavar="R",
        help="distance of the cameras from the middle (1.85)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=whole(8, 8192), default=512, metavar="PX",
        help="pixels of a picture's side (512)",
    )  # fmt: skip
    parser.add_argument(
        "--supersample", type=whole(1, 16), default=3, metavar="N",
        help="samples along a pixel's side (3)",
    )  # fmt: skip
    parser.add_argument(
        "--light", type=one_of(LIGHTS), default="lambert", metavar="NAME",
        help="ambient shows the colours as they are in the file, lambert shades them, phong adds "
        "highlights (lambert)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", type=one_of(BACKENDS), default="auto", metavar="NAME",
        help="what rasterises: open3d, pytorch3d, or auto: pytorch3d on a GPU where it is "
        "installed (auto)",
    )  # fmt: skip
    _add_device(parser)


def _run(name: str, args: argparse.Namespace) -> None:
    """Run one of the verbs.

    Raises:
        ValueError: an argument or a mesh is of no use; nothing was written.
        MissingExtraError: a library is not installed.
        OSError: a file could not be written.
    """
    from zero123lib.cli import mesh_runs

    getattr(mesh_runs, name)(args)
