"""EscherNet's protocol on meshes: scaled to one box, vertices compared, and runs of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from zero123lib._errors import ArgumentError
from zero123lib.cli import main
from zero123lib.evaluation.escher_meshes import raw_mesh, unit_box

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
FACES = [
    (0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
    (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3),
]  # fmt: skip


def write(file: Path, points: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x} {y} {z}" for x, y, z in points]
    file.write_text("\n".join([*lines, *(f"f {a + 1} {b + 1} {c + 1}" for a, b, c in FACES)]))
    return file


def test_the_box_is_the_unit_box_about_the_origin() -> None:
    box = unit_box(CUBE * [4, 2, 1] + 7)
    assert np.allclose(box.max(0), [0.5, 0.25, 0.125]) and np.allclose(box.min(0), -box.max(0))


def test_size_and_place_do_not_count_but_shape_does(tmp_path: Path, capsys) -> None:
    write(tmp_path / "true" / "box" / "meshes" / "model.obj", CUBE)
    write(tmp_path / "made" / "box.obj", 5 * CUBE - 2)
    words = ["evaluate", "eschernet", str(tmp_path / "made"), str(tmp_path / "true"), "--meshes"]
    out = tmp_path / "report"
    assert main([*words, "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["protocol"] == "eschernet meshes" and report["command"].endswith("--meshes")
    answers = report["objects"][0]["answers"]
    assert answers["prediction"] == {"chamfer": [0], "volume_iou": [1]}
    assert answers["ball"]["chamfer"][0] > 0.1
    # Half as high: each vertex is a quarter away from its nearest.
    write(tmp_path / "made" / "box.obj", CUBE * [1, 1, 0.5])
    assert main([*words, "--out", str(out)]) == 0
    answers = json.loads((out / "report.json").read_text())["objects"][0]["answers"]
    assert answers["prediction"]["chamfer"][0] == pytest.approx(0.25)
    assert answers["prediction"]["volume_iou"][0] == pytest.approx(0.5, abs=0.05)
    assert main([*words, "--model", "tiny"]) == 2 and main([*words, "--scenes", "nerf"]) == 2
    error = capsys.readouterr().err
    assert "--model: expected no --meshes" in error and "--scenes: expected gso" in error


def test_what_is_no_mesh_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"no mesh")
    with pytest.raises(ArgumentError, match="predictions: expected meshes, got '.*a.ply'"):
        raw_mesh(tmp_path / "a.ply", "predictions")
    flat = write(tmp_path / "b.obj", 0 * CUBE)
    with pytest.raises(ArgumentError, match="truth: expected finite meshes with faces"):
        raw_mesh(flat, "truth")
