"""`zero123 reconstruct`: its words, and one line for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from tiny_runs import TINY

from zero123lib.cli import main
from zero123lib.cli.verbs import build
from zero123lib.diffusion.pipeline import Zero123Pipeline


def test_overrides_stand_anywhere_among_the_options() -> None:
    words = ["reconstruct", "a.png", "x=1", "--out", "o", "y.z=[1, 2]", "--seed", "3", "w=-4"]
    _, bound, _ = build().parse_args(words)
    assert bound.args == ("a.png", "x=1", "y.z=[1, 2]", "w=-4")
    assert (bound.kwargs["run"].out, bound.kwargs["run"].seed) == (Path("o"), 3)


def test_a_run_tells_what_it_does_and_writes(
    photo: Image.Image, pipe: Zero123Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo.save(tmp_path / "photo.png")
    pipe.save_pretrained(tmp_path / "model")
    words = ["reconstruct", str(tmp_path / "photo.png"), "--config", "tiny-views"]
    words += ["--model", str(tmp_path / "model"), "--encoding", "zero123"]
    words += ["--out", str(tmp_path / "run"), *TINY, "data.batch_size=1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "recipe tiny-views, 12 steps of optimisation" in said
    assert "not used by the embedded engine: data.batch_size" in said
    assert "mesh.ply" in said and (tmp_path / "run" / "mesh.ply").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["none.png"], "none.png"),
        (["photo.png", "--config", "nope"], "--config: expected a recipe"),
        (["photo.png", "--config", "tiny-vews"], "did you mean 'tiny-views'?"),
        (["https://a.b/c.png"], "got the address https://a.b/c.png, which is not fetched"),
        (["."], "PHOTO: expected one image, or --cameras beside several"),
        (["photo.png", "seed"], "KEY=VALUE: expected key=value"),
        (["photo.png", "system.loss.lambda_rgbb=1"], "did you mean 'lambda_rgb'"),
        (["photo.png", "--max-steps", "0"], "--max-steps: expected a whole number"),
        (["photo.png", "--input-elevation", "99"], "--input-elevation: expected degrees"),
        (["photo.png", "--engine", "threestudio"], "--threestudio-root: expected threestudio's"),
        (["photo.png", "--threestudio-root", "x"], "--threestudio-root: expected none"),
        (["photo.png", "--engine", "nerf"], "--engine: expected one of embedded, threestudio"),
        (["photo.png", "--engine", "threestudio", "--threestudio-root", "x", "--resume"],
         "--resume: expected none"),
        (["photo.png", "--engine", "threestudio", "--threestudio-root", "x", "--config", "views"],
         "--threestudio-root: "),
        (["photo.png", "--engine", "threestudio", "--threestudio-root", "x", "--device", "cpu"],
         "--device: expected auto"),
        (["empty.png"], "image: "),
    ],
)  # fmt: skip
def test_wrong_words_are_one_line_and_nothing_is_written(
    words: list[str],
    complaint: str,
    photo: Image.Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    photo.save("photo.png")
    Image.new("RGBA", (32, 32), (0, 0, 0, 0)).save("empty.png")
    assert main(["reconstruct", *words, "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and complaint in said
    assert not Path("run").exists()
