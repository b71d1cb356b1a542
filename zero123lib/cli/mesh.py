"""`zero123 mesh`: look at mesh files, repair, paint, convert and render them."""

from __future__ import annotations

import dataclasses
import json as json_format
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from zero123lib._choices import RasterBackend, UpAxis, Upscale
from zero123lib._errors import ArgumentError
from zero123lib._files import check_file, check_folder, write_folder
from zero123lib._words import count
from zero123lib.cli.options import Degrees, Flag, Positive, Share, check_present, renaming, whole
from zero123lib.meshes.axes import FORMATS, SUFFIXES
from zero123lib.views.listings import find_listing

if TYPE_CHECKING:
    from zero123lib.meshes.cleanup import Step
    from zero123lib.meshes.export import Written
    from zero123lib.meshes.mesh import Mesh

MeshFile = Annotated[Path, Parameter(name="MESH")]
Out = Annotated[Path, Parameter(name="OUT")]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Axes:
    """Which axes of the files are up.

    Attributes:
        up: which of MESH's axes is up; auto is y for glTF and OBJ, z for PLY and STL.
        out_up: which of OUT's axes is up; likewise.
    """

    up: UpAxis = "auto"
    out_up: UpAxis = "auto"


TextureSize = Annotated[int, whole(16, 8192, "PX")]
OnDevice = Literal["cpu", "cuda"]


def inspect(mesh: MeshFile, /, *, up: UpAxis = "auto", json: Flag = False) -> None:
    """Say what a mesh is made of, and what is wrong with it.

    Read are .glb, .gltf, .obj (with its .mtl and textures), .ply and .stl.

        zero123 mesh inspect chair.glb
        zero123 mesh inspect chair.glb --json

    Args:
        mesh: a mesh file.
        up: which of its axes is up; auto is y for glTF and OBJ, z for PLY and STL.
        json: as JSON on stdout.
    """
    _check_mesh(mesh)
    from zero123lib.meshes.describe import details, lines
    from zero123lib.meshes.load import load_mesh

    read = load_mesh(mesh, up, normalise=False, textures="readable")
    if json:
        print(json_format.dumps(details(read), indent=2, allow_nan=False))
    else:
        print(f"{mesh}: " + "\n".join(lines(read)))


def clean(
    mesh: MeshFile,
    out: Out,
    /,
    *,
    min_share: Annotated[Share, Parameter(name="--keep")] = 0.0,
    max_hole: Annotated[Share, Parameter(name="--holes")] = 0.1,
    keep_hollows: Flag = False,
    smooth: Annotated[int, whole(0, 100)] = 0,
    max_faces: Annotated[int | None, whole(4, 100_000_000), Parameter(name="--faces")] = None,
    axes: Axes = Axes(),
) -> None:
    """Repair a mesh, then smooth and thin it, and say what each step did.

    Repaired are double and flat faces, loose parts, winding, holes and hollows.
    Textures stay unless the mesh is thinned.

        zero123 mesh clean scan.ply clean.glb
        zero123 mesh clean scan.ply clean.glb --keep 0.02 --faces 20000

    Args:
        mesh: a mesh file.
        out: a .glb, .obj, .ply or .stl file.
        min_share: parts stay of at least this share of the largest's area; 1 is that one alone.
        max_hole: radius up to which holes are closed, as a share of the longest side.
        keep_hollows: leave closed hollows that nobody can see.
        smooth: rounds of Taubin smoothing; a few leave the volume.
        max_faces: thin the mesh to so many faces; colours stay at the vertices alone (all).
    """
    _check_mesh(mesh)
    _check_out(out)
    from tqdm import tqdm

    from zero123lib.meshes.cleanup import Cleaning
    from zero123lib.meshes.cleanup import clean as cleaned_by
    from zero123lib.meshes.describe import state
    from zero123lib.meshes.export import write_mesh
    from zero123lib.meshes.inspect import facts

    settings = Cleaning(min_share, max_hole, not keep_hollows, smooth, max_faces)
    read = _load(mesh, axes.up)
    print(f"{mesh}: {state(facts(read))}")

    def tell(step: Step) -> None:
        same = step.before == step.after
        tqdm.write(f"  {step.name}: {'nothing to count' if same else state(step.after)}")
        bar.update()

    with tqdm(unit="step", disable=None, leave=False) as bar:
        cleaned = cleaned_by(read, settings, tell)
    _report(write_mesh(out, cleaned.mesh, axes.out_up), cleaned.mesh, cleaned.dropped)


def bake(
    mesh: MeshFile,
    out: Out,
    /,
    *,
    colors_of: Annotated[Path | None, Parameter(metavar="MESH")] = None,
    colors_up: UpAxis = "auto",
    size: TextureSize = 1024,
    vertices: Flag = False,
    axes: Axes = Axes(),
) -> None:
    """Give a mesh one new texture with its colours, or with another one's.

    For example:

        zero123 mesh bake parts.glb one-texture.glb --size 2048
        zero123 mesh bake thin.glb textured.glb --colors-of full.glb

    Args:
        mesh: a mesh file.
        out: a .glb or .obj file; with --vertices also .ply.
        colors_of: take the colours of this mesh, at its points nearest to OUT's (MESH).
        colors_up: which axis of --colors-of is up; auto is y for glTF and OBJ, z for PLY and STL.
        size: texels along the texture's side.
        vertices: colour the vertices, and make no texture.
    """
    _check_mesh(mesh)
    _check_out(out, textured=not vertices)
    if colors_of is not None:
        _check_mesh(colors_of, "colors_of")
    from zero123lib.meshes.atlas import unwrap
    from zero123lib.meshes.export import write_mesh
    from zero123lib.meshes.texture import bake as baked
    from zero123lib.meshes.texture import surface_colors, with_vertex_colors

    source = read = _load(mesh, axes.up)
    if colors_of is not None:
        source = _load(colors_of, colors_up)
    if vertices:
        made = with_vertex_colors(read, surface_colors(source))
    else:
        bare = unwrap(dataclasses.replace(read, vertex_colors=None), size)
        made = baked(bare, surface_colors(source), size)
    _report(write_mesh(out, made, axes.out_up), made)


def texture(
    mesh: MeshFile,
    views: Annotated[Path, Parameter(name="VIEWS")],
    out: Out,
    /,
    *,
    refine: Annotated[int, whole(0, 100_000)] = 0,
    steps: Annotated[int | None, whole(0, 1000)] = None,
    size: TextureSize = 1024,
    upscale: Upscale = 1,
    normalise: Flag = False,
    device: OnDevice = "cpu",
    axes: Axes = Axes(),
) -> None:
    """Paint a mesh from images, and refine its shape until it looks as they do.

    VIEWS is a folder with images and a transforms.json: of `zero123 orbit`,
    `zero123 mesh render`, NeRF or nerfstudio. Its cameras stand in the mesh's
    world, or around the mesh as `mesh render` shows it, whatever its size.
    Silhouettes that do not fit the mesh's are told, and refused where they are
    far off. Images without alpha are taken to be on white.

        zero123 mesh texture scan.ply views/ painted.glb
        zero123 mesh texture scan.ply views/ refined.glb --refine 200

    Args:
        mesh: a mesh file.
        views: a folder of views.
        out: a .glb or .obj file.
        refine: steps in which the shape is changed, too.
        steps: that sharpen the texture; true images bear 20, made views that disagree speckle
            (as many as suit images held out).
        size: texels along the texture's side.
        upscale: enlarge the images first, by Real-ESRGAN animevideov3 (BSD-3-Clause).
        normalise: centre the bounding box and make its longest side 1.
        device: where the shape is refined.
    """
    _check_out(out, textured=True)
    _check_mesh(mesh)
    find_listing(views)
    from tqdm import tqdm

    from zero123lib.meshes.agreement import agreement
    from zero123lib.meshes.atlas import unwrap
    from zero123lib.meshes.export import write_mesh
    from zero123lib.meshes.posed_images import read_posed_images
    from zero123lib.meshes.refine import RefineSettings, fixed
    from zero123lib.meshes.refine import refine as refining
    from zero123lib.meshes.texture_views import ViewFit, texture_from_views
    from zero123lib.reconstruction.input_view import LEAST_DARKNESS
    from zero123lib.views.images import alpha_from_white

    _check_device(device)
    read = _load(mesh, axes.up, normalise)
    with renaming(images="views", cameras="views"):
        images, cameras = read_posed_images(views)
        opaque = (images[..., 3] == 1.0).flatten(1).all(1)
        on_white = images[opaque][..., :3].movedim(-1, 1)
        images[opaque] = alpha_from_white(on_white, LEAST_DARKNESS)
        fitting = agreement(read, images, cameras)
        if fitting.warning is not None:
            print(f"zero123 mesh texture: warning: {fitting.warning}", file=sys.stderr)
        cameras = fitting.cameras
        bare = unwrap(dataclasses.replace(read, vertex_colors=None), size)
        fit = ViewFit(steps=steps)
        made = texture_from_views(bare, images, cameras, size, fit, upscale=upscale)
        if refine:
            better = None
            shaping = refining(made.to(device), images, cameras, RefineSettings(refine))
            for step in tqdm(shaping, "refining", refine, unit="step", disable=None):
                better = step.mesh
            assert better is not None, "the last step has the mesh"
            shaped = fixed(better.to("cpu"))
            made = texture_from_views(shaped, images, cameras, size, fit, upscale=upscale)
    _report(write_mesh(out, made, axes.out_up), made)


def convert(
    mesh: MeshFile,
    out: Out,
    /,
    *,
    normalise: Flag = False,
    axes: Axes = Axes(),
) -> None:
    """Write a mesh in another format, upright; what that cannot hold is named.

    For example:

        zero123 mesh convert chair.obj chair.glb
        zero123 mesh convert scan.stl chair.glb --up y --normalise

    Args:
        mesh: a mesh file.
        out: a .glb, .obj, .ply or .stl file.
        normalise: centre the bounding box and make its longest side 1.
    """
    _check_mesh(mesh)
    _check_out(out)
    from zero123lib.meshes.export import write_mesh

    read = _load(mesh, axes.up, normalise)
    _report(write_mesh(out, read, axes.out_up), read)


def render(
    mesh: MeshFile,
    out: Annotated[Path, Parameter(name="DIR")],
    /,
    *,
    views: Annotated[int, whole(1, 1000)] = 8,
    elevation_deg: Annotated[Degrees, Parameter(name="--elevation")] = 20.0,
    azimuth_deg: Annotated[Degrees, Parameter(name="--azimuth")] = 0.0,
    radius: Positive = 1.85,
    size: Annotated[int, whole(8, 8192, "PX")] = 512,
    supersample: Annotated[int, whole(1, 16)] = 3,
    light: Literal["ambient", "lambert", "phong"] = "lambert",
    backend: RasterBackend = "auto",
    device: OnDevice = "cpu",
    up: UpAxis = "auto",
) -> None:
    """Make images of a mesh, fitted into a box of side 1, from cameras around it.

    DIR gets 000.png and so on, with alpha, and their cameras in transforms.json.

        zero123 mesh render chair.glb views/ --views 8
        zero123 mesh render chair.glb views/ --elevation 30 --light phong

    Args:
        mesh: a mesh file.
        out: a folder.
        views: cameras evenly around the object, counter-clockwise from its +x side.
        elevation_deg: above the horizon.
        azimuth_deg: of the first camera, counter-clockwise from the +x side.
        radius: distance of the cameras from the middle.
        size: pixels of an image's side.
        supersample: samples along a pixel's side.
        light: ambient shows the file's own colours, lambert shades them, phong adds highlights.
        backend: what rasterizes; auto takes pytorch3d on a GPU where it is installed.
        device: where it renders.
        up: which of its axes is up; auto is y for glTF and OBJ, z for PLY and STL.
    """
    _check_mesh(mesh)
    check_folder(out)
    from zero123lib.views.poses import Pose

    turns = [azimuth_deg + 360.0 * index / views for index in range(views)]
    poses = [Pose(elevation_deg, turn, radius) for turn in turns]
    import torch
    from PIL import Image
    from tqdm import tqdm

    from zero123lib.meshes import shading
    from zero123lib.meshes.mesh import Camera
    from zero123lib.meshes.rasterize import check_backend, choose_backend
    from zero123lib.meshes.render import renderer
    from zero123lib.views.eight_bits import to_uint8
    from zero123lib.views.folder import view_files

    _check_device(device)
    check_backend(choose_backend(backend, torch.device(device)))
    take = renderer(_load(mesh, up, normalise=True).to(device), supersample, backend)
    images = []
    for pose in tqdm(poses, unit="view", disable=None):
        seen = take(Camera.at(pose, size), getattr(shading, light.upper()))
        color = to_uint8(seen.color)
        images.append(Image.fromarray(color.cpu().numpy()))
    write_folder(out, view_files(images, poses))
    print(f"{mesh}: wrote {count(views, 'image')} and transforms.json to {out}")


def _load(path: Path, up: UpAxis, normalise: bool = False) -> Mesh:
    """Load a mesh, and say what is missing from it."""
    from zero123lib.meshes.load import load_mesh

    mesh = load_mesh(path, up, normalise)
    if "note" in mesh.info:
        print(f"{path}: {mesh.info['note']}", file=sys.stderr)
    return mesh


def _check_mesh(mesh: Path, name: str = "mesh") -> None:
    if mesh.suffix.lower() not in FORMATS:
        raise ArgumentError(name, f"a file of {', '.join(FORMATS)}", repr(str(mesh)))
    check_present(mesh, name)


def _check_out(out: Path, textured: bool = False) -> None:
    """Complain before the work rather than after it."""
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise ArgumentError("out", f"a name in {', '.join(SUFFIXES)}", repr(str(out)))
    if textured and suffix not in (".glb", ".obj"):
        raise ArgumentError("out", ".glb or .obj for a texture", repr(str(out)))
    check_file(out)


def _check_device(name: OnDevice) -> None:
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ArgumentError("device", "a device that is here", "'cuda'")


def _report(written: Written, mesh: Mesh, dropped: Sequence[str] = ()) -> None:
    names = ", ".join(str(path) for path in written.files)
    print(f"wrote {count(len(mesh.faces), 'face')} to {names}")
    for what in (*dropped, *written.dropped):
        print(f"  left out: {what}")
