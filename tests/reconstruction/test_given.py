"""Images that one has already: found, brought to the field's cube, fitted, and brought back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from zero123lib.cli import main
from zero123lib.meshes.load import load_mesh
from zero123lib.reconstruction.engine import Finished, Progress, reconstruct_views, result
from zero123lib.reconstruction.given import find_world, given_views, looked_at
from zero123lib.reconstruction.posed import World
from zero123lib.reconstruction.recipes import read_recipe
from zero123lib.scenes import Scene, render
from zero123lib.views.cameras import FOV_DEG, camera_to_world
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json

PLACE = "system.guidance.embedded"
SMALL = [
    f"{PLACE}.field.resolutions=[32]", f"{PLACE}.field.milestones=[]", f"{PLACE}.field.samples=32",
    f"{PLACE}.fit.steps=60", f"{PLACE}.fit.color_steps=20", f"{PLACE}.fit.rays=512",
    f"{PLACE}.outputs.mesh_resolution=40", f"{PLACE}.outputs.texture_size=64",
    f"{PLACE}.outputs.frames=2", f"{PLACE}.outputs.size=16",
]  # fmt: skip
POSES = [Pose(e, a, 1.85) for e in (-20.0, 15.0, 50.0) for a in (0.0, 72.0, 144.0, 216.0, 288.0)]
# Where another program has the same object.
CENTRE, TIMES = torch.tensor([12.0, -3.0, 5.0]), 40.0


def take(scene: Scene, folder: Path, size: int = 48, moved: bool = False) -> Path:
    """A folder of images of an object, in our world, or as nerfstudio writes one in its own."""
    rgba = (render(scene, POSES, size).rgba * 255).round().to(torch.uint8).numpy()
    names = [f"r_{i}.png" for i in range(len(POSES))]
    folder.mkdir()
    for name, one in zip(names, rgba, strict=True):
        Image.fromarray(one).save(folder / name)
    listing = transforms_json(names, POSES)
    if moved:
        focal = 0.5 * size / math.tan(0.5 * listing.pop("camera_angle_x"))
        listing |= {"fl_x": focal, "fl_y": focal, "cx": size / 2, "cy": size / 2, "w": size,
                    "h": size, "camera_model": "OPENCV", "k1": 0.0}  # fmt: skip
        for frame in listing["frames"]:
            frame["file_path"] = frame["file_path"].removesuffix(".png")
            matrix = torch.tensor(frame["transform_matrix"])
            matrix[:3, 3] = matrix[:3, 3] * TIMES + CENTRE
            frame["transform_matrix"] = matrix.tolist()
    (folder / "transforms.json").write_text(json.dumps(listing))
    return folder


def bounds(vertices: torch.Tensor) -> torch.Tensor:
    return torch.stack([vertices.amin(0), vertices.amax(0)])


def test_images_of_our_world_stay_in_it(scene: Scene, tmp_path: Path) -> None:
    views = given_views(take(scene, tmp_path / "ours"), 48)
    assert views.world == World() and not views.first_is_true
    torch.testing.assert_close(views.cameras_to_world, camera_to_world(POSES))


def test_another_world_is_brought_to_ours_and_back(scene: Scene, tmp_path: Path) -> None:
    views = given_views(take(scene, tmp_path / "theirs", moved=True), 48)
    true = bounds(torch.from_numpy(scene.mesh().vertices).float())
    longest = float((true[1] - true[0]).max())
    assert 1 / views.world.scale == pytest.approx(TIMES * longest, rel=0.08)
    middle = CENTRE + TIMES * true.mean(0)
    assert (torch.tensor(views.world.centre) - middle).abs().max() < 0.05 * TIMES
    points = torch.rand(5, 3)
    cameras = torch.eye(4).repeat(5, 1, 1)
    cameras[:, :3, 3] = views.world.back(points)
    torch.testing.assert_close(
        views.world.cameras_from(cameras)[:, :3, 3], points, atol=1e-4, rtol=0
    )


def test_the_point_looked_at_is_where_the_silhouettes_are() -> None:
    """Off the images' middles: a small ball that is not at the origin."""
    cameras = camera_to_world(POSES)
    at = torch.tensor([0.2, -0.1, 0.15])
    from zero123lib.fields.projection import project

    masks = torch.zeros(len(POSES), 64, 64)
    for mask, camera in zip(masks, cameras, strict=True):
        (x, y), _ = project(at[None], camera, FOV_DEG)[0][0], None
        column, row = int((x + 1) * 32), int((y + 1) * 32)
        mask[row - 1 : row + 2, column - 1 : column + 2] = 1
    assert (looked_at(masks, cameras, FOV_DEG) - at).norm() < 0.02


def test_silhouettes_without_anything_in_common_are_refused() -> None:
    cameras = camera_to_world(POSES)
    masks = torch.zeros(len(POSES), 32, 32)
    masks[:, :4, :4] = 1
    with pytest.raises(ValueError, match="views: expected images whose silhouettes have something"):
        find_world(masks, cameras, FOV_DEG)


def test_a_run_makes_the_mesh_in_the_images_world_and_asks_no_model(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = take(scene, tmp_path / "theirs", moved=True), tmp_path / "run"
    words = ["reconstruct", "--views", str(folder), "--out", str(out), *SMALL]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "15 images of" in said and "recipe given-views, 80 steps" in said
    true = bounds(torch.from_numpy(scene.mesh().vertices).float()) * TIMES + CENTRE
    for name in ("mesh.ply", "mesh.glb"):
        found = bounds(load_mesh(out / name, normalise=False).vertices)
        assert (found - true).abs().max() < 0.08 * TIMES
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["model"] is None and metrics["stages"].keys() == {"fit"}
    assert metrics["world"]["scale"] < 1 / TIMES * 2
    # The images fit the mesh that was made of them: their cameras stand around it.
    assert main(["mesh", "texture", str(out / "mesh.ply"), str(folder), str(tmp_path / "a.glb"),
                 "--size", "64"]) == 0  # fmt: skip
    assert "warning" not in capsys.readouterr().err


def test_a_stopped_run_goes_on_to_the_bit(scene: Scene, tmp_path: Path) -> None:
    views = given_views(take(scene, tmp_path / "ours"), 48)
    recipe = read_recipe(
        "given-views", [*SMALL, f"{PLACE}.fit.steps=6", f"{PLACE}.outputs.mesh_level=20"]
    )
    *steps, whole = reconstruct_views(views, recipe)
    assert isinstance(whole, Finished)
    assert {one.stage for one in steps if isinstance(one, Progress)} == {"fit", "outputs"}
    first = result(reconstruct_views(views, recipe, out=tmp_path / "run", max_steps=3))
    assert first.metrics["ended"] == "max_steps"
    second = result(reconstruct_views(views, recipe, out=tmp_path / "run", resume=True))
    for name, value in whole.field.state_dict().items():
        assert torch.equal(second.field.state_dict()[name], value)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--views", "none"], "--views: expected a folder with a transforms.json, got none"),
        (["photo.png", "--views", "a"], "PHOTO: expected none beside --views, got 'photo.png'"),
        (["--views", "a", "--model", "tiny"], "--model: expected none beside --views"),
        (["--views", "a", "--config", "tiny-sds"], "--config: expected one whose stages are"),
        ([], "PHOTO: expected an image, or --views FOLDER, got none"),
    ],
)
def test_what_does_not_go_with_views_is_one_line(
    words: list[str], complaint: str, scene: Scene, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    take(scene, tmp_path / "a", 16)
    assert main(["reconstruct", *words, "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and complaint in said
    assert not Path("run").exists()
