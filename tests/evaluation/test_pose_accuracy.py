"""The azimuth is found where the object was seen from, and not guessed where none can be told."""

from __future__ import annotations

import pytest
import torch

from zero123lib.evaluation import scene_samples
from zero123lib.evaluation.pose_accuracy import (
    AzimuthSweep,
    recovered_azimuths_deg,
    render_azimuth_sweep,
    sweep_errors,
    tells_azimuth,
)
from zero123lib.metrics import azimuth_error_deg
from zero123lib.scenes import Part, Scene, render
from zero123lib.views.poses import Pose

BALL = Part("ball", ((0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)), (0, 0, 0), (0.8, 0.2, 0.1))


def view(scene: Scene, pose: Pose, size: int = 48) -> torch.Tensor:
    rgba = render(scene, [pose], size, background="white").rgba
    return rgba[0, ..., :3].permute(2, 0, 1)


def test_true_views_are_found_within_a_degree():
    errors = []
    for sample in scene_samples(5, 3, 64):
        for pose, target in zip(sample.target_poses, sample.targets, strict=True):
            ring = render_azimuth_sweep(sample.scene, pose, 64)
            if tells_azimuth(target, ring):
                found = recovered_azimuths_deg(sweep_errors(target[None], ring))
                errors.append(azimuth_error_deg(found, torch.tensor([pose.azimuth_deg])))
    assert len(errors) >= 8 and float(torch.cat(errors).median()) < 1


def test_a_turned_view_is_found_where_it_was_turned_to():
    sample = next(scene_samples(1, 1, 48))
    pose = sample.target_poses[0]
    ring = render_azimuth_sweep(sample.scene, pose, 48)
    turned = Pose(pose.elevation_deg, pose.azimuth_deg + 37, pose.radius)
    found = recovered_azimuths_deg(sweep_errors(view(sample.scene, turned)[None], ring))
    assert float(azimuth_error_deg(found, torch.tensor([turned.azimuth_deg]))) < 2


def test_errors_are_means_of_squares():
    random = torch.Generator().manual_seed(0)
    around = torch.rand(5, 3, 8, 8, generator=random)
    ring = AzimuthSweep(around, torch.arange(5) * 72.0, 0.0)
    images = torch.rand(2, 3, 8, 8, generator=random)
    squares = (images[:, None] - around).square().mean(2).double()
    assert torch.allclose(sweep_errors(images, ring), squares.mean((2, 3)), atol=1e-7)
    mask = torch.rand(8, 8, generator=random) > 0.6
    inside = squares[..., mask].mean(-1)
    assert torch.allclose(sweep_errors(images, ring, mask), inside, atol=1e-7)
    # Larger images are averaged down first.
    large = images.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert torch.allclose(sweep_errors(large, ring), squares.mean((2, 3)), atol=1e-7)


@pytest.mark.parametrize("azimuth_deg", [0.0, 1.3, 120.0, 178.9, 359.2])
def test_the_vertex_of_a_parabola_is_found_across_the_seam(azimuth_deg):
    azimuths = torch.arange(90) * 4.0
    gaps = azimuth_error_deg(azimuths, torch.full((90,), azimuth_deg))
    found = recovered_azimuths_deg(gaps.square()[None])
    assert 0 <= float(found) < 360
    assert float(azimuth_error_deg(found, torch.tensor([azimuth_deg]))) < 1e-5


def test_a_ball_tells_no_azimuth_unless_it_is_painted():
    pose = Pose(20, 75, 1.8)
    plain = Scene((BALL,))
    assert not tells_azimuth(view(plain, pose), render_azimuth_sweep(plain, pose, 48))
    part = {**vars(BALL), "color2": (0.1, 0.3, 0.9), "pattern": "front-back"}
    painted = Scene((Part(**part),))
    assert tells_azimuth(view(painted, pose), render_azimuth_sweep(painted, pose, 48))


def test_a_flat_ring_gives_one_of_its_azimuths():
    assert float(recovered_azimuths_deg(torch.ones(1, 90).double())) == 0
