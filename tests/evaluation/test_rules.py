"""What every protocol does with views that are wrong, and after it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_protocols import write_views

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.datasets.samples import world_to_camera
from zero123lib.evaluation import escher_meshes, view_pairs
from zero123lib.evaluation.evaluated import ViewsRun
from zero123lib.evaluation.folders import find_pairs, read_views
from zero123lib.evaluation.protocols import FOLDER, PROTOCOLS, Protocol
from zero123lib.evaluation.view_pairs import answers_of, order_note, views_key
from zero123lib.views.poses import Pose


def few(name: str) -> tuple[Protocol, range]:
    """A protocol over two of its views."""
    protocol = PROTOCOLS[name]
    first = 0 if protocol.views is None else protocol.views.start
    numbers = range(first, first + 2)
    views = None if protocol.views is None else numbers
    return replace(protocol, views=views, lpips=None), numbers


@pytest.fixture(params=list(PROTOCOLS))
def case(request, tmp_path: Path) -> tuple[Protocol, Path, Path, str]:
    protocol, numbers = few(request.param)
    size = protocol.size_px or 32
    made, true = (write_views(tmp_path / side / "cup", numbers, size) for side in ("made", "true"))
    return protocol, made, true, f"{numbers.start:03d}.png"


def complaint(protocol: Protocol, made: Path, true: Path) -> str:
    with pytest.raises(ArgumentError) as caught:
        read_views(protocol, find_pairs(protocol, made, true)[0])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_view_is_named(case) -> None:
    protocol, made, true, first = case
    (made / first).unlink()
    expected = f"predictions: expected a view {first[:3]} in "
    assert complaint(protocol, made, true).startswith(expected)


def test_another_size_is_refused_or_resized_as_the_protocol_says(case) -> None:
    protocol, made, true, first = case
    right = read_views(protocol, find_pairs(protocol, made, true)[0])[0].shape
    for name, folder, reading in (
        ("truth", true, protocol.truth),
        ("predictions", made, protocol.prediction),
    ):
        kept = (folder / first).read_bytes()
        Image.open(folder / first).resize((40, 40)).save(folder / first)
        if reading.side_px is None:
            said = complaint(protocol, made, true)
            assert said.startswith(f"{name}: expected ") and "does not resize" in said
        else:
            assert read_views(protocol, find_pairs(protocol, made, true)[0])[0].shape == right
        (folder / first).write_bytes(kept)


@pytest.mark.parametrize("side", ["made", "true"])
def test_what_is_no_image_of_8_bits_is_refused(case, side: str) -> None:
    protocol, made, true, first = case
    file = (made if side == "made" else true) / first
    name = "predictions" if side == "made" else "truth"
    Image.new("I;16", Image.open(file).size).save(file)
    said = complaint(protocol, made, true)
    assert said.startswith(f"{name}: expected images of 8 bits, RGB or RGBA, got mode I;16")
    file.write_bytes(file.read_bytes()[:40])
    assert complaint(protocol, made, true).startswith(f"{name}: expected images, got ")


def test_a_truth_without_alpha_is_refused_or_taken_as_it_is(case) -> None:
    protocol, made, true, first = case
    Image.open(true / first).convert("RGB").save(true / first)
    if protocol.truth.needs_alpha:
        assert complaint(protocol, made, true).startswith("truth: expected images with alpha")
    else:
        assert read_views(protocol, find_pairs(protocol, made, true)[0])[1].isfinite().all()


def test_the_input_that_is_not_scored_is_the_baseline(tmp_path: Path) -> None:
    """As EscherNet's, whose views 10 and up count, of a model that is given view 0."""
    protocol = few("eschernet")[0]
    true = write_views(tmp_path / "true" / "cup", [0, 10, 11], 256)
    lacking = write_views(tmp_path / "true" / "hat", [10, 11], 256)
    run = ViewsRun.of(protocol, tmp_path / "true", tmp_path / "true")
    (cup, given), (hat, first) = ((one, answers_of(protocol, one)) for one in run.pairs)
    assert cup.input == true / "000.png" and hat.input is None
    alone = find_pairs(replace(protocol, views=range(1)), true, true)[0]
    shown = read_views(protocol, alone)[1]
    assert torch.equal(given[0]["input"], shown.expand(2, -1, -1, -1))
    assert not torch.equal(shown, given[1][:1]) and torch.equal(first[0]["input"][1], first[1][0])
    report = run.report(list(run.scores()))
    assert report.objects[0].mean("input", "psnr_db") < report.objects[1].mean("input", "psnr_db")
    assert [note for note in report.notes if "baseline input" in note] == [
        "the baseline input is the true view 000, not scored",
        "the baseline input of 1 object, whose truth has no other, is the first true view, which "
        "against itself counts 100 dB",
    ]
    key = views_key(protocol, cup, None)
    (lacking / "010.png").replace(true / "000.png")
    assert views_key(protocol, cup, None) != key


def test_cameras_beside_the_true_views_tell_the_nearest(tmp_path: Path) -> None:
    """Near the pole 90 degrees of azimuth are less than 30 of elevation."""
    poses = (Pose(80, 0, 1.5), Pose(50, 0, 1.5), Pose(80, 90, 1.5), Pose(-10, 0, 2))
    for name in ("cup", "hat"):
        true = write_views(tmp_path / "true" / name, range(4))
        for view, pose in enumerate(poses):
            np.save(true / f"{view:03d}.npy", world_to_camera(pose))
    arguments = replace(FOLDER, lpips=None), tmp_path / "true", tmp_path / "true"
    run = ViewsRun.of(*arguments)
    shown, views = answers_of(run.protocol, run.pairs[0])
    assert torch.equal(shown["nearest"], views[[2, 0, 0, 1]])
    assert not any("nearest" in one for one in run.report(list(run.scores())).not_at_hand)
    key = views_key(run.protocol, run.pairs[0], None)
    # Of no object, where one of them lacks a camera or has one that is none.
    for spoil in (lambda file: file.write_bytes(b"none"), lambda file: file.unlink()):
        spoil(tmp_path / "true" / "hat" / "003.npy")
        run = ViewsRun.of(*arguments)
        assert "nearest" not in answers_of(run.protocol, run.pairs[0])[0]
        told = run.report(list(run.scores())).not_at_hand
        assert any("000.npy, ... beside all true views" in one for one in told)
        assert views_key(run.protocol, run.pairs[0], None) != key


def test_swapped_views_are_told_and_stay_where_they_are(case) -> None:
    protocol, made, true, _ = case
    files = sorted(made.iterdir())
    for file, content in zip(files, [one.read_bytes() for one in files[::-1]], strict=True):
        file.write_bytes(content)
    pair = find_pairs(protocol, made, true)[0]
    names = [view.name for view in pair.views]
    note = order_note(names, *read_views(protocol, pair))
    # Where the two are not read alike, as EscherNet's, grounds differ more than views.
    if protocol.truth == protocol.prediction:
        assert f"{names[0]} as predicted is most like {names[1]}" in note
    assert [view.prediction.name for view in pair.views] == [file.name for file in files]


def test_an_interrupted_run_scores_the_rest_alone(tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ("cup", "hat", "jug"):
        write_views(tmp_path / "true" / name, range(2))
        write_views(tmp_path / "made" / name, range(2), noise=20)
    words = ["evaluate", "folder", str(tmp_path / "made"), str(tmp_path / "true"), "--out"]
    check_interrupted(words, tmp_path, monkeypatch, view_pairs)


def test_interrupted_meshes_are_scored_where_they_are_not(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("trimesh")
    square = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    for name in ("cup", "hat", "jug"):
        for folder in (tmp_path / "made" / name, tmp_path / "true" / name):
            folder.mkdir(parents=True)
            (folder / "mesh.obj").write_text(square)
    words = ["evaluate", "eschernet", str(tmp_path / "made"), str(tmp_path / "true"), "--meshes"]
    check_interrupted([*words, "--out"], tmp_path, monkeypatch, escher_meshes)


def check_interrupted(words: list[str], folder: Path, monkeypatch, module) -> None:
    """Interrupt a run of three objects at the second one, and run it again."""
    real, asked = module._scores, []

    def counted(*arguments):
        asked.append(arguments)
        if len(asked) == stop:
            raise KeyboardInterrupt
        return real(*arguments)

    stop = -1
    monkeypatch.setattr(module, "_scores", counted)
    assert main([*words, str(folder / "whole")]) == 0
    each, stop = len(asked) // 3, len(asked) + len(asked) // 3 + 1
    assert main([*words, str(folder / "cut")]) == 130
    assert not (folder / "cut" / "report.json").exists()
    before, stop = len(asked), -1
    known = len(list((folder / "cut" / "cells").iterdir()))
    assert 1 <= known <= 2
    assert main([*words, str(folder / "cut")]) == 0
    assert len(asked) - before == each * (3 - known)
    reports = [json.loads((folder / one / "report.json").read_text()) for one in ("whole", "cut")]
    assert reports[0]["objects"] == reports[1]["objects"]
