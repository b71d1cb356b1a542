"""Field, fit, mesh and film on another device than the CPU: no tensor stays behind, no bit moves.

The device is `tests/elsewhere.py`'s, whose tensors refuse to meet the CPU's. What a real GPU makes
of the same is in `tests/gpu`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from tiny_runs import INPUT, TINY

from tests.elsewhere import Elsewhere, elsewhere
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.fitting import FitSettings, Fitting
from zero123lib.fields.silhouettes import Silhouette
from zero123lib.inversion.losses import channel_weights, draws
from zero123lib.reconstruction.engine import Finished, reconstruct, reconstruct_views, result
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.reconstruction.subject import Photo
from zero123lib.scenes import Scene, render
from zero123lib.views.cameras import FOV_DEG, camera_to_world
from zero123lib.views.poses import Pose

AROUND = [(up, turn) for up in (-10.0, 40.0) for turn in (0.0, 90.0, 180.0, -90.0)]
POSES = [INPUT, *(Pose(up, turn, 1.8) for up, turn in AROUND)]
SETTINGS = FitSettings(steps=8, resolutions=(10, 16), milestones=(0.5,), rays=128, samples=12)


@pytest.fixture(scope="module")
def views(scene: Scene) -> PosedViews:
    images = render(scene, POSES, 24).rgba
    return PosedViews(images, camera_to_world(POSES), FOV_DEG, torch.ones(len(POSES)))


def fitted(views: PosedViews) -> Fitting:
    """A fit that was saved and gone on with on the way."""
    first = Silhouette(views.images[0, ..., 3].cpu(), views.cameras_to_world[0].cpu())
    given = (views.images, views.cameras_to_world, views.fov_deg, SETTINGS)
    fitting = Fitting(*given, silhouette=first)
    for _ in range(6):
        fitting.advance()
    again = Fitting(*given, silhouette=first)
    again.load_state_dict(fitting.state_dict())
    while not again.finished:
        again.advance()
    return again


def test_a_fit_runs_where_its_images_are(
    views: PosedViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = fitted(views)
    with elsewhere(monkeypatch) as device:
        there = fitted(views.to(device))
        assert all(isinstance(one.data, Elsewhere) for one in there.field.parameters())
        assert isinstance(there.occupancy.cells, Elsewhere)
        assert there.level() == here.level()
    for one, other in zip(there.field.parameters(), here.field.parameters(), strict=True):
        assert torch.equal(one.data.cpu(), other)


def same(a: Finished, b: Finished) -> None:
    """The same field and meshes, to the bit, on the CPU."""
    states = a.field.state_dict(), b.field.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    for one, other in ((a.mesh, b.mesh), (a.textured, b.textured)):
        assert one is not None and other is not None
        assert torch.equal(one.vertices, other.vertices) and torch.equal(one.faces, other.faces)
    textures = [end.textured and end.textured.materials[0].texture for end in (a, b)]
    one, other = textures
    assert one is not None and other is not None and torch.equal(one, other)
    assert a.notes == b.notes


def test_images_are_reconstructed_on_a_device(
    views: PosedViews, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    recipe = read_recipe("given-views", TINY[:12])
    here = result(reconstruct_views(views, recipe, out=tmp_path / "here"))
    with elsewhere(monkeypatch) as device:
        run = reconstruct_views(views, recipe, out=tmp_path / "there", device=device)
        there = result(run)
    same(there, here)
    assert set(there.files) == set(here.files) and "turntable.gif" in here.files
    assert (tmp_path / "there/turntable.gif").read_bytes() == (
        tmp_path / "here/turntable.gif"
    ).read_bytes()


def test_a_photo_is_reconstructed_where_its_model_is(
    photo: Image.Image, pipe: Zero123Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the model itself, which stays: what it says crosses over as from a GPU."""
    recipe = read_recipe("tiny-views", TINY)
    here = result(reconstruct(photo, recipe, pipe=pipe))
    with elsewhere(monkeypatch) as device:
        monkeypatch.setattr(Photo, "device", property(lambda self: device))
        there = result(reconstruct(photo, recipe, pipe=pipe))
    same(there, here)


def test_a_run_does_not_go_on_on_another_kind_of_device(views: PosedViews, tmp_path) -> None:
    recipe = read_recipe("given-views", TINY[:12])
    result(reconstruct_views(views, recipe, out=tmp_path, max_steps=1))
    with pytest.raises(ArgumentError, match="resume: expected a run that began on .*got one on c"):
        reconstruct_views(views, recipe, out=tmp_path, resume=True, device="meta")


def test_what_is_made_lies_where_an_offloaded_model_runs() -> None:
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.enable_sequential_cpu_offload(device="cpu")
    assert pipe.device.type == "meta"
    view: Any = None
    assert Photo(view, pipe).device.type == "cpu"
    (draw,) = draws(pipe, [999], torch.Generator().manual_seed(0))
    assert draw.noise.device.type == channel_weights(pipe).device.type == "cpu"
