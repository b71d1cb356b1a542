"""How much a photo's mesh looks like the photo from its own camera, and like the object elsewhere.

    python benchmarks/photos.py [car.png chair.png ...] [--input-elevation DEG] [--out FOLDER]
    python benchmarks/photos.py --scans ../shared/data/gso [--recipe tiny-views] [key=value ...]

Without photos it takes the app's examples. PSNR and LPIPS of whole images on white at the size of
the prepared photo, the mesh unlit, and the IoU of its silhouette with the photo's alpha. Of scans
(a folder for each with 16 views, 000.png the input, and a `cameras.json` beside them) eight further
views are compared, and the Chamfer distance in hundredths of the longest side is to
`mesh_aligned.ply`. FOLDER gets scores.json and sheet.png: photo, mesh from its camera, from 45, 90,
180, 270 and 315 degrees around it, and from above.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib import Zero123Pipeline
from zero123lib.app.examples import example_files
from zero123lib.evaluation.mesh_images import mesh_images, mesh_scores, on_white
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.metrics import chamfer_distance, surface_points
from zero123lib.reconstruction.engine import reconstruct, result
from zero123lib.reconstruction.input_view import input_view
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.views.images import contact_sheet, to_pils
from zero123lib.views.poses import Pose

# What the app calls "quick".
QUICK = [
    "system.guidance.embedded.fit.steps=120",
    "system.guidance.embedded.outputs.mesh_level=null",
]
AROUND = [
    *(Pose(15.0, turn, 1.82) for turn in (45.0, 90.0, 180.0, 270.0, 315.0)),
    Pose(75.0, 0.0, 1.82),
]
POINTS = 20_000


@dataclass(frozen=True)
class Task:
    """One photo, and where there are any the object's other views."""

    name: str
    photo: Path
    elevation_deg: float | None = None
    words: Sequence[str] = ()
    scan: Path | None = None


def scans(folder: Path) -> Iterator[Task]:
    """The scanned objects of a folder."""
    listing = json.loads((folder / "cameras.json").read_text())
    elevation, distance = listing["elevation_deg"][0], listing["distance"][0]
    words = [
        f"data.default_camera_distance={distance}",
        "system.guidance.embedded.preprocess=none",
    ]
    for scan in sorted(path for path in folder.iterdir() if (path / "000.png").is_file()):
        yield Task(scan.name, scan / "000.png", elevation, words, scan)


def others(task: Task, size: int) -> tuple[list[Camera], Tensor]:
    """Eight views of a scan that are not its input: cameras and RGBA ``[8, S, S, 4]``."""
    assert task.scan is not None
    listing = json.loads((task.scan.parent / "cameras.json").read_text())
    numbers = range(1, 16, 2)
    names = ("elevation_deg", "azimuth_deg", "distance")
    poses = [Pose(*(listing[name][i] for name in names)) for i in numbers]
    images = [Image.open(task.scan / f"{i:03d}.png").convert("RGBA") for i in numbers]
    sized = [np.asarray(one.resize((size, size), Image.Resampling.BOX)) for one in images]
    return [Camera.at(pose, size) for pose in poses], torch.from_numpy(np.stack(sized) / 255.0)


def to_scan(mesh: Mesh, task: Task) -> float:
    """Chamfer distance to the scan's surface."""
    assert task.scan is not None
    true = load_mesh(task.scan / "mesh_aligned.ply", "z", normalise=False)
    a, b = (
        surface_points(one.vertices.double().numpy(), one.faces.numpy(), POINTS, 0)[0]
        for one in (mesh, true)
    )
    return 100 * chamfer_distance(a, b)


def measure(
    pipe: Zero123Pipeline, task: Task, recipe: str, words: Sequence[str]
) -> tuple[dict[str, Any], Tensor]:
    """The row of one photo, and its line of the sheet ``[8, 3, S, S]``."""
    read = read_recipe(recipe, [*task.words, *words])
    elevation = read.data.default_elevation_deg
    elevation = elevation if task.elevation_deg is None else task.elevation_deg
    view = input_view(task.photo, read, pipe, elevation)
    end = result(reconstruct(view.prepared, read, pipe=pipe, input_elevation_deg=elevation))
    assert end.textured is not None, end.notes
    size, fov_deg = len(view.rgba), view.camera.fov_deg
    here = [Camera.at(view.camera.pose, size, fov_deg)]
    row = {
        "photo": task.name,
        **rounded(asdict(mesh_scores(end.textured, here, view.rgba[None])), "input_"),
    }
    if view.detail is not None:
        near = [Camera.at(view.camera.pose, len(view.detail), fov_deg)]
        row |= rounded(asdict(mesh_scores(end.textured, near, view.detail[None])), "detail_")
    if task.scan is not None:
        row |= rounded(asdict(mesh_scores(end.textured, *others(task, size))), "others_")
        row["chamfer"] = round(to_scan(end.textured, task), 2)
    row["seconds"] = round(sum(end.metrics["seconds"].values()), 1)
    cameras = [*here, *(Camera.at(pose, size) for pose in AROUND)]
    seen = on_white(mesh_images(end.textured, cameras))
    return row, torch.cat([on_white(view.rgba)[None], seen])


def rounded(numbers: dict[str, float], prefix: str) -> dict[str, float]:
    """For people."""
    return {f"{prefix}{name}": round(value, 4) for name, value in numbers.items()}


def main() -> None:
    """Print a row for each photo and their means, and write them where there is a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("words", nargs="*", metavar="PHOTO|key=value")
    parser.add_argument("--scans", type=Path, metavar="FOLDER")
    parser.add_argument("--recipe", default="tiny-views", help="a recipe, or quick")
    parser.add_argument("--input-elevation", type=float, metavar="DEG")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    keys = [word for word in options.words if "=" in word]
    photos = [Path(word) for word in options.words if "=" not in word]
    if not photos and options.scans is None:
        photos = [Path(name) for name in example_files()]
    tasks = [Task(photo.stem, photo, options.input_elevation) for photo in photos]
    tasks += [] if options.scans is None else list(scans(options.scans))
    quick = options.recipe == "quick"
    recipe, keys = ("tiny-views", [*QUICK, *keys]) if quick else (options.recipe, keys)
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    rows, images = [], []
    for task in tasks:
        row, line = measure(pipe, task, recipe, keys)
        rows.append(row)
        images.append(line)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    numbers = [name for name, value in rows[0].items() if isinstance(value, float)]
    mean = {name: round(float(np.mean([row[name] for row in rows])), 4) for name in numbers}
    print("mean  " + "  ".join(f"{name} {value}" for name, value in mean.items()))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        content = {"recipe": options.recipe, "keys": keys, "rows": rows, "mean": mean}
        (options.out / "scores.json").write_text(json.dumps(content, indent=2) + "\n")
        sheet = contact_sheet(to_pils(torch.cat(images) * 2 - 1), columns=len(images[0]))
        sheet.save(options.out / "sheet.png")


if __name__ == "__main__":
    main()
