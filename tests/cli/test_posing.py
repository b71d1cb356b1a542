"""`zero123 elevation`, `zero123 pose` and `orbit --consistency`: answers, files, complaints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from running import BEAR, MUG, names_in, transforms

from zero123lib.cli import main
from zero123lib.inversion.elevation import ElevationEstimate, estimate_elevation
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.folder import read_views
from zero123lib.views.poses import Pose
from zero123lib.views.transforms import transforms_json


def test_elevation_is_told_with_its_confidence_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve = tmp_path / "curve.png"
    assert main(["elevation", BEAR, "--landscape", str(curve), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert -90 <= told["elevation_deg"] <= 90
    assert told["trusted"] == ((told["confidence"] or 0) >= 0.5)
    assert told["files"] == [str(curve)]
    # The bear is cut out already; a photograph has its network named.
    assert told["networks"] == []
    with Image.open(curve) as image:
        assert image.size == (480, 240)


def test_pose_writes_photos_with_cameras_that_are_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two photos of different things: an answer, and no word that it is to be believed."""
    out = tmp_path / "posed"
    words = ["pose", BEAR, MUG, "--input-elevation", "12", "--steps", "0", "--out", str(out)]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "bear.png at 12 degrees (given)" in told
    assert "not to be trusted" in told or "how sure is not known" in told
    assert names_in(out) == {"000.png", "001.png", "landscape.png", "transforms.json"}
    first, second = read_views(out)
    assert first.image.size == second.image.size
    assert float(first.camera_to_world[:3, 3].norm()) == pytest.approx(1.85, rel=1e-4)
    assert transforms(out)["made_by"]["images"] == ["bear.png", "mug.png"]


def test_the_seed_is_of_the_first_photos_elevation_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds = []

    def estimate(pipe, image, *, seed: int = 0, **how) -> ElevationEstimate:
        seeds.append(seed)
        return estimate_elevation(pipe, image, seed=seed, **how)

    monkeypatch.setattr("zero123lib.inversion.elevation.estimate_elevation", estimate)
    words = ["pose", BEAR, MUG, "--seed", "5", "--steps", "0", "--out", str(tmp_path / "out")]
    assert main(words) == 0 and seeds == [5]
    assert transforms(tmp_path / "out")["made_by"]["input_elevation"].startswith("estimated, ")


def posed(folder: Path, *names: str, turns_deg: tuple[float, ...] = (0.0, 90.0)) -> Path:
    """Write a transforms.json as `zero123 pose` does."""
    cameras = [Pose(10.0, turn, 1.85) for turn in turns_deg]
    content = transforms_json([f"{i:03d}.png" for i in range(len(names))], cameras)
    folder.mkdir()
    (folder / "transforms.json").write_text(
        json.dumps({**content, "made_by": {"images": list(names)}})
    )
    return folder


def test_networks_that_cut_out_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph = tmp_path / "photograph.png"
    with Image.open(BEAR) as bear:
        flat = Image.new("RGB", bear.size, (90, 120, 150))
        flat.paste(bear, mask=bear.getchannel("A"))
    flat.save(photograph)
    assert main(["elevation", str(photograph), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["networks"] == ["U2-Net-p (Apache-2.0)"]


@pytest.mark.parametrize("verb", ["views", "orbit"])
def test_photos_of_one_object_have_one_folder_and_all_their_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    place, made = posed(tmp_path / "posed", "bear.png", "mug.png"), {}
    cameras = {"views": ["--azimuth", "45"], "orbit": ["--count", "2"]}[verb]
    for name, photos in (("one", [BEAR]), ("two", [BEAR, MUG]), ("turned", [MUG, BEAR])):
        out = tmp_path / name
        words = [verb, *photos, "--cameras", str(place), *cameras, "--out", str(out), "--json"]
        assert main(words) == 0
        made[name] = (out / "000.png").read_bytes()
        told = json.loads(capsys.readouterr().out)
        assert told["images"][0]["photos"] == photos
    assert made["one"] != made["two"]
    # The first image's camera is where azimuth 0 of what is asked is.
    first, _ = (read_views(tmp_path / name)[0].camera_to_world for name in ("two", "turned"))
    azimuth = {"views": 45.0, "orbit": 0.0}[verb]
    torch.testing.assert_close(first, camera_to_world([Pose(10.0, azimuth, 1.85)])[0])
    turned = read_views(tmp_path / "turned")[0].camera_to_world
    torch.testing.assert_close(turned, camera_to_world([Pose(10.0, azimuth + 90.0, 1.85)])[0])
    assert transforms(tmp_path / "two")["made_by"]["photos"] == ["bear.png", "mug.png"]
    assert transforms(tmp_path / "two")["made_by"]["input_elevation_deg"] == pytest.approx(10)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cameras", "posed"], "--cameras: expected a frame of"),
        (["--cameras", "nowhere"], "--cameras: expected a folder with a transforms.json"),
        (["--cameras", "posed", "--input-elevation", "5"], "--input-elevation: expected none"),
        (["--cameras", "posed", "--mask", MUG], "--mask: expected one image beside it"),
    ],
)
@pytest.mark.parametrize("verb", ["views", "orbit", "reconstruct"])
def test_cameras_of_no_use_are_one_line(
    verb: str,
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    posed(tmp_path / "posed", "bear.png", "duck.png")
    assert main([verb, BEAR, MUG, *words, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and complaint in error
    assert not (tmp_path / "out").exists()


def test_several_photos_without_cameras_are_not_reconstructed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reconstruct", BEAR, MUG, "--out", str(tmp_path / "out")]) == 2
    assert "--cameras: expected a transforms.json beside several" in capsys.readouterr().err


def test_orbit_takes_how_views_agree(tmp_path: Path) -> None:
    found = {}
    for word in ("none", "viewfusion"):
        out = tmp_path / word
        words = ["orbit", BEAR, "--count", "3", "--steps", "1", "--consistency", word]
        assert main([*words, "--out", str(out), "--quiet"]) == 0
        assert transforms(out)["made_by"]["consistency"] == word
        found[word] = [(out / f"{i:03d}.png").read_bytes() for i in range(3)]
    assert found["none"] != found["viewfusion"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["pose", BEAR], "image: expected 2 to 8 images, got 1"),
        (["pose", *[BEAR] * 9], "image: expected 2 to 8 images, got 9"),
        (["pose", BEAR, MUG, "--input-elevation", "100"], "--input-elevation: expected degrees"),
        (["elevation", BEAR, MUG], "MUG"),
        (["elevation", BEAR, "--landscape", "curve.jpg"], "--landscape: expected a .png"),
        (["orbit", BEAR, "--consistency", "agree"], "--consistency: expected"),
    ],
)
def test_what_is_of_no_use_is_one_line(
    words: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if words[0] == "elevation" else ["--out", str(tmp_path / "out")]
    assert main([*words, *out]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert complaint.replace("MUG", Path(MUG).name) in error
    assert not (tmp_path / "out").exists()


def test_the_same_photo_twice_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pose", BEAR, BEAR, "--out", str(tmp_path / "out")]) == 2
    assert "expected photos from different cameras" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
