"""Views that agree wholly score near nothing, others the worse the less they agree."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.datasets.samples import world_to_camera
from zero123lib.evaluation import consistency_run, posed_folders
from zero123lib.evaluation.consistency_run import score_subject, steps_of
from zero123lib.evaluation.folders import find_pairs
from zero123lib.evaluation.posed_folders import find_subjects, stored_subject
from zero123lib.evaluation.protocols import SYNC_RIG, SYNCDREAMER, Rig
from zero123lib.evaluation.self_consistency import (
    Seen,
    between_cameras,
    depth_difference,
    fit,
    halves_agreement,
    nearest_cameras,
    part,
    reprojection_errors,
    self_consistency,
)
from zero123lib.evaluation.view_pairs import score_views
from zero123lib.fields.fitting import FitSettings
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.views.cameras import FOV_DEG, camera_to_world, focal_px, rays
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json

SIZE, VIEWS, DISTANCE = 32, 8, 1.6
QUICK = FitSettings(
    steps=40, rays=512, resolutions=(32,), milestones=(), samples=32, density_rate=0.2,
    color_rate=0.2, hull_tolerance=0.25, hull_margin_px=0,
)  # fmt: skip
POSES = [Pose(15.0, 360 * k / VIEWS, DISTANCE) for k in range(VIEWS)]
CAMERAS = camera_to_world(POSES)


def ball(camera: Tensor, radius: float, size: int = SIZE) -> tuple[Tensor, Tensor]:
    """Render a ball whose colour is its place: RGBA ``[S, S, 4]``, depth along the axis."""
    origins, ways = rays(camera, size, FOV_DEG)
    nearest = -(origins * ways).sum(-1)
    apart = (origins.square().sum(-1) - nearest**2).clamp_min(0)
    hit = apart < radius**2
    away = nearest - (radius**2 - apart).clamp_min(0).sqrt()
    color = (origins + away[..., None] * ways) / radius / 2 + 0.5
    rgba = torch.cat([color, torch.ones_like(color[..., :1])], -1)
    depth = away * (ways @ -camera[:3, 2])
    return torch.where(hit[..., None], rgba, 0.0).clamp(0, 1), torch.where(hit, depth, 0.0)


def balls(radii: list[float], size: int = SIZE) -> PosedViews:
    images = torch.stack([ball(c, r, size)[0] for c, r in zip(CAMERAS, radii, strict=True)])
    return PosedViews(images, CAMERAS, FOV_DEG, torch.ones(VIEWS))


def test_halves_of_two_sizes_are_as_far_apart_as_their_radii() -> None:
    views = balls([0.25, 0.4] * (VIEWS // 2))
    even, odd = (fit(part(views, start), QUICK) for start in (0, 1))
    found = halves_agreement(even, odd, between_cameras(CAMERAS)[::4], SIZE)
    # Both ways 0.15, in hundredths; a cell is 0.039, a pixel 0.046.
    assert found["chamfer_sum"] == pytest.approx(30, abs=6)
    assert found["f_score"] < 0.1
    same = halves_agreement(even, even, between_cameras(CAMERAS)[::4], SIZE)
    assert same["psnr_db"] == 100 and same["ssim"] == 1 and same["depth"] == 0
    assert same["lpips"] == 0 and same["chamfer_sum"] < 1.5 and same["f_score"] == 1


def test_the_less_views_agree_the_worse_is_every_number() -> None:
    """Each view is moved on its own, by 0, 2 and 4 pixels."""
    views = balls([0.36] * VIEWS)
    moves = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, 1], [1, -1], [-1, -1]])
    found = []
    for pixels in (0, 2, 4):
        moved = [
            torch.roll(image, (pixels * move).tolist(), (0, 1))
            for image, move in zip(views.images, moves, strict=True)
        ]
        agreed = self_consistency(replace(views, images=torch.stack(moved)), SIZE, QUICK)
        assert agreed.note == "" and len(agreed.numbers) == 7
        found.append(agreed.numbers)
    for name in found[0]:
        numbers = [one[name] for one in found]
        falling = name in ("psnr_db", "ssim", "f_score", "reprojection_db")
        assert numbers == sorted(numbers, reverse=falling), name
    # What a quick fit of four views at 32 px costs; moved views are far from it.
    agreeing, _, apart = found
    assert agreeing["psnr_db"] > apart["psnr_db"] + 5 and agreeing["depth"] < apart["depth"] / 2
    assert agreeing["reprojection_db"] > apart["reprojection_db"] + 2
    assert agreeing["chamfer_sum"] < apart["chamfer_sum"] / 2


def test_reprojection_sees_the_colours_of_the_neighbour() -> None:
    size = 64
    true = [ball(camera, 0.4, size) for camera in CAMERAS]
    images = torch.stack([image for image, _ in true])
    seen = [Seen(image[..., :3], image[..., 3], depth) for image, depth in true]
    views = PosedViews(images, CAMERAS, FOV_DEG, torch.ones(VIEWS))
    assert reprojection_errors(views, seen, 0.02).max() < 2e-4
    # A view that is brighter by 0.1 all over is off by just that, in it and where it is looked for.
    dimmed = 0.4 + 0.5 * images
    dimmed[..., 3] = images[..., 3]
    brighter = dimmed.clone()
    brighter[3, ..., :3] += 0.1
    errors = reprojection_errors(replace(views, images=brighter), seen, 0.02)
    touched = [k for k in range(VIEWS) if 3 in (k, nearest_cameras(CAMERAS)[k])]
    for index, error in enumerate(errors.tolist()):
        assert error == pytest.approx(0.01 if index in touched else 0, abs=1.5e-3)


def test_a_depth_that_one_alone_has_counts_whole() -> None:
    nothing = Seen(torch.ones(2, 2, 3), torch.zeros(2, 2), torch.zeros(2, 2))
    one = replace(nothing, opacity=torch.eye(2), depth=1.5 * torch.eye(2))
    assert depth_difference(one, nothing) == 1.5 and depth_difference(nothing, nothing) == 0


def test_the_cameras_between_are_higher_and_lower_than_the_views() -> None:
    cameras = between_cameras(CAMERAS)
    heights = torch.rad2deg(torch.asin(cameras[:, 2, 3] / DISTANCE))
    assert heights.tolist() == pytest.approx([25.0] * 8 + [5.0] * 8, abs=1e-3)
    assert nearest_cameras(CAMERAS)[:2] in ([1, 0], [1, 2], [7, 0], [7, 2])


def test_views_with_nothing_in_common_are_told() -> None:
    views = balls([0.1] * VIEWS)
    images = torch.stack(
        [torch.roll(one, 12 * (-1) ** (k // 2), 0) for k, one in enumerate(views.images)]
    )
    agreed = self_consistency(replace(views, images=images), SIZE, QUICK)
    assert agreed.numbers == {} and "even views: images: expected silhouettes" in agreed.note
    with pytest.raises(ArgumentError, match="views: expected at least 4, got 3"):
        self_consistency(replace(views, images=views.images[:3]), SIZE, QUICK)


def write(folder: Path, listing: bool = True, cameras: bool = False, count: int = VIEWS) -> Path:
    folder.mkdir(parents=True)
    for k, image in enumerate(balls([0.36] * VIEWS).images[:count]):
        pixels = (image * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{k:03d}.png")
        if cameras:
            np.save(folder / f"{k:03d}.npy", world_to_camera(POSES[k]))
    if listing:
        names = [f"{k:03d}.png" for k in range(count)]
        text = json.dumps(transforms_json(names, POSES[:count]))
        (folder / "transforms.json").write_text(text)
    return folder


def test_cameras_are_found_wherever_they_are(tmp_path: Path) -> None:
    listed = stored_subject("a", write(tmp_path / "a"))
    beside = stored_subject("b", write(tmp_path / "b", listing=False, cameras=True))
    bare = write(tmp_path / "c", listing=False)
    there = stored_subject("c", bare, tmp_path / "b")
    for one in (listed, beside, there):
        assert torch.allclose(one.views.cameras_to_world, CAMERAS, atol=1e-5)
        assert torch.allclose(one.views.images[..., 3], balls([0.36] * VIEWS).images[..., 3])
        assert one.views.fov_deg == pytest.approx(FOV_DEG) and one.names[0] == "000"
    assert there.truth is not None and torch.equal(there.truth.images, there.views.images)
    with pytest.raises(ArgumentError, match="expected a transforms.json or 000.npy, .* or --rig"):
        stored_subject("c", bare)
    with pytest.raises(ArgumentError, match="the rig's 16 views, got 8"):
        stored_subject("c", bare, rig=SYNC_RIG)
    with pytest.raises(ArgumentError, match="predictions: expected at least 4 views, got 3"):
        stored_subject("d", write(tmp_path / "d", count=3))
    (tmp_path / "b" / "005.npy").unlink()
    with pytest.raises(ArgumentError, match="a camera 005.npy beside the others"):
        stored_subject("b", tmp_path / "b")
    assert list(find_subjects(tmp_path, ["a", "d"])) == ["a", "d"]
    with pytest.raises(ArgumentError, match="objects: expected some of a, d, got z"):
        find_subjects(tmp_path, ["z"])


def test_steps_that_are_told_add_up(tmp_path: Path) -> None:
    """Whether they are made, known already, or not made since nothing can be fitted."""
    subject = stored_subject("ball", write(tmp_path / "ball"), size=SIZE)
    small = replace(QUICK, steps=3, resolutions=(16,), rays=128, samples=16)
    apart = replace(subject, input=torch.zeros(SIZE, SIZE, 4))
    for one in (subject, subject, apart):
        told: list[int] = []
        score_subject(one, small, tmp_path / "cells", told.append)
        assert sum(told) == steps_of(False, small) == 27


def test_opaque_views_on_white_lose_their_ground(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    clear = stored_subject("a", folder).views.images[..., 3] > 0.5
    for file in folder.glob("*.png"):
        image = Image.open(file)
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        white.save(file)
    found = stored_subject("a", folder).views.images[..., 3] > 0.5
    assert (clear == found).float().mean() > 0.99


def test_the_truth_goes_through_the_engine(tmp_path: Path) -> None:
    """The field's images of a ball are near it, and are one of the answers."""
    folder = write(tmp_path / "ball", listing=False)
    rig = Rig(tuple(POSES), focal_px(SIZE, FOV_DEG), SIZE)
    protocol = replace(SYNCDREAMER, rig=rig, size_px=SIZE, views=range(VIEWS), lpips=None)
    (pair,) = find_pairs(protocol, folder, folder)
    scored = score_views(protocol, pair, None, engine=replace(QUICK, steps=150))
    assert list(scored.answers) == ["prediction", "input", "blank", "nearest", "engine"]
    others = [scored.mean(name, "psnr_db") for name in ("blank", "nearest")]
    assert scored.mean("engine", "psnr_db") > max(others)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the measurements, each of which is quick."""
    real, asked = consistency_run.self_consistency, []

    small = replace(QUICK, steps=8, resolutions=(16,), rays=128, samples=16)

    def counted(views: PosedViews, size: int, settings: FitSettings, told):
        asked.append(str(len(views.images)))
        return real(views, size, small, told)

    monkeypatch.setattr(consistency_run, "self_consistency", counted)
    monkeypatch.setattr(consistency_run, "fit", lambda views, settings: fit(views, small))
    return asked


def test_a_folder_is_measured_and_goes_on(tmp_path: Path, quick: list[str], capsys) -> None:
    write(tmp_path / "views" / "ball")
    words = ["evaluate", "mvgbench", str(tmp_path / "views"), str(tmp_path / "views")]
    out = tmp_path / "report"
    assert main([*words, "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    answers = report["objects"][0]["answers"]
    assert list(answers) == ["prediction", "agreeing", "input", "truth"]
    # The truth has the predictions' own views, which are known by then.
    assert answers["truth"] == answers["prediction"] and len(quick) == 3
    assert all(math.isfinite(v[0]) for one in answers.values() for v in one.values())
    printed = capsys.readouterr().out
    assert "voxel fields of ours" in printed and "not at hand: oFID" in printed
    fits = ["--size", "128", "--fit-steps", "150"]
    assert report["command"] == " ".join(["zero123", *words, *fits])
    assert (out / "report.html").read_text().count("<img") == 1
    assert main([*words, "--out", str(out)]) == 0 and len(quick) == 3
    # Of other fits the numbers are others.
    assert main([*words, "--fit-steps", "149", "--out", str(tmp_path / "other")]) == 0
    assert main(["evaluate", "compare", str(out), str(out)]) == 0
    assert main(["evaluate", "compare", str(out), str(tmp_path / "other")]) == 2
    assert "as a is" in capsys.readouterr().err
    asked = len(quick)
    # Killed after the first answer: its numbers stay, and the others are measured anew.
    killed = tmp_path / "killed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(consistency_run, "agreeing", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            main([*words, "--out", str(killed)])
    assert len(quick) == asked + 1 and not (killed / "report.json").exists()
    assert main([*words, "--out", str(killed)]) == 0 and len(quick) == asked + 3
    again = json.loads((killed / "report.json").read_text())
    assert again["objects"] == report["objects"]


def test_a_photo_is_measured_by_what_a_model_makes_of_it(
    tmp_path: Path, quick: list[str], capsys, monkeypatch
) -> None:
    pixels = (ball(CAMERAS[0], 0.36, 64)[0] * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    words = ["evaluate", "consistency", str(tmp_path / "photo.png"), "--count", "4"]
    assert main([*words, "--steps", "1", "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["objects"][0]["name"] == "photo" and quick == ["4"] * 3
    assert "4 views by tiny" in capsys.readouterr().out
    assert "--count 4" in report["command"] and "--steps 1" in report["command"]
    # The same views are measured again, were the model to make others or none.
    monkeypatch.setattr(posed_folders, "made_subject", lambda *_, **__: 1 / 0)
    for file in (tmp_path / "report" / "cells").glob("*.json"):
        file.unlink()
    assert main([*words, "--steps", "1", "--out", str(tmp_path / "report")]) == 0
    again = json.loads((tmp_path / "report" / "report.json").read_text())
    assert again["objects"] == report["objects"] and len(quick) == 6


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["consistency", "{}", "--count", "8"], "PLACE: expected a photo beside options that"),
        (["consistency", "{}/none.png"], "none.png"),
        (["consistency", "{}/ball.png", "--cameras", "{}"], "--cameras: expected none beside one"),
        (
            ["consistency", "{}"],
            "PLACE: expected a transforms.json or 000.npy, ... beside the views",
        ),
        (
            ["consistency", "{}", "--rig", "syncdreamer"],
            "PLACE: expected the rig's 16 views, got 8",
        ),
        (["consistency", "{}/ball.png", "--rig", "sv3d"], "--rig: expected a folder of views"),
        (["mvgbench", "{}/none"], "PREDICTIONS: expected a folder of views"),
        (["mvgbench", "{}", "--model", "tiny"], "TRUTH: expected a folder with the inputs"),
    ],
)
def test_wrong_input_is_one_line(words, complaint, tmp_path: Path, capsys) -> None:
    write(tmp_path / "bare", listing=False)
    Image.new("RGBA", (32, 32), "red").save(tmp_path / "ball.png")
    assert main(["evaluate", *(word.format(tmp_path) for word in words)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert complaint in line
