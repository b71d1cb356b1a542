"""`zero123 cutout` and `--mask`: what is cut out, by what, and who is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import BEAR, MUG, names_in, transforms

from zero123lib import upscaling
from zero123lib.cli import main
from zero123lib.views import u2net


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The bear before a wall, 200 x 160."""
    with Image.open(BEAR) as bear:
        small = bear.convert("RGBA").resize((150, 150))
    wall = Image.new("RGBA", (200, 160), (170, 180, 190, 255))
    wall.alpha_composite(small, (25, 5))
    wall.convert("RGB").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_cut_out_is_written_and_its_network_named(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "object.png"
    assert main(["cutout", str(photo), str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["cut_out"], told["networks"]) == ("u2netp", [u2net.NAME])
    with Image.open(out) as image:
        assert image.mode == "RGBA" and image.size == (200, 160)
        alpha = np.asarray(image.getchannel("A"))
    assert alpha[80, 100] == 255 and alpha[0].max() == 0
    assert told["share"] == pytest.approx(alpha.mean() / 255)
    again = tmp_path / "again.png"  # transparency is taken as it is
    assert main(["cutout", str(out), str(again)]) == 0
    assert "by its own transparency" in capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(again)), np.asarray(Image.open(out)))


def test_views_tell_of_every_network_that_they_passed_through(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "views"
    words = ["views", str(photo), "--azimuth", "40", "--steps", "1", "--upscale", "2"]
    assert main([*words, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["networks"] == [u2net.NAME, upscaling.NAME] == told["images"][0]["networks"]
    assert transforms(out)["made_by"]["networks"] == told["networks"]


def test_a_mask_is_what_the_views_are_made_of(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((160, 200), bool)
    mask[40:120, 60:140] = True
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "views"
    words = ["views", str(photo), "--mask", str(tmp_path / "mask.png"), "--azimuth", "0"]
    assert main([*words, "--steps", "1", "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["networks"] == [] and told["images"][0]["cut_out"] == "mask"
    assert transforms(out)["made_by"]["cut_out"] == "mask"


@pytest.mark.parametrize("verb", ["views", "orbit", "reconstruct"])
def test_a_mask_that_does_not_fit_is_one_line(
    verb: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("1", (200, 160)).save(tmp_path / "black.png")
    Image.new("L", (160, 200), 255).save(tmp_path / "turned.png")
    (tmp_path / "words.png").write_text("a mask")
    before = names_in(tmp_path)
    for name, reason in (
        ("black.png", "white where the object is, got at most 0 of 255"),
        ("turned.png", "the image's 200 x 160 pixels, got 160 x 200"),
        ("words.png", "an image file (PNG, "),
        ("absent.png", "an image file, got "),
    ):
        words = [verb, str(photo), "--mask", str(tmp_path / name), "--out", str(tmp_path / "o")]
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"zero123 {verb}: error: --mask: expected {reason}")
    assert names_in(tmp_path) == before


def test_a_mask_belongs_to_one_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["views", BEAR, MUG, "--mask", BEAR, "--out", str(tmp_path / "o")]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("zero123 views: error: --mask: expected one image beside it, got 2")
