"""iFusion's protocol on cameras: what it reads, and closed forms of its errors."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from zero123lib.cli import main
from zero123lib.metrics import rotation_error_deg


def about_z(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


@pytest.mark.parametrize("degrees", [0.0, 4.0, 90.0, 180.0])
def test_the_angle_of_a_turn_is_its_angle(degrees: float) -> None:
    start = about_z(77) @ about_z(12)[:, [1, 2, 0]]
    found = rotation_error_deg(start @ about_z(degrees), start)
    assert found == pytest.approx(degrees, abs=1e-5)


def write(file: Path, turns_deg: list[float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    frames = []
    for turn in turns_deg:
        matrix = np.eye(4)
        matrix[:3, :3] = about_z(turn)
        matrix[:3, 3] = matrix[:3, :3] @ [2, 0, 0]
        frames.append({"transform_matrix": matrix.tolist()})
    file.write_text(json.dumps({"frames": frames}))


def test_medians_and_recall_are_over_all_pairs(tmp_path: Path, capsys) -> None:
    """Cameras 10 degrees apart, each estimate of camera j turned by j degrees more."""
    true, made = tmp_path / "true", tmp_path / "made"
    for scene in ("cup", "hat"):
        write(true / scene / "train" / "transform.json", [10.0 * k for k in range(5)])
        for i, j in permutations(range(5), 2):
            off = 2.0 * j if scene == "cup" else 0.0
            write(made / scene / f"{i},{j}" / "transform.json", [10.0 * i, 10.0 * j + off])
    words = ["evaluate", "ifusion", str(made), str(true), "--poses"]
    assert main([*words, "--out", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    # Of 40 pairs 20 are exact, 4 of each of 0, 2, 4, 6, 8 degrees.
    assert "median rotation error 0.0000 degrees" in report["notes"][0]
    assert "recall at 5 degrees 0.8000" in report["notes"][0]
    cup = report["objects"][0]["answers"]
    assert len(cup["prediction"]["recall"]) == 20
    place = 2 * 2 * np.sin(np.radians(8) / 2)
    assert max(cup["prediction"]["translation"]) == pytest.approx(place)
    assert sorted(set(np.round(cup["input"]["rotation_deg"], 6))) == [10, 20, 30, 40]
    (made / "hat" / "3,4" / "transform.json").unlink()
    (made / "cup" / "0,1" / "transform.json").write_text("{}")
    for scene, complaint in (("hat", "expected cameras '"), ("cup", "expected a list of frames")):
        capsys.readouterr()
        assert main([*words, "--objects", scene]) == 2
        assert f"PREDICTIONS: {complaint}" in capsys.readouterr().err
    assert main([*words[:3], str(made), "--poses"]) == 2
    assert "TRUTH: expected a folder of scenes with train/transform.json" in capsys.readouterr().err
    write(true / "hat" / "train" / "transform.json", [0.0] * 4)
    assert main([*words, "--objects", "hat"]) == 2
    assert "TRUTH: expected 5 frames, got 4" in capsys.readouterr().err
