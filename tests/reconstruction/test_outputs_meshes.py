"""The mesh's colours and shape from the views: as the recipe says, or the plain mesh and a note."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._optional import MissingExtraError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.meshes.agreement import silhouette_ious
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.render import render as render_mesh
from zero123lib.meshes.shading import AMBIENT
from zero123lib.reconstruction import fitted, meshed
from zero123lib.reconstruction.engine import Finished, Progress, reconstruct, result
from zero123lib.reconstruction.faults import ReconstructionError
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.scenes import Scene, render
from zero123lib.views.poses import Pose

from tiny_runs import INPUT, TINY  # isort: skip

PLACE = "system.guidance.embedded"
VIEWS, FIELD = (f"{PLACE}.outputs.texture_from={name}" for name in ("views", "field"))
REFINED = [f"{PLACE}.refine.steps=30", f"{PLACE}.refine.vertex_rate=0.01"]
# Enough of a field for a mesh that resembles the object.
SOUND = [
    *TINY, f"{PLACE}.field.resolutions=[32]", f"{PLACE}.field.milestones=[]",
    f"{PLACE}.fit.hull_tolerance=0.02", f"{PLACE}.views.azimuths=8",
    f"{PLACE}.outputs.mesh_resolution=32", f"{PLACE}.outputs.texture_size=128",
]  # fmt: skip
UNSEEN = [Pose(20.0, azimuth, INPUT.radius) for azimuth in (22.0, 157.0, 293.0)]


@pytest.fixture
def true_views(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """The object's own images in place of the model's views."""

    def made(*args: Any) -> Iterator[torch.Tensor]:
        poses, done = args[5], args[7]
        for first in range(done, len(poses), 8):
            rgba = render(scene, poses[first : first + 8], 32, background="white").rgba
            yield rgba[..., :3].permute(0, 3, 1, 2)

    monkeypatch.setattr(fitted, "made_views", made)


def on_white(mesh: Mesh, pose: Pose) -> torch.Tensor:
    seen = render_mesh(mesh, Camera.at(pose, 64), AMBIENT, 2).color
    return seen[..., :3] * seen[..., 3:] + 1 - seen[..., 3:]


def error(mesh: Mesh, scene: Scene) -> float:
    """Of images from cameras that no view has."""
    truth = render(scene, UNSEEN, 64, background="white").rgba[..., :3]
    seen = torch.stack([on_white(mesh, pose) for pose in UNSEEN])
    return float((seen - truth).square().mean())


def run(photo: Image.Image, pipe: Zero123Pipeline, words: list[str], **more: Any) -> Finished:
    return result(reconstruct(photo, read_recipe("tiny-views", words), pipe=pipe, **more))


def test_refining_and_painting_bring_the_mesh_nearer_to_the_object(
    true_views: None, scene: Scene, photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    plain = run(photo, pipe, [*SOUND, FIELD], out=tmp_path / "plain")
    both = run(photo, pipe, [*SOUND, VIEWS, *REFINED], out=tmp_path / "both")
    assert not both.notes
    meshes = [load_mesh(end.files["mesh.glb"], normalise=False) for end in (plain, both)]
    assert error(meshes[1], scene) < 0.8 * error(meshes[0], scene)
    assert meshes[1].materials[0].texture is not None
    # mesh.ply has the shape and the colours, too.
    ply = load_mesh(both.files["mesh.ply"], normalise=False)
    assert both.mesh is not None and plain.mesh is not None
    torch.testing.assert_close(ply.vertices, both.mesh.vertices)
    assert error(ply, scene) < 0.8 * error(plain.mesh, scene)
    found = facts(both.mesh)
    assert found.watertight and found.oriented and found.degenerate_faces == 0
    numbers = json.loads(both.files["metrics.json"].read_text())["mesh"]["refined"]
    assert numbers["steps"] == 30 and numbers["seconds"] > 0
    assert numbers["last_losses"]["color"] < 0.5 * numbers["first_losses"]["color"]
    assert plain.metrics["mesh"]["refined"] is None


def test_from_its_camera_the_mesh_is_the_photo_whatever_the_views_say(
    photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    """The views are noise, of a model that has learnt nothing, and have no hull in common."""
    with pytest.raises(ReconstructionError, match="hull is empty"):
        run(photo, pipe, [*SOUND, VIEWS, f"{PLACE}.keep_silhouette=false"])
    end = run(photo, pipe, [*SOUND, VIEWS])
    assert end.textured is not None
    rgba = torch.from_numpy(np.array(photo)).float() / 255
    camera = Camera.at(INPUT, 32)
    assert float(silhouette_ious(end.textured, rgba[None], [camera])) > 0.9
    seen = render_mesh(end.textured, camera, AMBIENT, 2).color
    both = (rgba[..., 3] == 1) & (seen[..., 3] == 1)
    inner = torch.nn.functional.avg_pool2d(both[None].float(), 5, 1, 2)[0] > 0.99
    assert int(inner.sum()) > 100 and (seen - rgba)[inner].abs().max() < 0.02


def test_painting_alone_keeps_the_shape(
    true_views: None, photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    plain = run(photo, pipe, [*TINY, FIELD]).mesh
    painted = run(photo, pipe, [*TINY, VIEWS], out=tmp_path / "both").mesh
    words = [*TINY, VIEWS, f"{PLACE}.outputs.texture_size=0"]
    end = run(photo, pipe, words, out=tmp_path / "vertices")
    assert plain is not None and painted is not None
    assert torch.equal(plain.vertices, painted.vertices)
    assert plain.vertex_colors is not None and painted.vertex_colors is not None
    assert float((plain.vertex_colors - painted.vertex_colors).abs().max()) > 0.05
    # Without a texture in the file the vertices have the views' colours all the same.
    mesh = load_mesh(end.files["mesh.glb"], normalise=False)
    assert end.mesh is not None and mesh.materials[0].texture is None
    pose = Pose(20.0, 40.0, INPUT.radius)
    assert float((on_white(mesh, pose) - on_white(painted, pose)).abs().mean()) < 0.03


def test_refined_colours_are_what_the_texture_has_without_the_views(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    end = run(photo, pipe, [*TINY, FIELD, f"{PLACE}.refine.steps=5"], out=tmp_path)
    assert end.mesh is not None and not end.notes
    baked = load_mesh(end.files["mesh.glb"], normalise=False)
    pose = Pose(20.0, 40.0, INPUT.radius)
    assert float((on_white(baked, pose) - on_white(end.mesh, pose)).abs().mean()) < 0.03


def test_each_step_of_refinement_is_progress(photo: Image.Image, pipe: Zero123Pipeline) -> None:
    recipe = read_recipe("tiny-views", [*TINY, f"{PLACE}.refine.steps=4"])
    steps = [
        (one.step, one.total)
        for one in reconstruct(photo, recipe, pipe=pipe)
        if isinstance(one, Progress) and one.stage == "outputs"
    ]
    assert steps == [(step, 7) for step in range(1, 8)]


def test_a_seed_is_a_mesh(photo: Image.Image, pipe: Zero123Pipeline) -> None:
    words = [*TINY, f"{PLACE}.refine.steps=4", f"{PLACE}.refine.views_per_step=1"]
    ends = [run(photo, pipe, words, seed=0).mesh for _ in range(2)]
    assert ends[0] is not None and ends[1] is not None
    assert torch.equal(ends[0].vertices, ends[1].vertices)


@pytest.mark.parametrize("what", [ValueError("of no use"), RuntimeError("out of memory"),
                                  MissingExtraError("no Open3D")])  # fmt: skip
def test_what_fails_leaves_the_plain_mesh_and_a_note(
    what: Exception,
    photo: Image.Image,
    pipe: Zero123Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*args: Any, **options: Any) -> Any:
        raise what

    plain = run(photo, pipe, TINY).mesh
    monkeypatch.setattr(meshed, "refine", failing)
    monkeypatch.setattr(meshed, "texture_from_views", failing)
    end = run(photo, pipe, [*TINY, VIEWS, f"{PLACE}.refine.steps=4"], out=tmp_path)
    assert end.notes == (
        f"the mesh is not refined: {what}",
        f"the mesh has the field's colours, not the views': {what}",
    )
    assert end.mesh is not None and plain is not None
    assert torch.equal(end.mesh.vertices, plain.vertices)
    assert load_mesh(end.files["mesh.glb"]).materials[0].texture is not None
    assert end.metrics["mesh"]["refined"] is None


def test_a_stop_leaves_the_mesh_unrefined_and_all_files(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    recipe = read_recipe("tiny-views", [*TINY, f"{PLACE}.refine.steps=1000"])
    refining: list[int] = []
    progress = reconstruct(photo, recipe, pipe=pipe, out=tmp_path, stop=lambda: len(refining) >= 3)
    for one in progress:
        if isinstance(one, Progress) and one.stage == "outputs" and 1 < one.step <= 1000:
            refining.append(one.step)
        end = one
    assert isinstance(end, Finished) and end.mesh is not None
    assert end.notes == ("the mesh is not refined: the run was stopped",)
    assert {"mesh.ply", "mesh.glb", "metrics.json"} <= end.files.keys() and len(refining) == 3


@pytest.mark.parametrize(
    ("name", "word", "complaint"),
    [
        ("tiny-sds", "outputs.texture_from=views", "outputs.texture_from: expected field where"),
        ("tiny-sds", "refine.steps=5", "refine.steps: expected 0 where there is no stage views"),
        ("tiny-views", "outputs.texture_from=model", "texture_from: expected one of field, views"),
        ("tiny-views", "outputs.texture_steps=-1", "texture_steps: expected .* at least 0, got -1"),
        ("tiny-views", "refine.steps=-1", "refine.steps: expected .* at least 0, got -1"),
        ("tiny-views", "refine.step=5", "did you mean 'steps'"),
        ("tiny-views", "refine.laplacian=-1", "laplacian: expected .* at least 0, got -1"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_read(name: str, word: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"^{PLACE}.*{complaint}"):
        read_recipe(name, [f"{PLACE}.{word}"])
