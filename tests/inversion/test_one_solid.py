"""One solid, its silhouettes, and the elevation at which they are its own."""

from __future__ import annotations

import pytest
import torch

from zero123lib.inversion.elevation import peak
from zero123lib.inversion.solid import agreement
from zero123lib.scenes import HELD_OUT_SEED, random_scene, render
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.poses import Pose


def masks_from(elevation_deg: float) -> torch.Tensor:
    poses = [Pose(elevation_deg, 45.0 * i) for i in range(8)]
    return render(random_scene(HELD_OUT_SEED + 7, "chair"), poses, 32).rgba[..., 3]


@pytest.mark.parametrize("elevation_deg", [0.0, 30.0, 55.0])
def test_silhouettes_of_a_solid_agree_at_its_own_elevation(elevation_deg: float) -> None:
    masks, candidates = masks_from(elevation_deg), torch.arange(-30.0, 81.0, 10.0)
    values = torch.stack(
        [
            agreement(masks, camera_to_world([Pose(float(e), 45.0 * i) for i in range(8)]))
            for e in candidates
        ]
    )
    assert float(values.max()) > 0.9
    assert abs(peak(candidates, values) - elevation_deg) < 6


def test_agreement_is_one_where_everything_is_inside() -> None:
    cameras = camera_to_world([Pose(10.0, 90.0 * i) for i in range(4)])
    full = torch.zeros(4, 32, 32)
    full[:, 14:18, 14:18] = 1.0
    assert float(agreement(full, cameras)) > 0.95
    assert float(agreement(torch.zeros(4, 32, 32), cameras)) == 0.0


def test_peak_of_a_parabola_is_its_own_and_ends_are_ends() -> None:
    at = torch.arange(0.0, 50.0, 10.0)
    assert peak(at, -(at - 23.0).square()) == pytest.approx(23.0)
    assert peak(at, at) == 40.0 and peak(at, -at) == 0.0
    assert peak(at, torch.zeros(5)) == 0.0
