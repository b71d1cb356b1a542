"""The engine as a whole: results, stops, resumes to the bit, and what it says when it fails."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_runs import INPUT, TINY
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.reconstruction import distilled, fitted
from zero123lib.reconstruction.distilled import Distilling
from zero123lib.reconstruction.engine import (
    Finished,
    Progress,
    ReconstructionError,
    reconstruct,
    result,
)
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.state import CHECKPOINT
from zero123lib.scenes import random_scene, render
from zero123lib.views.poses import RelativePose

REFINED = [*TINY, "system.guidance.embedded.stages=[views, sds]"]
RUNS = {"views": ("tiny-views", TINY), "sds": ("tiny-sds", TINY), "both": ("tiny-sds", REFINED)}


def weights(end: Finished) -> dict[str, Tensor]:
    return end.field.state_dict()


def same(a: Finished, b: Finished) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def after(count: int) -> Callable[[], bool]:
    """A stop that comes at the `count`-th time it is asked."""
    asked = itertools.count(1)
    return lambda: next(asked) >= count


@pytest.mark.parametrize("run", RUNS)
def test_progress_is_whole_and_a_seed_is_a_result(
    run: str, photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    name, overrides = RUNS[run]
    recipe = read_recipe(name, overrides)
    steps = list(reconstruct(photo, recipe, pipe=pipe))
    *progress, end = steps
    assert isinstance(end, Finished) and end.metrics["ended"] == "finished"
    named = [p.stage for p in progress if isinstance(p, Progress)]
    assert len(named) == len(progress)
    stages = [stage for stage, _ in itertools.groupby(named)]
    wanted = {"views": ["views", "fit"], "sds": ["sds"], "both": ["views", "fit", "sds"]}
    assert stages == [*wanted[run], "outputs"]
    for stage in stages:
        mine = [p for p in progress if isinstance(p, Progress) and p.stage == stage]
        assert mine[-1].step == mine[-1].total
        assert sorted({p.step for p in mine}) == [p.step for p in mine]
    assert same(end, result(reconstruct(photo, recipe, pipe=pipe)))
    assert not same(end, result(reconstruct(photo, recipe, pipe=pipe, seed=1)))
    assert end.mesh is not None and end.files == {}


@pytest.mark.parametrize(("run", "stop"), [("views", 2), ("views", 9), ("sds", 5), ("both", 18)])
def test_a_stopped_run_has_a_result_and_goes_on_to_the_bit(
    run: str, stop: int, photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    name, overrides = RUNS[run]
    recipe = read_recipe(name, overrides)
    whole = result(reconstruct(photo, recipe, pipe=pipe))
    part = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, stop=after(stop)))
    assert part.metrics["ended"] == "stopped" and not same(part, whole)
    assert all(file.stat().st_size for file in part.files.values())
    assert {"field.safetensors", "turntable.gif", "metrics.json"} <= part.files.keys()
    end = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, resume=True))
    assert end.metrics["ended"] == "finished" and same(end, whole)
    assert not (tmp_path / CHECKPOINT).exists()


def test_max_steps_counts_all_optimisation_and_resume_takes_more(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-sds", REFINED)
    first = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, max_steps=14))
    assert first.metrics["stages"]["fit"]["steps"] == 12
    assert first.metrics["stages"]["sds"]["steps"] == 2
    again = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, max_steps=17, resume=True))
    assert again.metrics["stages"]["sds"]["steps"] == 5
    assert again.metrics["ended"] == "max_steps"


def test_true_views_give_the_true_shape(
    monkeypatch: pytest.MonkeyPatch, pipe: Zero123Pipeline
) -> None:
    """With the object's own images in place of made ones, what is left is the engine's error."""
    scene, size = random_scene(3, "apple"), 32

    def true_views(*args: Any) -> Iterator[Tensor]:
        poses, done = args[5], args[7]
        for first in range(done, len(poses), 8):
            rgba = render(scene, poses[first : first + 8], size, background="white").rgba
            yield rgba[..., :3].permute(0, 3, 1, 2)

    monkeypatch.setattr(fitted, "made_views", true_views)
    rgba = render(scene, [INPUT], size).rgba[0]
    image = Image.fromarray((rgba * 255).round().to(torch.uint8).numpy())
    recipe = read_recipe(
        "tiny-views",
        [
            *TINY,
            "system.guidance.embedded.views.azimuths=8",
            "system.guidance.embedded.views.elevations_deg=[-30.0, 0.0, 40.0]",
            "system.guidance.embedded.field.resolutions=[32]",
            "system.guidance.embedded.field.milestones=[]",
            "system.guidance.embedded.fit.hull_tolerance=0.02",
        ],
    )
    end = result(reconstruct(image, recipe, pipe=pipe))
    ticks = (torch.arange(40) + 0.5) / 40 * 1.2 - 0.6
    points = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), -1)
    truth = scene.inside(points)
    found = end.field.density(points) > end.metrics["surface_level"]
    iou = float((found & truth).sum() / (found | truth).sum())
    assert iou > 0.8


def test_reference_losses_fall(photo: Image.Image, pipe: Zero123Pipeline) -> None:
    recipe = read_recipe("tiny-sds", [*TINY, "system.loss.lambda_sds=0", "trainer.max_steps=40"])
    masks = [
        p.losses["mask"]
        for p in reconstruct(photo, recipe, pipe=pipe)
        if isinstance(p, Progress) and p.stage == "sds"
    ]
    assert sum(masks[-5:]) < 0.5 * sum(masks[:5])


def test_every_loss_of_the_published_recipes_is_computed(
    photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    recipe = read_recipe("zero123-sds", [*TINY, "data.resolution_milestones=[]",
                                         "data.random_camera.resolution_milestones=[]",
                                         "data.random_camera.batch_size=2"])  # fmt: skip
    first = next(iter(reconstruct(photo, recipe, pipe=pipe)))
    assert isinstance(first, Progress)
    wanted = {one.removeprefix("lambda_") for one, value in vars(recipe.loss).items() if value}
    assert first.losses.keys() == wanted | {"total"}
    weighted = {name: vars(recipe.loss)[f"lambda_{name}"] for name in wanted}
    total = sum(weighted[name] * first.losses[name] for name in wanted)
    assert first.losses["total"] == pytest.approx(total, rel=1e-4)


def test_sizes_and_batches_follow_their_milestones(
    photo: Image.Image, pipe: Zero123Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spied(field: Any, cameras: Any, size: int, *args: Any, **options: Any) -> Any:
        asked.append((len(cameras), size))
        return real(field, cameras, size, *args, **options)

    real = distilled.render_views
    monkeypatch.setattr(distilled, "render_views", spied)
    recipe = read_recipe(
        "tiny-sds",
        [
            *TINY, "trainer.max_steps=3",
            "data.height=[8, 12]", "data.width=[8, 12]", "data.resolution_milestones=[2]",
            "data.random_camera.height=[8, 10]", "data.random_camera.width=[8, 10]",
            "data.random_camera.batch_size=[3, 2]",
            "data.random_camera.resolution_milestones=[1]",
        ],
    )  # fmt: skip
    result(reconstruct(photo, recipe, pipe=pipe))
    assert asked == [(1, 8), (3, 8), (1, 8), (2, 10), (1, 12), (2, 10)]


def test_a_field_of_latents_is_distilled_and_decoded(
    photo: Image.Image, latent_pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe(
        "zero123-sjc",
        [*TINY, "system.guidance.embedded.field.resolutions=[12]",
         "system.guidance.embedded.field.milestones=[]"],
    )  # fmt: skip
    whole = result(reconstruct(photo, recipe, pipe=latent_pipe))
    assert whole.field.settings.channels == 3 and whole.field.settings.bounds == "unit"
    stages = whole.metrics["stages"]["sds"]["losses"]
    assert {"rgb", "sds", "near_view", "depth_smooth_input"} <= stages.keys()
    result(reconstruct(photo, recipe, pipe=latent_pipe, out=tmp_path, stop=after(4)))
    end = result(reconstruct(photo, recipe, pipe=latent_pipe, out=tmp_path, resume=True))
    assert same(end, whole)


def test_a_diverging_loss_says_what_to_change_and_leaves_files_intact(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-sds", [*TINY, "system.loss.lambda_rgb=[4, 1.0, 1.0e300, 5]"])
    progress = reconstruct(photo, recipe, pipe=pipe, out=tmp_path)
    with pytest.raises(ReconstructionError, match="step 6 of 8.*lr .*lambda_.*checkpoint.pt"):
        result(progress)
    again = reconstruct(photo, recipe, pipe=pipe, out=tmp_path, resume=True, stop=lambda: True)
    assert result(again).metrics["stages"]["sds"]["steps"] == 3


def test_a_device_that_is_lost_leaves_a_checkpoint_which_is_gone_on_from(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = read_recipe("tiny-sds", TINY)
    whole = result(reconstruct(photo, recipe, pipe=pipe))
    plain, steps = Distilling.advance, []

    def lost(stage: Distilling) -> Any:
        steps.append(stage.step)
        if len(steps) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(stage)

    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(Distilling, "advance", lost)
        result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path))
    assert not list(tmp_path.glob(".making-*"))
    end = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, resume=True))
    assert same(end, whole)


def test_the_voxels_own_learning_rate_takes_the_place_of_the_optimizers(
    photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    own = ["system.guidance.embedded.field.learning_rate=0.07", "system.optimizer.args.lr=0.01"]
    one, other, slow = (
        result(reconstruct(photo, read_recipe("tiny-sds", [*TINY, *words]), pipe=pipe))
        for words in (own, ["system.optimizer.args.lr=0.07"], own[1:])
    )
    density = [run.field.raw_density for run in (one, other, slow)]
    assert torch.equal(density[0], density[1]) and not torch.equal(density[0], density[2])


@pytest.mark.parametrize("name", ["zero123-sds", "stable-zero123-sds"])
def test_threestudios_recipes_soon_have_the_input_view(
    name: str, photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    sizes = ["data", "data.random_camera"]
    small = [f"{where}.{side}=[16,16,16]" for where in sizes for side in ("height", "width")]
    small += ["data.random_camera.batch_size=[1,1,1]", "trainer.max_steps=30",
              "system.guidance.embedded.field.resolutions=[16,24]",
              "system.guidance.embedded.field.samples=32",
              "system.guidance.embedded.preprocess=none",
              "system.guidance.embedded.outputs.mesh_resolution=0"]  # fmt: skip
    losses = [
        progress.losses["rgb"]
        for progress in reconstruct(photo, read_recipe(name, small), pipe=pipe)
        if isinstance(progress, Progress) and progress.losses
    ]
    assert losses[-1] < losses[0] / 10


def test_a_field_that_turned_empty_says_what_to_change(
    photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    empty = ["system.loss.lambda_sparsity=1000", "system.loss.lambda_mask=0",
             "system.loss.lambda_rgb=0", "system.loss.lambda_sds=0",
             "system.optimizer.args.lr=1", "trainer.max_steps=25"]  # fmt: skip
    recipe = read_recipe("tiny-sds", [*TINY, *empty])
    with pytest.raises(ReconstructionError, match="empty one after step 25.*lambda_sparsity"):
        result(reconstruct(photo, recipe, pipe=pipe))


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def test_a_finished_run_that_is_resumed_is_there_already_and_nothing_is_written(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-views", TINY)
    first = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, seed=3))
    before, folder_time = snapshot(tmp_path), tmp_path.stat().st_mtime_ns
    steps = list(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, seed=3, resume=True))
    assert snapshot(tmp_path) == before and tmp_path.stat().st_mtime_ns == folder_time
    (second,) = steps
    assert isinstance(second, Finished) and second.resumed and not first.resumed
    assert second.files == first.files and second.metrics == json.loads(json.dumps(first.metrics))
    assert same(first, second)
    for one in ("mesh", "textured"):
        ours, theirs = getattr(first, one), getattr(second, one)
        # A file has a vertex for each corner of the atlas.
        torch.testing.assert_close(ours.triangles, theirs.triangles)
    # What has finished there was another run, or a file of it is gone.
    with pytest.raises(ValueError, match="resume: expected the seed that .*metrics.json"):
        reconstruct(photo, recipe, pipe=pipe, out=tmp_path, seed=4, resume=True)
    assert snapshot(tmp_path) == before
    (tmp_path / "mesh.glb").unlink()
    third = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, seed=3, resume=True))
    assert not third.resumed and same(first, third) and (tmp_path / "mesh.glb").exists()


def test_the_mesh_is_written_first_and_the_film_last(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-views", [*TINY, "system.guidance.embedded.outputs.frames=3"])
    there = []
    for one in reconstruct(photo, recipe, pipe=pipe, out=tmp_path):
        if isinstance(one, Progress) and one.stage == "outputs":
            found = {file.name for file in tmp_path.iterdir()}
            there.append((one.step, one.total, "mesh.glb" in found, "turntable.gif" in found))
    # The field and its level, the mesh, three frames, the film.
    assert there == [
        (1, 6, False, False),
        (2, 6, True, False),
        (3, 6, True, False),
        (4, 6, True, False),
        (5, 6, True, False),
        (6, 6, True, True),
    ]
    assert next(iter(json.loads((tmp_path / "metrics.json").read_text())["files"])) == (
        "field.safetensors"
    )


def test_what_a_killed_run_had_half_written_goes(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    half = tmp_path / ".making-0badcafe-mesh.glb"
    half.write_bytes(b"glTF")
    result(reconstruct(photo, read_recipe("tiny-views", TINY), pipe=pipe, out=tmp_path))
    assert not half.exists() and (tmp_path / "mesh.glb").exists()


@pytest.mark.parametrize("color", [(0, 0, 0, 0), (255, 255, 255, 255), (255, 255, 255, 0)])
def test_images_without_an_object_are_refused(
    color: tuple[int, ...], pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-views", TINY)
    blank = Image.new("RGBA", (32, 32), color)
    with pytest.raises(ValueError, match="image: expected (an object|something visible)"):
        reconstruct(blank, recipe, pipe=pipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_opaque_image_on_white_is_cut_from_it(photo: Image.Image, pipe: Zero123Pipeline) -> None:
    white = Image.new("RGBA", photo.size, "white")
    opaque = Image.alpha_composite(white, photo).convert("RGB")
    recipe = read_recipe("tiny-views", TINY)
    ticks = torch.linspace(-0.59, 0.59, 12)
    points = torch.cartesian_prod(ticks, ticks, ticks)
    cut, given = (
        result(reconstruct(one, recipe, pipe=pipe, stop=lambda: True)).field.density(points) > 1
        for one in (opaque, photo)
    )
    assert float((cut == given).float().mean()) > 0.95 and 0.1 < float(cut.float().mean()) < 0.9


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"max_steps": 0}, "max_steps: expected at least 1"),
        ({"seed": -1}, "seed: expected at least 0"),
        ({"resume": True}, "resume: expected a folder"),
        ({"input_elevation_deg": 100.0}, "input_elevation_deg: expected degrees"),
        ({"input_elevation_deg": float("nan")}, "input_elevation_deg: expected degrees"),
    ],
)
def test_arguments_are_checked_at_once(
    arguments: dict[str, Any], complaint: str, photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    with pytest.raises(ValueError, match=complaint):
        reconstruct(photo, read_recipe("tiny-views", TINY), pipe=pipe, **arguments)


def test_several_photos_are_views_of_the_field_and_conditions_of_the_model(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    """Another second photo, or another camera of it, is another run."""
    recipe = read_recipe("tiny-views", TINY)
    places = [RelativePose(), RelativePose(10.0, 90.0, 0.1)]
    other = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    def run(second: Image.Image, poses: list[RelativePose], **how: Any) -> Finished:
        steps = reconstruct([photo, second], recipe, pipe=pipe, input_poses=poses, **how)
        return result(steps)

    both = run(other, places, out=tmp_path, max_steps=2)
    assert not same(both, result(reconstruct(photo, recipe, pipe=pipe, max_steps=2)))
    assert both.metrics["input_camera"]["radius"] == pytest.approx(INPUT.radius)
    moved = [places[0], RelativePose(10.0, 80.0, 0.1)]
    for second, poses in ((photo, places), (other, moved)):
        with pytest.raises(ValueError, match="other photos"):
            run(second, poses, out=tmp_path, resume=True)
    assert run(other, places, out=tmp_path, resume=True).metrics["ended"] == "finished"


@pytest.mark.parametrize(
    ("recipe", "poses", "complaint"),
    [
        ("tiny-views", None, "^input_poses: expected one per image .2., the first one zero"),
        ("tiny-views", [(0, 0)], "^input_poses: expected one per image"),
        ("tiny-views", [(0, 5), (0, 90)], "^input_poses: expected one per image"),
        ("tiny-views", [(0, 0), (80, 0)], r"^input_poses\[1\].elevation_deg: expected degrees"),
        ("tiny-sds", [(0, 0), (0, 90)], "^recipe: expected one whose first stage is views"),
    ],
)
def test_several_photos_need_cameras_and_a_recipe_that_takes_them(
    recipe: str, poses: Any, complaint: str, photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    places = None if poses is None else [RelativePose(*angles) for angles in poses]
    with pytest.raises(ValueError, match=complaint):
        reconstruct([photo] * 2, read_recipe(recipe, TINY), pipe=pipe, input_poses=places)


def test_a_checkpoint_of_another_run_is_refused_and_kept(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-sds", TINY)
    result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, max_steps=2))
    kept = (tmp_path / CHECKPOINT).read_bytes()
    other = read_recipe("tiny-sds", [*TINY, "system.loss.lambda_sds=2"])
    for arguments, complaint in (
        ({"recipe": recipe}, "without a checkpoint.pt, or resume"),
        ({"recipe": other, "resume": True}, "the recipe that .* another"),
        ({"recipe": recipe, "resume": True, "seed": 5}, "the seed that .* '0', not '5'"),
        ({"recipe": recipe, "resume": True, "image": photo.rotate(90)}, "image that"),
    ):
        with pytest.raises(ValueError, match=complaint):
            reconstruct(**{"image": photo, "pipe": pipe, "out": tmp_path, **arguments})
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    (tmp_path / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="resume: expected a checkpoint of a reconstruction"):
        reconstruct(photo, recipe, pipe=pipe, out=tmp_path, resume=True)
