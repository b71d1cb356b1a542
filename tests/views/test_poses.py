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
    absolute_poses,
    camera_label,
    elevation_on_sphere_deg,
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


def test_turns_are_taken_off_in_double_precision():
    many, none = (encode_poses([RelativePose(azimuth_deg=turn)]) for turn in (3.6e7 + 30, 30))
    torch.testing.assert_close(many, none)


def test_no_poses_encode_to_an_empty_table():
    assert encode_poses([]).shape == (0, 4)


def test_stable_zero123_needs_the_condition_elevation():
    with pytest.raises(ValueError, match=r"condition_elevation_deg: expected .* got None"):
        encode_poses([RelativePose()], "stable-zero123")


def test_unknown_encoding_is_named():
    told = "^encoding: expected 'zero123' or 'stable-zero123', got 'zero-123'$"
    with pytest.raises(ValueError, match=told):
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


def test_cameras_of_views_are_the_images_own_moved():
    source, moves = Pose(20.0, 350.0, 1.5), [RelativePose(), RelativePose(70.0, 30.0, -1.0)]
    assert absolute_poses(source, moves) == [source, Pose(90.0, 380.0, 0.5)]
    assert absolute_poses(Pose(-90.0), [RelativePose()]) == [Pose(-90.0)]
    with pytest.raises(ValueError, match=r"^elevation: .*, -90 to 90 degrees, got 20 \+ 70\.5$"):
        absolute_poses(source, [RelativePose(70.5)])
    with pytest.raises(ValueError, match=r"^sphere: .*, got 20 \+ -111$"):
        absolute_poses(source, [RelativePose(), RelativePose(-111.0)], "sphere")
    with pytest.raises(
        ValueError, match=r"^radius: expected a camera farther .*, got 1\.5 \+ -1\.5$"
    ):
        absolute_poses(source, [RelativePose(radius=-1.5)])


@pytest.mark.parametrize(
    ("share", "bounds", "elevation"),
    [
        (0.5, (-90.0, 90.0), 0.0),
        (0.5, (0.0, 90.0), 30.0),  # half of a hemisphere's area lies below half its height
        (0.25, (-90.0, 90.0), -30.0),
        (0.75, (-30.0, 90.0), math.degrees(math.asin(0.625))),
    ],
)
def test_elevations_share_a_sphere_by_its_area(share, bounds, elevation):
    assert elevation_on_sphere_deg(share, bounds) == pytest.approx(elevation)


def test_elevations_on_a_sphere_never_leave_their_band():
    for low in range(-90, 90, 7):
        bounds = (low + 0.1, low + 0.3)
        found = [elevation_on_sphere_deg(share, bounds) for share in (0.0, 0.5, 1.0)]
        assert bounds[0] <= found[0] < found[1] < found[2] <= bounds[1]
        assert (found[0], found[2]) == pytest.approx(bounds)


@pytest.mark.parametrize("kind", [Pose, RelativePose])
@pytest.mark.parametrize(
    ("field", "unit"),
    [("elevation_deg", "degrees"), ("azimuth_deg", "degrees"), ("radius", "scene units")],
)
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, None, "north"])
def test_a_number_that_is_not_finite_is_named(kind, field, unit, value):
    told = f"{field}: expected a finite number of {unit}, got {repr(value)[:20]}"
    with pytest.raises(ValueError) as refused:
        kind(**{field: value})
    assert str(refused.value).startswith(told) and "\n" not in str(refused.value)


def test_numbers_become_plain_floats():
    pose = Pose(torch.tensor(10), True, "2")  # pyright: ignore[reportArgumentType]
    assert [type(value) for value in vars(pose).values()] == [float] * 3
    assert pose == Pose(10.0, 1.0, 2.0) and pose.polar_deg == 80.0


@pytest.mark.parametrize("elevation", [-90.5, 90.5])
def test_no_camera_lies_beyond_a_pole(elevation):
    told = rf"^elevation_deg: expected degrees in \[-90, 90\], got {elevation}$"
    with pytest.raises(ValueError, match=told):
        Pose(elevation)


@pytest.mark.parametrize("radius", [0.0, -1.0])
def test_radius_must_be_positive(radius):
    with pytest.raises(ValueError, match="radius: expected a distance above 0"):
        Pose(radius=radius)


def test_orbit_closes_after_a_whole_turn():
    poses = orbit(8, elevation_deg=20.0, radius=0.1)
    assert [pose.azimuth_deg for pose in poses] == [45.0 * i for i in range(8)]
    assert {(pose.elevation_deg, pose.radius) for pose in poses} == {(20.0, 0.1)}
    assert orbit(1) == [RelativePose()]
    with pytest.raises(ValueError, match="count: expected at least 1 view, got 0"):
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
        (-30.26, 0.26, "30.3° left, 0.3° up"),
        (0.04, -0.04, "0°"),
        (1, -1, "1° right, 1° down"),
    ],
)
def test_camera_labels_say_the_side(azimuth, elevation, label):
    assert camera_label(RelativePose(elevation, azimuth)) == label
    assert camera_label(RelativePose(elevation, azimuth, -0.1)) == f"{label}, closer"
    assert camera_label(RelativePose(elevation, azimuth, 0.001)) == f"{label}, farther"
    assert camera_label(RelativePose(elevation, azimuth, 0.0004)) == label


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
    # The very numbers: two of double precision, in this order.
    u, v = 2 * torch.rand(2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    expected = RelativePose(-math.asin(u) * 160.0 / math.pi, 150.0 * float(v))
    assert vars(poses[0]) == pytest.approx(vars(expected))
