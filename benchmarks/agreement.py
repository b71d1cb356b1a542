"""Do views around an object agree, do two photos beat one, does doubt follow the error?

    python benchmarks/agreement.py [--objects N] [--shapes N] [--model NAME] [--out FILE]
        [--plot PNG]

On held-out procedural objects of the model's own kinds, whose true depth says where a point of one
view is in the next: the reprojection error is the root mean square difference of the colours of
neighbouring views there, over the pixels that both see.

Of the first --shapes objects the volume, too: IoU of the field that `tiny-views`, with fewer steps,
fits to the views of each kind; "doubt" counts the plain views the less the more seeds differ.
--plot draws how true errors grow with doubt: pixels in twenty parts by their doubt, all as large.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _measuring import metric
from torch import Tensor
from torch.nn import functional

from zero123lib import Pose, RelativePose, Zero123Pipeline
from zero123lib.diffusion.consistency import consistent_views
from zero123lib.diffusion.doubt import doubtful_views
from zero123lib.display import subplots
from zero123lib.evaluation.reconstruction import CELLS, HALF_EXTENT
from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.fields.projection import project
from zero123lib.lpips import lpips_alex
from zero123lib.metrics import volume_iou
from zero123lib.metrics.images import psnr
from zero123lib.reconstruction.fitted import FittingViews, MakingViews
from zero123lib.reconstruction.input_view import input_views
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.subject import Photo
from zero123lib.scenes import HELD_OUT_SEED, KINDS, random_scene, render
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.poses import orbit

FIRST, VIEWS, SEEDS = HELD_OUT_SEED + 40_000, 8, 4
SECOND = RelativePose(azimuth_deg=120.0)
# A point that another view sees so much nearer is hidden there, scene units.
_HIDDEN = 0.03
# What makes a fit of shapes a matter of seconds.
FEWER = [
    f"system.guidance.embedded.{key}"
    for key in (
        "field.resolutions=[32]",
        "field.milestones=[]",
        "fit.steps=80",
        "fit.color_steps=0",
    )
]


def warped(image: Tensor, depth: Tensor, here: Tensor, there: Tensor, seen: Tensor) -> Any:
    """Bring another view's colours to where this view sees the same points.

    Args:
        image: the other view ``[3, S, S]``.
        depth: this view's true depth ``[S, S]``.
        here, there: camera-to-world ``[4, 4]`` of this view and of the other.
        seen: the other view's true depth ``[S, S]``.

    Returns:
        Colours ``[3, S, S]``, and which pixels both views see ``[S, S]``.
    """
    size = len(depth)
    origins, directions = rays(here, size)
    along = directions @ here[:3, 2]
    solid = torch.isfinite(depth)
    points = origins + directions * (torch.where(solid, depth, 1.0) / -along)[..., None]
    positions, far = project(points.reshape(-1, 3), there, FOV_DEG)
    grid = positions.reshape(1, size, size, 2)
    known = torch.where(torch.isfinite(seen), seen, 99.0)[None, None]
    settings: dict[str, Any] = {"align_corners": False, "padding_mode": "border"}
    front = functional.grid_sample(known, grid, mode="nearest", **settings)[0, 0]
    both = solid & (far.reshape(size, size) < front + _HIDDEN) & (front < 90.0)
    return functional.grid_sample(image[None], grid, **settings)[0], both


def reprojection(views: Tensor, depths: Tensor, cameras: Tensor) -> float:
    """Compute the reprojection error of neighbouring views ``[N, 3, S, S]`` in [0, 1]."""
    total, count = 0.0, 0
    for place in range(len(views)):
        after = (place + 1) % len(views)
        colors, both = warped(
            views[after], depths[place], cameras[place], cameras[after], depths[after]
        )
        total += float(((colors - views[place]).square().mean(0) * both).sum())
        count += int(both.sum())
    return math.sqrt(total / max(count, 1))


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Compute Spearman's coefficient of two ``[N]``; ties by their order."""
    ranks = torch.stack([one.argsort(stable=True).argsort().double() for one in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def measured(
    pipe: Zero123Pipeline, seed: int, lpips: Any, pixels: list[Tensor]
) -> dict[str, float]:
    """Measure one object; doubt and error of its pixels ``[2, N]`` are added to the list."""
    scene = random_scene(seed, kinds=sorted(pipe.trained_on.get("scene_kinds") or KINDS))
    random = torch.Generator().manual_seed(seed)
    source = Pose(-5 + 45 * float(torch.rand(1, generator=random)), 0.0, 1.85)
    poses = orbit(VIEWS)
    cameras = [source, source.moved(SECOND), *(source.moved(pose) for pose in poses)]
    shown = render(scene, cameras, pipe.image_size, background="white")
    truth = shown.rgba[..., :3].permute(0, 3, 1, 2)
    photos = [pipe.encode(pipe.prepare(one * 2 - 1)) for one in truth[:2]]
    truth, depths, places = truth[2:], shown.depth[2:], camera_to_world(cameras[2:])
    found = {"true reprojection": reprojection(truth, depths, places)}

    def judge(name: str, views: Tensor) -> None:
        views = (views + 1) / 2
        found[f"{name} PSNR"] = float(psnr(views, truth).mean())
        found[f"{name} LPIPS"] = float(lpips(views, truth).mean())
        found[f"{name} reprojection"] = reprojection(views, depths, places)

    def noise() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    with torch.no_grad():
        for way in ("none", "viewfusion", "mutual"):
            judge(way, consistent_views(pipe, photos[0], poses, way, generator=noise()))
        two = pipe.views(photos, poses, input_poses=[RelativePose(), SECOND], generator=noise())
        judge("two photos", two)
    doubt = doubtful_views(pipe, photos[0], poses, range(SEEDS))
    error = (doubt.mean / 2 + 0.5 - truth).square().mean(1).sqrt()
    judge("mean of seeds", doubt.mean)
    inside = ((truth.amin(1) < 0.98) | ((doubt.mean + 1) / 2).amin(1).lt(0.98)).flatten()
    found["pixel doubt"] = rank_correlation(doubt.doubt.flatten()[inside], error.flatten()[inside])
    found["view doubt"] = rank_correlation(doubt.view_doubt, error.mean((1, 2)))
    pixels.append(torch.stack([doubt.doubt.flatten()[inside], error.flatten()[inside]]))
    return found


def shapes(pipe: Zero123Pipeline, seed: int) -> dict[str, float]:
    """Measure the volume IoU of one object by each kind of views."""
    scene = random_scene(seed, kinds=sorted(pipe.trained_on.get("scene_kinds") or KINDS))
    recipe = read_recipe("tiny-views", FEWER)
    first, second = Pose(20.0, 0.0, recipe.data.default_camera_distance), SECOND
    shown = render(scene, [first, first.moved(second)], pipe.image_size, background="white").rgba
    truth = shown[..., :3].permute(0, 3, 1, 2) * 2 - 1
    prepared = [pipe.prepare(one, "none") for one in truth]
    photos = input_views(prepared, recipe, pipe, 20.0, [RelativePose(), second])
    conditions, found = [pipe.encode(one) for one in prepared], {}
    for way in ("none", "viewfusion", "mutual", "two photos", "doubt"):
        subject = Photo(photos[0], pipe, tuple(photos[1:]) if way == "two photos" else ())
        made = MakingViews(recipe, subject, 0)
        relative = [pose.relative_to(first) for pose in made.poses]
        weights = torch.ones(len(relative))
        if way == "doubt":
            seeds = doubtful_views(pipe, conditions[0], relative, range(2))
            views, weights = seeds.views[0], 1 / (0.05 + seeds.view_doubt).square()
        else:
            count = len(subject.photos)
            views = consistent_views(
                pipe,
                conditions[:count],
                relative,
                way if way in ("viewfusion", "mutual") else "none",
                input_poses=subject.input_poses,
                generator=torch.Generator().manual_seed(0),
            )
        made.images = ((views + 1) / 2).cpu()
        posed = PosedViews.of_input(recipe, subject.photos, made.images, made.poses)
        counts = posed.weights.clone()
        counts[len(subject.photos) :] = weights / weights.mean()
        fitting = FittingViews(
            recipe, replace(posed, weights=counts), 0, subject.silhouette(recipe)
        )
        while fitting.step < fitting.total:
            fitting.advance()
        places = lattice(CELLS, HALF_EXTENT, centers=True)
        level = recipe.embedded.outputs.mesh_level or math.inf
        solid = evaluate(fitting.field.density, places) > level
        found[f"{way} IoU"] = float(volume_iou(solid, scene.inside(places)))
    return found


def reliability(pixels: Tensor, parts: int = 20) -> Tensor:
    """Return the mean doubt and the mean error ``[2, parts]`` of pixels ``[2, N]`` in as many parts
    of one size, by their doubt."""
    ordered = pixels[:, pixels[0].argsort()]
    return torch.stack([part.mean(1) for part in ordered.tensor_split(parts, 1)], 1)


def draw(pixels: Tensor, place: Path, model: str) -> None:
    """Draw the reliability of doubt."""
    doubt, error = reliability(pixels)
    figure, axes = subplots(1, 1, 4.2, 3.2)
    axes.plot(doubt, error, "o-", markersize=4)
    most = float(torch.stack([doubt, error]).max())
    axes.plot([0, most], [0, most], color="0.7", linewidth=1, linestyle="--")
    axes.set_xlabel("doubt: deviation over seeds")
    axes.set_ylabel("true error of the mean")
    axes.set_title(f"{model}, pixels of held-out objects", fontsize=9)
    figure.savefig(place)


def main() -> None:
    """Print the metrics and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--objects", type=int, default=24)
    parser.add_argument("--shapes", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pipe = Zero123Pipeline.from_pretrained(options.model)
    pipe.set_progress_bar_config(disable=True)
    lpips, pixels, rows, solids, metrics = lpips_alex(), [], [], [], []
    for place in range(options.objects):
        rows.append(measured(pipe, FIRST + place, lpips, pixels))
        print(f"object {place + 1}/{options.objects}", flush=True)
    for place in range(options.shapes):
        solids.append(shapes(pipe, FIRST + place))
        print(f"shape {place + 1}/{options.shapes}", flush=True)
    for table in filter(None, (rows, solids)):
        for name in table[0]:
            unit = "dB" if name.endswith("PSNR") else "1"
            better = "lower" if name.endswith(("LPIPS", "reprojection")) else "higher"
            mean = sum(row[name] for row in table) / len(table)
            metrics.append(metric(name, mean, unit, better))
    whole = torch.cat(pixels, 1)
    metrics.append(metric("all pixels' doubt", rank_correlation(*whole), "1", "higher"))
    if options.plot is not None:
        draw(whole, options.plot, pipe.model_name)
    report = {
        "model": pipe.model_name,
        "objects": options.objects,
        "shapes": options.shapes,
        "machine": f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}",
        "metrics": metrics,
    }
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
