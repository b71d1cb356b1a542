"""Files: whole, readable by others, and the same object in each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib._optional import MissingExtraError
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.levels import max_density
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.meshes import atlas
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.shading import base_color, to_srgb
from zero123lib.metrics import silhouette_iou
from zero123lib.reconstruction import videos
from zero123lib.reconstruction.engine import Finished, reconstruct, result
from zero123lib.reconstruction.outputs import load_field, write_field
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.images import alpha_from_white
from zero123lib.views.poses import Pose

from tiny_runs import INPUT, TINY  # isort: skip

FIELD = "system.guidance.embedded.outputs.texture_from=field"
FILES = {
    "field.safetensors", "field.json", "turntable.gif", "turntable.mp4", "depth.mp4",
    "normals.mp4", "views.png", "mesh.ply", "mesh.glb", "metrics.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def end(photo: Image.Image, pipe: Zero123Pipeline, tmp_path_factory: Any) -> Finished:
    """A finished run with all its files."""
    folder = tmp_path_factory.mktemp("run")
    size = "system.guidance.embedded.outputs.texture_size=128"
    recipe = read_recipe("tiny-views", [*TINY, FIELD, size])
    return result(reconstruct(photo, recipe, pipe=pipe, out=folder))


def test_all_files_are_there_and_nothing_else(end: Finished) -> None:
    assert end.files.keys() == FILES and not end.notes
    folder = end.files["metrics.json"].parent
    assert {file.name for file in folder.iterdir()} - {".lock"} == FILES


def test_the_field_is_read_back_as_it_was(end: Finished) -> None:
    again = load_field(end.files["field.json"].parent)
    assert again.settings == end.field.settings
    points = torch.rand(50, 3) - 0.5
    assert torch.equal(again.density(points), end.field.density(points))
    assert torch.equal(again.color(points), end.field.color(points))


def test_a_folder_without_a_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folder: expected a field"):
        load_field(tmp_path)
    write_field(tmp_path, VoxelField(VoxelSettings(4)))
    (tmp_path / "field.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match="folder: expected a field"):
        load_field(tmp_path)


def test_metrics_tell_how_it_came_about(end: Finished) -> None:
    content = json.loads(end.files["metrics.json"].read_text())
    assert content == json.loads(json.dumps(end.metrics))
    assert content["stages"]["fit"]["steps"] == content["stages"]["fit"]["of"] == 12
    assert content["seconds"].keys() == {"views", "fit", "outputs"}
    assert content["recipe"] == "tiny-views" and content["seed"] == 0
    assert content["input_camera"]["azimuth_deg"] == 0
    assert content["versions"]["torch"] == torch.__version__
    assert "lambda_sds" in content["recipe_text"] or "embedded" in content["recipe_text"]


def test_meshes_are_the_field_in_their_files_axes(end: Finished) -> None:
    """A file that names no axes of its own is read as it is: PLY z-up, glTF y-up."""
    import trimesh

    assert end.mesh is not None
    world = end.mesh.vertices.numpy()
    ply = trimesh.load_mesh(end.files["mesh.ply"], process=False)
    np.testing.assert_allclose(ply.bounds, [world.min(0), world.max(0)], atol=1e-5)
    glb = trimesh.load_scene(end.files["mesh.glb"]).to_geometry()
    x, y, z = world.T
    turned = np.stack([x, z, -y], -1)
    np.testing.assert_allclose(glb.bounds, [turned.min(0), turned.max(0)], atol=1e-5)


def test_the_glb_has_the_fields_colours_in_a_texture(end: Finished) -> None:
    mesh = load_mesh(end.files["mesh.glb"], normalise=False)
    assert mesh.materials[0].texture is not None and mesh.vertex_colors is None
    assert mesh.materials[0].texture.shape == (128, 128, 4)
    ids, middle = torch.arange(len(mesh.faces)), torch.full((len(mesh.faces), 3), 1 / 3)
    seen = to_srgb(base_color(mesh, ids, middle))[:, :3]
    there = end.field.color(mesh.triangles.mean(1))
    assert float((seen - there).abs().mean()) < 0.25 * float((there - there.mean(0)).abs().mean())


def test_without_a_texture_the_glb_has_colours_at_its_vertices(
    end: Finished, photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path
) -> None:
    words = [*TINY, "system.guidance.embedded.outputs.texture_size=0"]
    plain = result(reconstruct(photo, read_recipe("tiny-views", words), pipe=pipe, out=tmp_path))
    mesh = load_mesh(plain.files["mesh.glb"], normalise=False)
    assert mesh.vertex_colors is not None and mesh.materials[0].texture is None


def test_a_texture_that_cannot_be_made_is_a_note(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atlas, "MAX_FACES", 1)
    recipe = read_recipe("tiny-views", [*TINY, FIELD])
    end = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path))
    (note,) = end.notes
    assert note.startswith("mesh.glb has colours at its vertices, and no texture: mesh: expected")
    assert load_mesh(end.files["mesh.glb"]).vertex_colors is not None


def test_videos_have_a_frame_per_camera(end: Finished) -> None:
    import imageio.v3 as imageio

    with Image.open(end.files["turntable.gif"]) as image:
        assert (image.size, getattr(image, "n_frames", 1)) == ((16, 16), 2)
    for name in ("turntable", "depth", "normals"):
        frames = imageio.imread(end.files[f"{name}.mp4"])
        assert frames.shape == (2, 16, 16, 3)


def test_a_film_shows_its_frames(tmp_path: Path) -> None:
    import imageio.v3 as imageio

    frames = [torch.full((32, 32, 3), value) for value in (0.1, 0.5, 0.9)]
    videos.write_mp4(tmp_path / "a.mp4", frames)
    found = imageio.imread(tmp_path / "a.mp4").astype(float).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(found, [0.1, 0.5, 0.9], atol=0.03)


def test_without_ffmpeg_there_is_the_gif_and_a_note(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(module: str, extra: str) -> None:
        raise MissingExtraError(f"{module} is not installed: pip install 'zero123lib[{extra}]'")

    monkeypatch.setattr(videos, "require", missing)
    recipe = read_recipe("tiny-views", TINY)
    end = result(reconstruct(photo, recipe, pipe=pipe, out=tmp_path, max_steps=1))
    assert "turntable.gif" in end.files and "turntable.mp4" not in end.files
    assert any("zero123lib[video]" in note for note in end.notes)
    assert not list(tmp_path.glob(".making-*"))


def test_the_level_is_the_one_whose_surface_has_the_silhouette(
    photo: Image.Image, pipe: Zero123Pipeline
) -> None:
    """On a field that begins as the hull of the image: none of the model's views have a say."""
    recipe = read_recipe(
        "tiny-views", [*TINY, "system.guidance.embedded.field.resolutions=[32,33]"]
    )
    end = result(reconstruct(photo, recipe, pipe=pipe, stop=lambda: True))
    mask = torch.from_numpy(np.asarray(photo)[..., 3] >= 128)
    camera = camera_to_world([Pose(INPUT.elevation_deg, 0.0, INPUT.radius)])
    most = max_density(end.field.density, end.field.half_extent, camera, 32).reshape(32, 32)
    level = end.metrics["surface_level"]
    shares = [float(silhouette_iou(most > f * level, mask)) for f in (0.1, 0.5, 1.0, 1.5, 10)]
    assert shares[2] == max(shares) > 0.9


def test_cutting_from_white_and_putting_back_is_the_image() -> None:
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    images[0, :, 0] = 1.0
    images[0, :, 1] = torch.tensor([0.97, 1.0, 1.0])[:, None]
    rgba = alpha_from_white(images, 0.3)
    alpha = rgba[..., 3:]
    back = rgba[..., :3] * alpha + 1 - alpha
    assert bool((alpha[0, 0] == 0).all()) and torch.allclose(alpha[0, 1], torch.tensor(0.1))
    dark = images.amin(1) < 0.7
    assert bool((alpha[..., 0][dark] == 1).all())
    # Colours below 0 cannot be had: where the alpha is too small for them, that much is lost.
    assert torch.allclose(back, images.movedim(1, -1), atol=1e-5)
