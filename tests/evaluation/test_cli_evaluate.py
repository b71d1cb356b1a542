"""`zero123 evaluate scenes` prints a table and writes files, or one line and nothing."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from zero123lib._files import held_folder
from zero123lib.cli import main
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.evaluation import evaluate_scenes, samples, sweep
from zero123lib.scenes import KINDS

SMALL = ["evaluate", "scenes", "--objects", "2", "--views", "2", "--device", "cpu"]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_small_run_writes_what_the_library_measures(tmp_path, capsys):
    out = tmp_path / "new" / "report"
    assert main([*SMALL, "--steps", "1", "--guidance", "1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert names_in(out) == {"report.json", "report.html", "contact_sheet.png", "views.csv"}
    assert names_in(tmp_path / "new") == {"report"}
    report = json.loads((out / "report.json").read_text())
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    expected = evaluate_scenes(pipe, 2, 2, num_inference_steps=1, guidance_scale=1.0).to_dict()
    clock = {"seconds", "model_seconds", "command"}
    assert {k: v for k, v in report.items() if k not in clock} == {
        k: v for k, v in expected.items() if k not in clock
    }
    assert (report["model"], report["licence"]) == (pipe.model_name, pipe.licence)
    assert report["command"] == (
        "zero123 evaluate scenes --model tiny --objects 2 --views 2 --steps 1 --guidance 1 "
        "--sampler ddim --seed 0 --kinds all"
    )
    assert f"{report['psnr_db']:.2f}" in printed and "PSNR above the best" in printed
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.width > 3 * 128 and sheet.height > 4 * 128
    with open(out / "views.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 4 and {row["answer"] for row in rows} == {
        "model",
        *report["baselines"],
    }
    by_object = report["by_object"]
    assert [one["name"][:3] for one in by_object["objects"]] == ["000", "001"]
    assert by_object["means"]["prediction"]["psnr_db"]["mean"] == pytest.approx(
        report["psnr_db"], abs=1e-4
    )
    page = (out / "report.html").read_text()
    assert page.count("<img") == 2 and not re.search(r'(src|href)="(?!data:)', page)
    assert main(["evaluate", "compare", str(out), str(out)]) == 0
    assert "scenes: a is" in capsys.readouterr().out
    ours = [float(row["psnr_db"]) for row in rows if row["answer"] == "model"]
    assert sum(ours) / 4 == pytest.approx(report["psnr_db"], abs=1e-4)


def test_the_reports_command_repeats_its_guidance_to_the_last_digit(tmp_path):
    words = [*SMALL[:3], "1", "--views", "1", "--steps", "1", "--guidance", "1.23456789"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["guidance"] == 1.23456789
    assert "--guidance 1.23456789 " in report["command"]


def test_kinds_are_the_models_own_unless_told(tmp_path, capsys):
    knows = Zero123Pipeline.from_pretrained("tiny", trained_on={"scene_kinds": ["mug", "duck"]})
    knows.save_pretrained(tmp_path / "knows")
    few = [*SMALL[:3], "1", "--views", "1", "--steps", "1", "--model", str(tmp_path / "knows")]
    found = {}
    for told in ((), ("--kinds", "all"), ("--kinds", "apple", "mug", "mug")):
        assert main([*few, *told, "--out", str(tmp_path)]) == 0
        found[told] = json.loads((tmp_path / "report.json").read_text())
        assert f"kinds of objects: {', '.join(found[told]['kinds'])}\n" in capsys.readouterr().out
    assert [report["kinds"] for report in found.values()] == [
        ["mug", "duck"], list(KINDS), ["mug", "apple"],
    ]  # fmt: skip
    ends = [report["command"].partition(" --kinds ")[2] for report in found.values()]
    assert ends == ["mug duck", "all", "mug apple"]


def test_an_unknown_kind_is_one_line(capsys):
    assert main([*SMALL, "--kinds", "mug", "unicorn"]) == 2
    error = capsys.readouterr().err
    assert "--kinds: expected some of chair, " in error
    assert "got 'unicorn'; or all alone" in error


def test_a_sweep_asks_again_where_the_mean_of_training_images_has_changed(tmp_path, monkeypatch):
    command = [*SMALL[:3], "1", "--views", "1", "--sweep-steps", "1", "--out", str(tmp_path)]
    found = []
    for scenes in (2, 3):
        monkeypatch.setattr(samples, "_MEAN_SCENES", scenes)
        samples._mean_image.cache_clear()
        assert main(command) == 0
        found.append(list(csv.DictReader((tmp_path / "curves.csv").read_text().splitlines())))
    samples._mean_image.cache_clear()
    before, after = ({row["answer"]: row for row in rows} for rows in found)
    assert [name for name in before if before[name] != after[name]] == ["mean"]


def test_a_run_that_breaks_leaves_the_folder_as_it_was(tmp_path, monkeypatch, capsys):
    (tmp_path / "report.json").write_text("old")

    def broken(answers):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zero123lib.evaluation.sheets.evaluation_sheet", broken)
    command = [*SMALL[:3], "1", "--views", "1", "--steps", "1", "--out", str(tmp_path)]
    assert main(command) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert names_in(tmp_path) == {"report.json"}
    assert (tmp_path / "report.json").read_text() == "old"


def test_a_sweep_goes_on_where_it_was_interrupted(tmp_path, monkeypatch, capsys):
    out = tmp_path / "curves"
    made, real = [], sweep.predict_views

    def counted(pipe, setting, sample):
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append((setting.steps, setting.guidance, sample.index))
        return real(pipe, setting, sample)

    monkeypatch.setattr(sweep, "predict_views", counted)
    command = [*SMALL, "--guidance", "1", "--sweep-steps", "1", "2", "--out", str(out)]
    assert main(command) == 130
    assert names_in(out) == {".lock", "cells"}
    assert all(name.endswith(".json") for name in names_in(out / "cells"))
    del made[:]
    assert main(command) == 0
    assert made == [(1, 1.0, 1), (2, 1.0, 1)]  # the first object's are known
    assert names_in(out) == {".lock", "cells", "curves.csv", "curves.png"}
    first = (out / "curves.csv").read_text()
    rows = list(csv.DictReader(first.splitlines()))
    assert [row["steps"] for row in rows] == ["1", "2", "", "", ""]

    one = ["--steps", "2", "--guidance", "1", "--out", str(tmp_path / "one")]
    assert main([*SMALL, *one]) == 0
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert float(rows[1]["psnr_db"]) == report["psnr_db"]
    assert float(rows[2]["inside_ssim"]) == report["baselines"]["input"]["inside"]["ssim"]

    del made[:]
    assert main(command) == 0 and made == []
    assert (out / "curves.csv").read_text() == first
    for cell in (out / "cells").iterdir():  # what somebody spoils is asked again
        cell.write_text(cell.read_text()[:-1])
    monkeypatch.setattr(sweep, "predict_views", real)
    assert main(command) == 0
    assert (out / "curves.csv").read_text() == first
    assert "also holds" not in capsys.readouterr().out.splitlines()[-1]


def test_a_report_is_written_by_one_run_at_a_time(tmp_path, capsys):
    command = [*SMALL, "--sweep-steps", "1", "--out", str(tmp_path)]
    with held_folder(tmp_path):
        assert main(command) == 2
    assert "--out: expected one run at a time" in capsys.readouterr().err
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / ".making-0-a.json").write_text("[")  # of a run that was killed
    assert main(command) == 0
    assert all(name[0] != "." for name in names_in(tmp_path / "cells"))


@pytest.mark.parametrize(
    ("words", "argument", "reason"),
    [
        (["--objects", "0"], "--objects", "a whole number from 1 to"),
        (["--views", "x"], "--views", "a whole number from 1 to"),
        (["--steps", "0"], "--steps", "from 1 to 1000, got '0'"),
        (["--guidance", "-1"], "--guidance", "a number from 0 to below 10000"),
        (["--guidance", "20000"], "--guidance", "a number from 0 to below 10000"),
        (["--sampler", "magic"], "--sampler", "one of official"),
        (["--model", "huge"], "--model", "got 'huge'"),
        (["--device", "abacus"], "--device", "one of auto"),
        (["--steps", "2", "--sweep-steps", "1"], "--sweep-steps", "no --steps beside it"),
        (["--sampler", "official", "--steps", "1"], "--steps", "from 2 to 1000"),
        (["--sampler", "official", "--sweep-steps", "5", "1"], "--sweep-steps", "from 2 to 1000"),
        (["--out", "text"], "--out", "which is a file"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(
    words, argument, reason, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("text").write_text("mine")
    out = [] if "--out" in words else ["--out", "report"]
    assert main(["evaluate", "scenes", *words, *out]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("zero123 evaluate") and f": error: {argument}: expected " in line
    assert reason in line and names_in(tmp_path) == {"text"}
