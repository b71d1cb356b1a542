"""A published model's sizes: one step of score distillation, and the memory that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_one_step_fits_in_24_gb(tmp_path: Path) -> None:
    """The benchmark's own run, which also holds the gradient to be finite."""
    script, report = ROOT / "benchmarks" / "distillation.py", tmp_path / "report.json"
    command = [sys.executable, str(script), "--full", "only", "--out", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {one["name"]: one["value"] for one in json.loads(report.read_text())["metrics"]}
    print(found)
    assert 4 < found["peak memory, weights and all"] < 24
    shares = [value for name, value in found.items() if name.startswith("of it in")]
    assert len(shares) == 2 and min(shares) > 0 and 50 < sum(shares) <= 100
