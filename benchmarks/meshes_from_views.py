"""What a reconstruction's mesh gains from the views: in its texture, and in its shape.

    python benchmarks/meshes_from_views.py [--objects N] [--first N] [--views model true]
        [--meshes KIND ...] [--threads N] [--out FILE] [key=value ...]

Held-out objects whose shape is known, by the bundled model and the recipe `tiny-views`, or with the
objects' own images in place of the model's views ("true"), which parts the meshing's error from
the model's. Compared are the mesh with the field's colours baked, with a texture from the views,
refined, and both. Words change keys of the recipe.

PSNR is of whole images of 128 pixels on white, the mesh without light of its own beside the
source: from the input's camera, and from eight that none of the views has. Chamfer distance is in
hundredths of the longest side; IoU is of volumes.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zero123lib import Zero123Pipeline
from zero123lib._optional import require
from zero123lib.evaluation import evaluated_kinds, scene_samples
from zero123lib.evaluation.mesh_images import EIGHT, mesh_images, on_white
from zero123lib.evaluation.reconstruction import CELLS, HALF_EXTENT
from zero123lib.fields.occupancy import lattice
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.metrics import chamfer_distance, psnr, surface_points, volume_iou
from zero123lib.reconstruction.fitted import FittingViews, MakingViews
from zero123lib.reconstruction.input_view import input_view
from zero123lib.reconstruction.meshed import Meshing
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.subject import Photo
from zero123lib.scenes import Scene, render
from zero123lib.views.poses import Pose

PLACE = "system.guidance.embedded"
FIELD, VIEWS = (f"{PLACE}.outputs.texture_from={name}" for name in ("field", "views"))
REFINED = f"{PLACE}.refine.steps=100"
KINDS = {
    "field": [FIELD],
    "views": [VIEWS],
    "refined": [FIELD, REFINED],
    "refined, views": [VIEWS, REFINED],
}
SOURCES = ("model", "true")
SIZE, POINTS = 128, 20_000


@dataclass(frozen=True)
class Case:
    """One object as its stages left it."""

    scene: Scene
    photo: Photo
    views: PosedViews
    fitting: FittingViews


def cases(
    pipe: Zero123Pipeline, first: int, objects: int, words: Sequence[str], sources: Sequence[str]
) -> Iterator[tuple[str, Case]]:
    """Each object by the model's views ("model"), and by its own ("true")."""
    kinds = evaluated_kinds(pipe)
    questions = list(scene_samples(first + objects, 1, pipe.image_size, kinds))[first:]
    for question in questions:
        camera = question.condition_pose
        scene = question.scene.turned(-camera.azimuth_deg)
        pose = Pose(camera.elevation_deg, 0.0, camera.radius)
        recipe = read_recipe("tiny-views", [*words, *told(camera.radius)])
        rgba = render(scene, [pose], pipe.image_size).rgba[0]
        image = Image.fromarray((rgba * 255).round().to(torch.uint8).numpy())
        view = input_view(image, recipe, pipe, camera.elevation_deg)
        photo = Photo(view, pipe)
        for source in sources:
            made = MakingViews(recipe, photo, 0)
            if source == "true":
                true = render(scene, made.poses, pipe.image_size, background="white").rgba
                made.images = true[..., :3].permute(0, 3, 1, 2).contiguous()
            while made.step < made.total:
                made.advance()
            views = PosedViews.of_input(recipe, [view], made.images, made.poses)
            fitting = FittingViews(recipe, views, 0, photo.silhouette(recipe))
            while fitting.step < fitting.total:
                fitting.advance()
            yield source, Case(scene, photo, views, fitting)


def told(radius: float) -> list[str]:
    """Keys that say how far away the input's camera is."""
    return [
        f"data.default_camera_distance={radius}",
        f"{PLACE}.preprocess=none",
        f"{PLACE}.field.half_extent={HALF_EXTENT}",
    ]


def meshed(case: Case, words: Sequence[str]) -> tuple[Mesh, float]:
    """The mesh that a recipe makes of a field, with its texture, and the seconds it took."""
    recipe = read_recipe("tiny-views", [*words, *told(case.photo.camera.pose.radius)])
    level = recipe.embedded.outputs.mesh_level
    assert level is not None, "tiny-views names a level"
    making = Meshing(
        recipe,
        case.fitting.field.requires_grad_(False),
        case.views,
        case.photo.silhouette(recipe),
        seed=0,
        device=torch.device("cpu"),
        stop=lambda: False,
    )
    started = time.perf_counter()
    list(making.make(level))
    seconds = time.perf_counter() - started
    assert making.textured is not None, making.notes
    return making.textured, seconds


def mesh_psnr(mesh: Mesh, scene: Scene, poses: Sequence[Pose]) -> float:
    """In dB, the mean over cameras."""
    cameras = [Camera.at(pose, SIZE) for pose in poses]
    made, true = mesh_images(mesh, cameras), render(scene, poses, SIZE).rgba
    return float(psnr(on_white(made).float(), on_white(true).float()).mean())


def shape_scores(mesh: Mesh, scene: Scene) -> tuple[float, float]:
    """Volume IoU and Chamfer distance."""
    open3d = require("open3d", "meshes")
    solid = open3d.t.geometry.RaycastingScene()
    solid.add_triangles(
        open3d.core.Tensor(mesh.vertices.numpy()),
        open3d.core.Tensor(mesh.faces.numpy().astype(np.uint32)),
    )
    points = lattice(CELLS, HALF_EXTENT, centers=True)
    inside = solid.compute_occupancy(open3d.core.Tensor(points.numpy().astype(np.float32)))
    found = torch.from_numpy(inside.numpy()) > 0.5
    true = scene.mesh()
    on, normals = surface_points(true.vertices, true.faces, 2 * POINTS, 0)
    # A point of a part's shell that is inside another part is no surface.
    buried = scene.inside(torch.from_numpy(on + 1e-3 * normals)).numpy()
    ours, _ = surface_points(mesh.vertices.double().numpy(), mesh.faces.numpy(), POINTS, 0)
    iou = float(volume_iou(found, scene.inside(points)))
    return iou, 100 * chamfer_distance(ours, on[~buried][:POINTS])


def measure(
    first: int, objects: int, words: Sequence[str], sources: Sequence[str], kinds: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each object, source of views and kind of mesh; printed as they come."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    rows = []
    for source, case in cases(pipe, first, objects, words, sources):
        for kind in kinds:
            mesh, seconds = meshed(case, [*KINDS[kind], *words])
            iou, distance = shape_scores(mesh, case.scene)
            found = facts(mesh)
            rows.append(
                {
                    "object": case.scene.name,
                    "views": source,
                    "mesh": kind,
                    "input_psnr": round(mesh_psnr(mesh, case.scene, [case.photo.camera.pose]), 2),
                    "held_out_psnr": round(mesh_psnr(mesh, case.scene, EIGHT), 2),
                    "iou": round(iou, 4),
                    "chamfer": round(distance, 3),
                    "closed": found.watertight and found.oriented,
                    "faces": found.faces,
                    "seconds": round(seconds, 1),
                }
            )
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    return rows


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows' means over objects."""
    names = ("input_psnr", "held_out_psnr", "iou", "chamfer", "seconds")
    table = []
    for source, kind in dict.fromkeys((row["views"], row["mesh"]) for row in rows):
        mine = [row for row in rows if (row["views"], row["mesh"]) == (source, kind)]
        numbers = {name: round(float(np.mean([row[name] for row in mine])), 3) for name in names}
        table.append({"views": source, "mesh": kind, **numbers})
    return table


def main() -> None:
    """Print the rows and their means, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--views", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--meshes", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("words", nargs="*", metavar="key=value", help="of the recipe")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # It would say of every input how far it is from what the model knows.
    logging.getLogger("zero123lib.diffusion.pipeline").setLevel(logging.ERROR)
    rows = measure(options.first, options.objects, options.words, options.views, options.meshes)
    table = means(rows)
    for row in table:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    machine = f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}"
    report = {"machine": machine, "first": options.first, "rows": rows, "means": table}
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
