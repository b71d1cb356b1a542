"""Wrong input is one line that names the argument, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from running import BEAR, HEAVY, MUG, names_in, python

from zero123lib.cli import main


def test_one_bad_image_does_not_refuse_the_others(
    bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad)
    Image.new("RGB", (64, 32)).save("wide.png")
    images = ["text.png", BEAR, "absent.png", "wide.png", MUG]
    how = ["--azimuth", "0", "--steps", "1", "--preprocess", "none"]
    assert main(["views", *images, *how, "--out", "out"]) == 1
    assert names_in(bad / "out") == {"bear", "mug"}
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("text.png", "absent.png", "wide.png"), strict=True):
        assert line.startswith("zero123 views: error: image: expected ") and name in line


def test_images_that_are_all_bad_are_wrong_input(
    bad: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(bad)
    assert main(["views", "text.png", "empty.png", "absent.png", "--out", "out"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(name in line for name in ("text.png", "empty.png", "absent.png"))
    assert not (bad / "out").exists()


WRONG = [
    (["missing.png"], "image", "no such file"),
    (["text.png"], "image", "an image file (PNG, JPEG, WebP"),
    (["one.png"], "image", "at least 8 x 8 pixels, got 1 x 1"),
    (["empty.png"], "image", "every pixel is transparent"),
    ([BEAR, "--azimuth", "0", "nan"], "--azimuth", "a finite number of degrees, got 'nan'"),
    ([BEAR, "--azimuth"], "--azimuth", "at least 1 value, got none"),
    ([BEAR, "--model", "huge"], "--model", "got 'huge'"),
    ([BEAR, "--original-config", "no.yaml"], "--original-config", "got 'no.yaml'"),
    ([BEAR, "--device", "abacus"], "--device", "one of auto, cpu"),
    ([BEAR, "--encoding", "zero124"], "--encoding", "did you mean 'zero123'?"),
    ([BEAR, "--elevation", "95"], "--elevation", "-90 to 90 degrees, got 0 + 95"),
    ([BEAR, "--elevation", "1", "2"], "--elevation", "one per azimuth (8), got 2"),
    ([BEAR, "--radius", "-2"], "--radius", "farther than 0"),
    ([BEAR, "--zoom", "x"], "--zoom", "a finite number, got 'x'"),
    ([BEAR, "--preset", "up"], "--preset", "one of left, above"),
    ([BEAR, "--preset", "left", "--azimuth", "3"], "--preset", "no --azimuth beside it"),
    ([BEAR, "--preset", "above", "--input-elevation", "20"], "--preset", "a camera between"),
    ([BEAR, "--input-elevation", "100"], "--input-elevation", "in [-90, 90], got 100"),
    ([BEAR, "--foreground-ratio", "0"], "--foreground-ratio", "above 0 and at most 1"),
    ([BEAR, "--sampler", "unipc", "--eta", "1"], "--eta", "0, as 'unipc' adds no noise"),
    ([BEAR, "--steps", "0"], "--steps", "a whole number from 1 to 1000, got '0'"),
    ([BEAR, "--steps", "2.5"], "--steps", "a whole number from 1 to 1000, got '2.5'"),
    ([BEAR, "--azimut", "3"], "--azimut", "did you mean '--azimuth'?"),
    ([BEAR, "--no-quiet"], "--no-quiet", "an option of zero123 views"),
    ([BEAR, "--out", "text.png"], "--out", "which is a file"),
    ([], "IMAGE", "at least 1 value, got none"),
]


@pytest.mark.parametrize(("words", "argument", "reason"), WRONG)
def test_wrong_input_is_one_line_and_nothing_is_written(
    words: list[str],
    argument: str,
    reason: str,
    bad: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad)
    before = names_in(bad)
    out = [] if "--out" in words else ["--out", "views/deep"]
    assert main(["views", *words, *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"zero123 views: error: {argument}: expected ") and reason in line
    assert names_in(bad) == before


def test_wrong_input_is_told_before_torch_is_there(bad: Path) -> None:
    """Of every verb: a file that is missing, a word that is none, values that do not fit."""
    (bad / "scan.ply").write_text("ply")
    commands = [
        *(["views", *words, *([] if "--out" in words else ["--out", "o"])] for words, *_ in WRONG),
        ["orbit", "missing.png", "--out", "o"],
        ["orbit", BEAR, "--count", "1", "--out", "o"],
        ["reconstruct", "missing.png", "--out", "o"],
        ["reconstruct", BEAR, "--config", "no.yaml", "--out", "o"],
        ["reconstruct", BEAR, "seed", "--out", "o"],
        ["reconstruct", BEAR, "sytem.guidance=1", "--out", "o"],
        ["reconstruct", BEAR, "--model", "huge", "--out", "o"],
        ["reconstruct", BEAR, "--engine", "threestudio", "--out", "o"],
        *(["mesh", verb, "missing.ply", "o.glb"] for verb in ("clean", "bake", "convert")),
        ["mesh", "inspect", "missing.ply"],
        ["mesh", "convert", "scan.ply", "o.fbx"],
        ["mesh", "texture", "scan.ply", "missing", "o.glb"],
        ["mesh", "render", "missing.ply", "o"],
        ["mesh", "render", "scan.ply", "o", "--elevation", "95"],
        ["convert", "missing.ckpt", "o"],
        ["convert", BEAR, "o", "--original-config", "no.yaml"],
        ["render", "missing", "o"],
        ["render", "scan.ply", "o", "--radius", "2", "1"],
        ["dataset", "check", "missing"],
        ["dataset", "pack", "missing", "o"],
        ["train", "no.yaml", "--out", "o"],
        ["train", "finetune", "--data", "missing", "--out", "o"],
        ["train", "finetune", "--data", ".", "--out", "o", "--set", "optimizer.rate=1"],
        ["evaluate", "scenes", "--model", "huge"],
        ["evaluate", "scenes", "--steps", "2", "--sweep-steps", "1"],
        ["evaluate", "reconstruction", "--recipe", "no.yaml"],
        ["threestudio", "install", "."],
        ["app", "--model", "huge"],
        ["app", "--prot", "80"],
        ["vews"],
        ["mesh", "cleen"],
        ["mesh"],
        [],
    ]
    code = f"""
import contextlib, io, os, sys
from zero123lib.cli import main
before = sorted(os.listdir())
for words in {commands!r}:
    with contextlib.redirect_stderr(io.StringIO()) as told:
        status = main(words)
    text = told.getvalue()
    loaded = sorted({set(HEAVY)!r} & sys.modules.keys())
    assert status == 2 and text.count("\\n") == 1 and ": expected " in text, (words, text)
    assert not loaded, (words, loaded)
    assert sorted(os.listdir()) == before, words
"""
    done = python(code, cwd=bad)
    assert done.returncode == 0, done.stderr
