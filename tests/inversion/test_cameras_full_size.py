"""Published sizes, random weights: the same code on the CPU, in few steps, within 24 GB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ASKED = """
import resource
import torch
from _published import published_pipeline
from zero123lib.diffusion.doubt import doubtful_views
from zero123lib.inversion import landscape
from zero123lib.inversion.elevation import estimate_elevation
from zero123lib.inversion.poses import estimate_poses
from zero123lib.views.poses import RelativePose, orbit

landscape.AZIMUTHS, landscape.ELEVATIONS_DEG = 3, (-25.0, 25.0)
torch.manual_seed(0)
pipe = published_pipeline()
photos = [torch.rand(3, 256, 256) * 2 - 1 for _ in range(2)]
turn = estimate_poses(pipe, photos, preprocess="none", steps=1, starts_count=1, max_batch_size=2)
assert turn.confidence is None and not turn.trusted and turn.landscapes[0].losses.isfinite().all()
height = estimate_elevation(pipe, photos[0], preprocess="none", num_inference_steps=1)
assert height.confidence is None and not height.trusted and -90 <= height.elevation_deg <= 90
few = {"num_inference_steps": 1, "generator": torch.Generator().manual_seed(0)}
for consistency in ("viewfusion", "mutual"):
    made = pipe.orbit(photos[0], 2, consistency=consistency, preprocess="none", **few)
    assert len(made.images) == 2
places = [RelativePose(), RelativePose(azimuth_deg=90)]
pipe(photos, orbit(2), input_poses=places, preprocess="none", **few)
condition = pipe.encode(pipe.prepare(photos[0], "none"))
found = doubtful_views(pipe, condition, orbit(2), [0, 1], num_inference_steps=1)
assert found.doubt.shape == (2, 256, 256)
unit = 1 if __import__("sys").platform == "darwin" else 1024
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9)
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage")
def test_cameras_agreement_and_doubt_fit_in_24_gb() -> None:
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(
        command, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak_gb = float(done.stdout.splitlines()[-1])
    print(f"{peak_gb:.1f} GB")
    assert 4 < peak_gb < 24
