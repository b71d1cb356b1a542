"""Poses and their encodings: closed forms, round trips, and the official formulas."""

from __future__ import annotations

import math

import pytest
import torch

from zero123lib.views.poses import (
    PRESET_NAMES,
    PRESETS,
    Pose,
    RelativePose,
    camera_label,
    encode_poses,
    orbit,
    preset_pose,
    random_pose,
    stable_zero123_vector,
    wrap_azimuth_deg,
    zero123_vector,
)


def test_zero123_vector_of_a_known_pose():
    vector = encode_poses([RelativePose(elevation_deg=30.0, azimuth_deg=90.0, radius=0.25)])
    torch.testing.assert_close(vector, torch.tensor([[-math.pi / 6, 1.0, 0.0, 0.25]]))


def test_raising_the_camera_is_a_negative_polar_delta():
    condition, target = Pose(10.0), Pose(40.0)
    vector = encode_poses([target.relative_to(condition)])
    assert vector[0, 0] == pytest.approx(math.radians(target.polar_deg - condition.polar_deg))
    assert vector[0, 0] < 0


@pytest.mark.parametrize("polar, azimuth, zoom", [(-45, 35, 0.2), (90, -180, -0.5), (5, 175, 0)])
def test_zero123_vector_equals_the_official_demo_formula(polar, azimuth, zoom):
    official = [math.radians(polar), math.sin(math.radians(azimuth))]
    official += [math.cos(math.radians(azimuth)), zoom]
    ours = encode_poses([RelativePose(elevation_deg=-polar, azimuth_deg=azimuth, radius=zoom)])
    torch.testing.assert_close(ours, torch.tensor([official], dtype=torch.float32))


def test_stable_zero123_replaces_the_radius_by_the_condition_polar():
    poses = [RelativePose(20.0, 45.0, 0.3), RelativePose(20.0, 45.0, -0.3)]
    vector = encode_poses(poses, "stable-zero123", condition_elevation_deg=30.0)
    assert torch.equal(vector[0], vector[1])
    torch.testing.assert_close(vector[0, :3], encode_poses(poses[:1])[0, :3])
    assert vector[0, 3] == pytest.approx(math.radians(60.0))


def test_vectors_broadcast_over_leading_axes_and_differentiate():
    elevation = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    azimuth = torch.zeros(3, dtype=torch.float64)
    vector = zero123_vector(elevation, azimuth, torch.zeros((), dtype=torch.float64))
    assert vector.shape == (2, 3, 4) and vector.dtype == torch.float64
    vector.sum().backward()
    torch.testing.assert_close(elevation.grad, torch.full_like(elevation, -3 * math.pi / 180))
    assert stable_zero123_vector(elevation, azimuth, elevation).shape == (2, 3, 4)


def test_no_poses_encode_to_an_empty_table():
    assert encode_poses([]).shape == (0, 4)


def test_stable_zero123_needs_the_condition_elevation():
    with pytest.raises(ValueError, match=r"condition_elevation_deg: expected .* got None"):
        encode_poses([RelativePose()], "stable-zero123")


def test_unknown_encoding_is_named():
    with pytest.raises(ValueError, match=r"encoding: expected .* got 'zero-123'"):
        encode_poses([RelativePose()], "zero-123")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("azimuth", [-540.0, -180.0, -179.5, 0.0, 180.0, 181.0, 359.0, 720.0])
def test_wrapped_azimuth_is_the_same_direction(azimuth):
    wrapped = wrap_azimuth_deg(azimuth)
    assert -180.0 < wrapped <= 180.0
    assert (azimuth - wrapped) % 360.0 == 0.0


def test_moved_undoes_relative_to():
    condition, target = Pose(10.0, 170.0, 1.6), Pose(-20.0, -150.0, 2.0)
    relative = target.relative_to(condition)
    assert relative.azimuth_deg == pytest.approx(40.0)
    back = condition.moved(relative)
    assert back.elevation_deg == pytest.approx(target.elevation_deg)
    assert wrap_azimuth_deg(back.azimuth_deg - target.azimuth_deg) == pytest.approx(0.0)
    assert back.radius == pytest.approx(target.radius)


def test_a_move_over_the_pole_is_refused():
    with pytest.raises(
        ValueError, match=r"elevation_deg: expected degrees in \[-90, 90\], got 110"
    ):
        Pose(20.0).moved(RelativePose(elevation_deg=90.0))


@pytest.mark.parametrize("kind", [Pose, RelativePose])
@pytest.mark.parametrize("field", ["elevation_deg", "azimuth_deg", "radius"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, None, "north"])
def test_a_number_that_is_not_finite_is_named(kind, field, value):
    with pytest.raises(ValueError, match=f"^{field}: expected a finite number of .*, got [^\n]*$"):
        kind(**{field: value})


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_radius_must_be_positive(radius):
    with pytest.raises(ValueError, match="radius: expected a distance above 0"):
        Pose(radius=radius)


def test_orbit_closes_after_a_whole_turn():
    poses = orbit(8, elevation_deg=20.0, radius=0.1)
    assert [pose.azimuth_deg for pose in poses] == [45.0 * i for i in range(8)]
    assert {(pose.elevation_deg, pose.radius) for pose in poses} == {(20.0, 0.1)}
    with pytest.raises(ValueError, match="count"):
        orbit(0)


def test_presets_are_the_official_polar_and_azimuth():
    official = {"left": (0, -90), "above": (-90, 0), "right": (0, 90), "below": (90, 0)}
    official["behind"] = (0, 180)
    assert {n: (-p.elevation_deg, p.azimuth_deg) for n, p in PRESETS.items()} == official


def test_every_button_has_its_pose():
    assert set(PRESET_NAMES) == {*PRESETS, "random"}
    assert {name: preset_pose(name) for name in PRESETS} == PRESETS
    first, again = (preset_pose("random", torch.Generator().manual_seed(5)) for _ in range(2))
    assert first == again == random_pose(torch.Generator().manual_seed(5))
    with pytest.raises(ValueError, match="name: expected one of left, .*random, got 'up'"):
        preset_pose("up")


@pytest.mark.parametrize(
    ("azimuth", "elevation", "label"),
    [
        (45, 0, "45° right"),
        (-90, 20.04, "90° left, 20° up"),
        (0, -90, "0°, 90° down"),
        (225, 0, "135° left"),
        (-180, 5, "180°, 5° up"),
        (-179.97, 0, "180°"),
    ],
)
def test_camera_labels_say_the_side(azimuth, elevation, label):
    assert camera_label(RelativePose(elevation, azimuth)) == label
    assert camera_label(RelativePose(elevation, azimuth, -0.1)) == f"{label}, closer"


def test_random_pose_follows_the_official_distribution():
    generator = torch.Generator().manual_seed(0)
    poses = [random_pose(generator) for _ in range(4000)]
    # polar * pi / 160 is the arcsine of a uniform number, so its sine is uniform on [-1, 1].
    sines = torch.tensor([math.sin(-p.elevation_deg * math.pi / 160.0) for p in poses])
    turns = torch.tensor([p.azimuth_deg / 150.0 for p in poses])
    for uniform in (sines, turns):
        assert uniform.abs().max() <= 1.0
        assert uniform.mean().abs() < 0.04  # 4.4 standard errors
        assert abs(uniform.square().mean() - 1 / 3) < 0.02  # 4.2 standard errors
    assert torch.corrcoef(torch.stack([sines, turns]))[0, 1].abs() < 0.07
    repeat = random_pose(torch.Generator().manual_seed(0))
    assert repeat == poses[0]
