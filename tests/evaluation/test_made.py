"""A model's predictions under a protocol: asked at its cameras, kept, and scored like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.datasets.samples import world_to_camera
from zero123lib.evaluation.folders import find_pairs, find_truth, read_views
from zero123lib.evaluation.made import (
    Asked,
    find_asked,
    lacking_views,
    make_predictions,
    render_lacking,
    told_lacking,
)
from zero123lib.evaluation.predictions import Setting
from zero123lib.evaluation.protocols import (
    FOLDER,
    IFUSION,
    PROTOCOLS,
    SV3D,
    SYNC_RIG,
    SYNCDREAMER,
)
from zero123lib.evaluation.view_pairs import score_images
from zero123lib.views.poses import Pose, RelativePose

SETTING = Setting(1, 1.0)
TETRAHEDRON = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"


def write_views(folder: Path, poses: list[Pose], size: int = 32, cameras: bool = True) -> Path:
    """Write a square that moves with the azimuth, and the cameras beside."""
    folder.mkdir(parents=True)
    for number, pose in enumerate(poses):
        pixels = np.zeros((size, size, 4), np.uint8)
        start = round(pose.azimuth_deg / 360 * size / 2) + 4
        pixels[size // 4 : size // 2, start : start + size // 4] = (200, 30, 60, 255)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        if cameras:
            np.save(folder / f"{number:03d}.npy", world_to_camera(pose))
    return folder


POSES = [Pose(10.0, 0.0, 1.6), Pose(25.0, 40.0, 1.9), Pose(-5.0, 200.0, 2.0)]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    for name in ("cup", "hat"):
        write_views(tmp_path / "true" / name, POSES)
    return tmp_path / "true"


def test_cameras_beside_the_views_are_asked_for(truth: Path, echo, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("zero123lib.evaluation.made.weights_fingerprint", lambda pipe: "echo")
    asked = find_asked(FOLDER, truth)
    assert [one.name for one in asked] == ["cup", "hat"]
    assert list(make_predictions(FOLDER, echo, SETTING, asked, tmp_path / "made")) == ["cup", "hat"]
    for call in echo.asked:
        assert call.condition_elevation_deg == pytest.approx(10)
        turns = [POSES[k].relative_to(POSES[0]) for k in range(3)]
        for found, wanted in zip(call.poses, turns, strict=True):
            assert (found.elevation_deg, found.azimuth_deg % 360, found.radius) == pytest.approx(
                (wanted.elevation_deg, wanted.azimuth_deg % 360, wanted.radius), abs=1e-4
            )
    noise = [call.generator.initial_seed() for call in echo.asked]
    assert noise[0] != noise[1]
    # The echo's answer is the input on white, which is what it finds in the folder.
    with Image.open(tmp_path / "made" / "hat" / "002.png") as made:
        source = Image.open(truth / "hat" / "000.png")
        white = Image.new("RGB", source.size, "white")
        white.paste(source, mask=source.getchannel("A"))
        assert np.abs(np.asarray(made, int) - np.asarray(white, int)).max() <= 1


def test_a_protocols_own_cameras_are_asked_for(tmp_path: Path) -> None:
    for protocol in (SYNCDREAMER, SV3D):
        assert protocol.rig is not None
        poses = list(protocol.rig.poses)
        true = write_views(tmp_path / protocol.name / "cup", poses, cameras=False).parent
        (asked,) = find_asked(protocol, true)
        assert asked.image.name == "000.png" and asked.source == poses[0]
        turns = [pose.relative_to(asked.source) for pose in asked.poses]
        step = 360 / len(poses)
        for number, turn in enumerate(turns):
            wanted = RelativePose(0.0, number * step)
            assert turn.azimuth_deg % 360 == pytest.approx(wanted.azimuth_deg)
            assert (turn.elevation_deg, turn.radius) == (0, 0)


def test_an_interrupted_run_goes_on_and_others_predictions_stay(
    truth: Path, echo, tmp_path: Path, monkeypatch
):
    monkeypatch.setattr("zero123lib.evaluation.made.weights_fingerprint", lambda pipe: "echo")
    asked, made = find_asked(FOLDER, truth), tmp_path / "made"
    steps = make_predictions(FOLDER, echo, SETTING, asked, made)
    next(steps)
    del steps
    assert list(make_predictions(FOLDER, echo, SETTING, asked, made)) == ["cup", "hat"]
    assert len(echo.asked) == 2  # the first object was known
    with pytest.raises(ArgumentError, match="predictions: expected a new folder, .* another steps"):
        make_predictions(FOLDER, echo, Setting(2, 1.0), asked, made)
    with pytest.raises(ArgumentError, match="predictions: expected a new folder, .* other files"):
        make_predictions(FOLDER, echo, SETTING, asked, truth)
    record = json.loads((made / "made.json").read_text())
    (made / "made.json").write_text(json.dumps({**record, "eta": 0.5}))
    with pytest.raises(ArgumentError, match="predictions: expected a new folder, .* another eta"):
        make_predictions(FOLDER, echo, SETTING, asked, made)
    for content in ("{", "[1]"):
        (made / "made.json").write_text(content)
        with pytest.raises(ArgumentError, match="which is none"):
            make_predictions(FOLDER, echo, SETTING, asked, made)


def test_what_a_model_cannot_be_asked_is_one_line(truth: Path, tmp_path: Path) -> None:
    for protocol, complaint in (
        (IFUSION, "model: expected a protocol whose truth holds the input view, got ifusion"),
        (SYNCDREAMER, "truth: expected a view 003 in"),
    ):
        with pytest.raises(ArgumentError, match=complaint):
            find_asked(protocol, truth)
    with pytest.raises(ArgumentError, match="objects: expected some of cup, hat, got jug"):
        find_asked(FOLDER, truth, ["jug"])
    (truth / "hat" / "001.npy").unlink()
    with pytest.raises(ArgumentError, match="truth: expected a camera beside each view, got no"):
        find_asked(FOLDER, truth)
    (truth / "hat" / "001.npy").write_bytes(b"x")
    with pytest.raises(ArgumentError, match="truth: expected cameras, got"):
        find_asked(FOLDER, truth)


@pytest.mark.parametrize("protocol", ["syncdreamer", "eschernet"])
def test_options_of_a_model_have_one_and_no_meshes(protocol: str, tmp_path: Path, capsys) -> None:
    words = ["evaluate", protocol, str(tmp_path), str(tmp_path), "--meshes"]
    for more, told in (
        (["--steps", "3"], "--model: expected a model beside the options that ask one, got none"),
        (["--model", "tiny"], "--model: expected no --meshes beside it, got both"),
    ):
        assert main([*words, *more]) == 2
        assert capsys.readouterr().err.strip().endswith(told)
    assert main(["evaluate", protocol, "--help"]) == 0
    assert "a recipe's own, or tiny" not in " ".join(capsys.readouterr().out.split())


def test_a_model_is_measured_by_a_protocol_on_rendered_views(tmp_path: Path, capsys) -> None:
    """From a mesh alone to a report: true views rendered, predictions made, both scored."""
    (tmp_path / "true" / "wedge").mkdir(parents=True)
    (tmp_path / "true" / "wedge" / "model.obj").write_text(TETRAHEDRON)
    folders = [str(tmp_path / name) for name in ("made", "true")]
    words = ["evaluate", "syncdreamer", *folders, "--model", "tiny", "--steps", "1"]
    assert main([*words, "--device", "cpu"]) == 2
    assert "--out: expected a folder, for the true views" in capsys.readouterr().err
    out = tmp_path / "report"
    assert main([*words, "--device", "cpu", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert any(note.startswith("predictions by tiny") for note in report["notes"])
    assert "the true views are rendered here" in " ".join(report["notes"])
    assert report["command"].startswith(f"zero123 evaluate syncdreamer {' '.join(folders)} --model")
    rendered = {"wedge": out / "truth" / "wedge"}
    (pair,) = find_pairs(SYNCDREAMER, tmp_path / "made", tmp_path / "true", rendered=rendered)
    scores = score_images(SYNCDREAMER, *read_views(SYNCDREAMER, pair))
    assert report["objects"][0]["answers"]["prediction"]["psnr_db"] == scores["psnr_db"]
    views = sorted((out / "truth" / "wedge").iterdir())
    assert len(views) == 16 and len(list((tmp_path / "made" / "wedge").iterdir())) == 16
    alpha = np.asarray(Image.open(views[0]))[..., 3]
    assert 0.01 < (alpha > 0).mean() < 0.5
    assert main(["evaluate", "folder", *folders, "--steps", "1"]) == 2
    assert "--model: expected a model beside the options" in capsys.readouterr().err


def test_missing_views_alone_are_rendered(tmp_path: Path, capsys) -> None:
    true = tmp_path / "true"
    for name in ("cup", "hat"):
        write_views(true / name, list(SYNC_RIG.poses), 256, cameras=False)
    (true / "cup" / "model.obj").write_text(TETRAHEDRON)
    (true / "urn").mkdir()
    (true / "urn" / "model.obj").write_text(TETRAHEDRON)
    for missing in ("003", "015"):
        (true / "cup" / f"{missing}.png").unlink()
    found = lacking_views(SYNCDREAMER, true)
    assert {name: one.views for name, one in found.items()} == {
        "cup": (3, 15),
        "urn": tuple(range(16)),
    }
    assert lacking_views(FOLDER, true) == {} == lacking_views(SYNCDREAMER, true, ["hat"])
    assert list(render_lacking(found, tmp_path / "new")) == ["cup", "urn"]
    rendered = {name: tmp_path / "new" / name for name in found}
    truth = find_truth(true, None, rendered)
    assert list(truth) == ["cup", "hat", "urn"]
    assert [len(one.files) for one in truth.values()] == [16, 16, 16]
    assert truth["cup"].files["003"] == tmp_path / "new" / "cup" / "003.png"
    assert truth["cup"].files["004"] == true / "cup" / "004.png"
    # The same camera shows the same, whichever views were missing.
    twin = (tmp_path / "new" / "urn" / "003.png").read_bytes()
    assert truth["cup"].files["003"].read_bytes() == twin
    (note,) = told_lacking(found, 16)
    assert note.endswith("of the truth's meshes: cup 003, 015; urn")
    (true / "hat" / "005.png").unlink()  # which has no mesh
    with pytest.raises(ArgumentError, match="truth: expected a view 005 in '.*hat', got 15 others"):
        find_asked(SYNCDREAMER, true, None, rendered)
    words = ["evaluate", "syncdreamer", str(true), str(true), "--objects", "cup"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "--out: expected a folder, for the true views" in error and "003 first" in error


def test_every_protocol_with_an_input_can_be_asked(tmp_path: Path) -> None:
    for protocol in PROTOCOLS.values():
        if protocol.input_view is None:
            continue
        poses = [Pose(10.0, 10.0 * k) for k in range(25)]
        true = write_views(tmp_path / protocol.name / "cup", poses).parent
        (asked,) = find_asked(protocol, true)
        assert isinstance(asked, Asked) and len(asked.views) == len(asked.poses)
