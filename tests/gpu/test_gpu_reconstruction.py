"""`zero123 reconstruct`, of photos and of views that are there, and its fields, on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.fields.fitted import ring_poses, views_of
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation.samples import Sample
from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.occupancy import evaluate, lattice
from zero123lib.fields.silhouettes import Silhouette
from zero123lib.metrics import volume_iou
from zero123lib.reconstruction.engine import Finished, reconstruct, reconstruct_views, result
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.scenes import HELD_OUT_SEED, random_scene
from zero123lib.views.cameras import FOV_DEG

pytestmark = pytest.mark.gpu

SMALL = [
    "system.guidance.embedded.field.resolutions=[16, 24]",
    "system.guidance.embedded.field.milestones=[0.5]",
    "system.guidance.embedded.field.samples=24",
    "system.guidance.embedded.fit.steps=40",
    "system.guidance.embedded.fit.color_steps=10",
    "system.guidance.embedded.fit.rays=512",
    "system.guidance.embedded.outputs.frames=2",
    "system.guidance.embedded.outputs.size=32",
    "system.guidance.embedded.outputs.mesh_resolution=32",
    "system.guidance.embedded.outputs.texture_size=128",
]
OF_PHOTO = [
    *SMALL,
    "system.guidance.embedded.views.azimuths=4",
    "system.guidance.embedded.views.elevations_deg=[0.0, 40.0]",
    "system.guidance.embedded.preprocess=none",
    "trainer.max_steps=10",
    "data.random_camera.height=24",
    "data.random_camera.width=24",
]


def solid(end: Finished) -> torch.Tensor:
    """Where a result's field is inside, on the CPU."""
    centers = lattice(24, 0.6, centers=True)
    return evaluate(end.field.density, centers) > end.metrics["surface_level"]


@pytest.fixture(scope="module")
def posed() -> PosedViews:
    """True views of a held-out scene."""
    poses = ring_poses(3)
    images, cameras = views_of(random_scene(HELD_OUT_SEED + 4), poses, 40)
    return PosedViews(images, cameras, FOV_DEG, torch.ones(len(poses)))


def test_a_fit_takes_the_same_shape(device: torch.device, posed: PosedViews) -> None:
    """Chance differs from device to device, what it leads to does not."""
    settings = FitSettings(steps=40, resolutions=(16, 24), milestones=(0.5,), rays=512, samples=24)
    centers, found = lattice(24, 0.6, centers=True), []
    for views in (posed.to(device), posed):
        known = Silhouette(views.images[0, ..., 3], views.cameras_to_world[0])
        fitting = Fitting(views.images, views.cameras_to_world, FOV_DEG, settings, silhouette=known)
        while not fitting.finished:
            step = fitting.advance()
        assert fitting.field.raw_density.device.type == views.images.device.type
        assert step.losses["rgb"] < 0.01
        level = fitting.level()
        found.append(evaluate(fitting.field.cpu().density, centers) > level)
    assert float(volume_iou(*found)) > 0.9


def test_given_views_are_reconstructed(
    device: torch.device, posed: PosedViews, tmp_path: Path
) -> None:
    recipe = read_recipe("given-views", SMALL)
    there = result(reconstruct_views(posed, recipe, out=tmp_path, device=device))
    here = result(reconstruct_views(posed, recipe))
    assert float(volume_iou(solid(there), solid(here))) > 0.9
    assert there.textured is not None and {"mesh.glb", "turntable.gif"} <= set(there.files)
    assert there.notes == here.notes


@pytest.mark.parametrize("recipe", ["tiny-views", "tiny-sds"])
def test_a_photo_is_reconstructed(
    pipe: Zero123Pipeline, on_cpu: Zero123Pipeline, sample: Sample, recipe: str, tmp_path: Path
) -> None:
    ends = []
    for one, out in ((pipe, tmp_path), (on_cpu, None)):
        run = reconstruct(sample.condition, read_recipe(recipe, OF_PHOTO), pipe=one, out=out)
        ends.append(result(run))
    there, here = ends
    assert there.metrics["ended"] == "finished" and there.notes == here.notes
    assert there.field.raw_density.device.type == "cpu"
    assert (there.mesh is None) == (here.mesh is None)
    # Ten steps of distillation say little; where views are fitted, the shape is the same.
    if recipe == "tiny-views":
        assert float(volume_iou(solid(there), solid(here))) > 0.8


def test_a_run_that_was_stopped_goes_on(
    pipe: Zero123Pipeline, sample: Sample, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-sds", OF_PHOTO)
    first = result(reconstruct(sample.condition, recipe, pipe=pipe, out=tmp_path, max_steps=4))
    assert first.metrics["ended"] == "max_steps"
    whole = result(reconstruct(sample.condition, recipe, pipe=pipe, out=tmp_path, resume=True))
    assert whole.metrics["ended"] == "finished"
