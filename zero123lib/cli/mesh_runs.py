"""What the verbs of `zero123 mesh` do."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from zero123lib.cli import files
from zero123lib.meshes.cleanup import Cleaning, Step
from zero123lib.meshes.cleanup import clean as clean_mesh
from zero123lib.meshes.export import SUFFIXES, Written, write_mesh
from zero123lib.meshes.inspect import Facts, facts
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.rasterize import check_backend, choose_backend
from zero123lib.meshes.render import renderer
from zero123lib.meshes.shading import AMBIENT, LAMBERT, PHONG
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json

_LIGHTS = {"ambient": AMBIENT, "lambert": LAMBERT, "phong": PHONG}


def inspect(args: argparse.Namespace) -> None:
    """Print what a mesh is made of."""
    mesh = load_mesh(args.mesh, args.up, normalise=False, textures="readable")
    found = facts(mesh)
    low, high = (bound.tolist() for bound in (mesh.vertices.amin(0), mesh.vertices.amax(0)))
    textures = [list(one.texture.shape[:2]) for one in mesh.materials if one.texture is not None]
    if args.json:
        content = {
            **dataclasses.asdict(found),
            "watertight": found.watertight,
            "oriented": found.oriented,
            "low": low,
            "high": high,
            "vertices": len(mesh.vertices),
            "materials": len(mesh.materials),
            "textures": textures,
            "texture_coordinates": mesh.uv is not None,
            "vertex_colors": mesh.vertex_colors is not None,
            **mesh.info,
        }
        print(json.dumps(content, indent=2, allow_nan=False))
        return
    pairs = list(zip(low, high, strict=True))
    sides = " x ".join(f"{b - a:.4g}" for a, b in pairs)
    middle = ", ".join(f"{(a + b) / 2:.4g}" for a, b in pairs)
    opposed = _count(found.opposed_edges, "edge")
    print(f"{args.mesh}: {_count(found.faces, 'face')}, {_count(len(mesh.vertices), 'vertex')}")
    lines = {
        "size": f"{sides} (x, y, z; z is up), around {middle}",
        "parts": f"{found.components}",
        "closed": _closed(found),
        "winding": "consistent" if found.oriented else f"{opposed} between faces that disagree",
        "area": f"{found.area:.6g}",
        "volume": "none, since it is not closed" if found.volume is None else f"{found.volume:.6g}",
        "to clean": f"{found.degenerate_faces} flat and {found.duplicate_faces} double faces",
        "colours": _colors(mesh, textures),
    }  # fmt: skip
    for name, line in lines.items():
        print(f"  {name}: {line}")
    for name, line in mesh.info.items():
        print(f"  {name}: {line}")


def clean(args: argparse.Namespace) -> None:
    """Clean a mesh and write it, with a line for each step."""
    _check_out(args.out)
    mesh = _load(args.mesh, args.up, False)
    settings = Cleaning(
        args.min_share, args.max_hole, not args.keep_hollows, args.smooth, args.max_faces
    )
    print(f"{args.mesh}: {_state(facts(mesh))}")

    def tell(step: Step) -> None:
        if step.before == step.after:
            tqdm.write(f"  {step.name}: nothing to count")
        else:
            tqdm.write(f"  {step.name}: {_state(step.after)}")
        bar.update()

    with tqdm(unit="step", disable=None, leave=False) as bar:
        try:
            cleaned = clean_mesh(mesh, settings, tell)
        except ValueError as error:
            argument, colon, complaint = str(error).partition(": ")
            flags = {"max_faces": "--faces", "smooth": "--smooth", "mesh": "MESH"}
            flag = flags.get(argument, argument)
            raise ValueError(f"{flag}{colon}{complaint}") from error
    written = write_mesh(args.out, cleaned.mesh, args.out_up)
    _report(written, cleaned.mesh, cleaned.dropped)


def bake(args: argparse.Namespace) -> None:
    """Bake a mesh's colours, or another's, into one texture or its vertices, and write it."""
    from zero123lib.meshes.atlas import unwrap
    from zero123lib.meshes.texture import bake as bake_texture
    from zero123lib.meshes.texture import surface_colors, with_vertex_colors

    _check_out(args.out)
    if not args.vertices:
        _check_textured(args.out)
    mesh = _load(args.mesh, args.up, False)
    source = mesh
    if args.colors_of is not None:
        source = _load(args.colors_of, args.colors_up, False)
    with tqdm(total=2, unit="step", disable=None, leave=False) as bar:
        if args.vertices:
            made = with_vertex_colors(mesh, surface_colors(source))
        else:
            bar.set_description("unwrapping")
            mesh = unwrap(dataclasses.replace(mesh, vertex_colors=None), args.size)
            bar.update()
            bar.set_description("baking")
            made = bake_texture(mesh, surface_colors(source), args.size)
    _report(write_mesh(args.out, made, args.out_up), made)


def texture(args: argparse.Namespace) -> None:
    """Texture a mesh from pictures, refine it against them if told so, and write it."""
    from zero123lib.meshes.agreement import agreement
    from zero123lib.meshes.atlas import unwrap
    from zero123lib.meshes.pictured import read_pictures
    from zero123lib.meshes.refine import RefineSettings, mended, refine
    from zero123lib.meshes.texture_views import ViewFit, texture_from_views
    from zero123lib.reconstruction.pictures import LEAST_DARKNESS, cut_from_white

    _check_out(args.out)
    _check_textured(args.out)
    _check_device(args.device)
    mesh = _load(args.mesh, args.up, args.normalise)
    try:
        images, cameras = read_pictures(args.views)
        if bool((images[..., 3] == 1.0).all()):
            images = cut_from_white(images[..., :3].movedim(-1, 1), LEAST_DARKNESS)
        fitting = agreement(mesh, images, cameras)
        if fitting.warning is not None:
            print(f"warning: {fitting.warning}", file=sys.stderr)
        cameras = fitting.cameras
        mesh = unwrap(dataclasses.replace(mesh, vertex_colors=None), args.size)
        fit = ViewFit(steps=args.steps)
        made = texture_from_views(mesh, images, cameras, args.size, fit)
        if args.refine:
            steps = refine(made.to(args.device), images, cameras, RefineSettings(args.refine))
            refined = None
            for step in tqdm(steps, "refining", args.refine, unit="step", disable=None):
                refined = step.mesh
            assert refined is not None, "the last step has the mesh"
            made = texture_from_views(mended(refined.to("cpu")), images, cameras, args.size, fit)
    except ValueError as error:
        argument, colon, complaint = str(error).partition(": ")
        name = {"images": "VIEWS", "cameras": "VIEWS", "views": "VIEWS"}.get(argument, argument)
        raise ValueError(f"{name}{colon}{complaint}") from error
    _report(write_mesh(args.out, made, args.out_up), made)


def convert(args: argparse.Namespace) -> None:
    """Write a mesh in another format."""
    _check_out(args.out)
    mesh = _load(args.mesh, args.up, args.normalise)
    _report(write_mesh(args.out, mesh, args.out_up), mesh)


def render(args: argparse.Namespace) -> None:
    """Write pictures of a mesh and their cameras."""
    files.check_folder(args.out)
    _check_device(args.device)
    check_backend(choose_backend(args.backend, torch.device(args.device)))
    mesh = _load(args.mesh, args.up, True).to(args.device)
    take = renderer(mesh, args.supersample, args.backend)
    content: dict[str, bytes] = {}
    turns = [args.azimuth + 360.0 * index / args.views for index in range(args.views)]
    poses = [Pose(args.elevation, turn, args.radius) for turn in turns]
    for index, pose in enumerate(tqdm(poses, unit="view", disable=None)):
        seen = take(Camera.at(pose, args.size), _LIGHTS[args.light])
        color = (seen.color * 255.0).round().to(torch.uint8)
        content[f"{index:03d}.png"] = files.png(Image.fromarray(color.cpu().numpy()))
    listing = transforms_json(list(content), poses)
    content["transforms.json"] = files.json_text(listing)
    files.write_folder(args.out, content)
    print(f"{args.mesh}: wrote {_count(args.views, 'picture')} and transforms.json to {args.out}")


def _check_device(name: str) -> None:
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device: expected a device that is here, got 'cuda'")


def _check_textured(out: Path) -> None:
    if out.suffix.lower() not in (".glb", ".obj"):
        raise ValueError(f"OUT: expected .glb or .obj for a texture, got {str(out)!r}")


def _check_out(out: Path) -> None:
    """Complain before the work rather than after it."""
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"OUT: expected a name in {', '.join(SUFFIXES)}, got {str(out)!r}")
    if out.is_dir():
        raise ValueError(f"OUT: expected a file, got {str(out)!r}, which is a folder")
    existing = next(parent for parent in out.absolute().parents if os.path.lexists(parent))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"OUT: expected a file in a folder that can be written, got {str(out)!r}")


def _load(path: Path, up: str, normalise: bool) -> Mesh:
    """Load a mesh, and print what is missing from it."""
    mesh = load_mesh(path, up, normalise)
    if "note" in mesh.info:
        print(f"{path}: {mesh.info['note']}", file=sys.stderr)
    return mesh


def _report(written: Written, mesh: Mesh, dropped: Sequence[str] = ()) -> None:
    names = ", ".join(str(path) for path in written.files)
    print(f"wrote {_count(len(mesh.faces), 'face')} to {names}")
    for what in (*dropped, *written.dropped):
        print(f"  left out: {what}")


def _state(found: Facts) -> str:
    volume = "" if found.volume is None else f", volume {found.volume:.5g}"
    return (
        f"{_count(found.faces, 'face')} in {_count(found.components, 'part')}, "
        f"{_closed(found)}{volume}"
    )


def _closed(found: Facts) -> str:
    if found.watertight:
        return "watertight"
    open_at = [
        text
        for count, text in (
            (found.border_edges, f"{_count(found.border_edges, 'edge')} of one face"),
            (found.branching_edges, f"{_count(found.branching_edges, 'edge')} of more than two"),
        )
        if count
    ]
    return f"not watertight ({', '.join(open_at)})"


def _colors(mesh: Mesh, textures: Sequence[Sequence[int]]) -> str:
    kinds = [_count(len(mesh.materials), "material")]
    if textures:
        kinds.append(
            "textures of " + ", ".join(f"{width} x {height}" for height, width in textures)
        )
    if mesh.vertex_colors is not None:
        kinds.append("colours at vertices")
    return ", ".join(kinds)


def _count(number: int, noun: str) -> str:
    plural = {"vertex": "vertices"}.get(noun, f"{noun}s")
    return f"{number} {noun if number == 1 else plural}"
