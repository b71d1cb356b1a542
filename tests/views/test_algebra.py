"""Laws of poses, cameras and their file, on cases that hypothesis draws and shrinks."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from zero123lib.views.cameras import (
    camera_to_world,
    focal_px,
    from_pytorch3d,
    opencv_to_opengl,
    opengl_to_opencv,
    pose_from_camera,
    pose_from_world_to_camera,
    rotation_angle_deg,
    to_pytorch3d,
)
from zero123lib.views.poses import Encoding, Pose, RelativePose, encode_poses, wrap_azimuth_deg
from zero123lib.views.transforms import poses_from_transforms, transforms_json

# The same cases on every machine; a failing one is shrunk to the simplest.
law = settings(max_examples=100, deadline=None, derandomize=True, database=None)

elevations = st.floats(-90, 90)
azimuths = st.floats(-720, 720)
radii = st.floats(0.1, 100)
poses = st.builds(Pose, elevations, azimuths, radii)
# Away from the poles the centre alone tells the azimuth.
upright = st.builds(Pose, st.floats(-89, 89), azimuths, radii)


def same_direction(a_deg: float, b_deg: float, tolerance: float = 1e-6) -> bool:
    return abs(math.remainder(a_deg - b_deg, 360)) < tolerance


def same(a: Pose, b: Pose, tolerance: float = 1e-6) -> bool:
    return (
        math.isclose(a.elevation_deg, b.elevation_deg, abs_tol=tolerance)
        and math.isclose(a.radius, b.radius, rel_tol=tolerance)
        and same_direction(a.azimuth_deg, b.azimuth_deg, tolerance)
    )


@law
@given(poses, poses)
def test_a_move_by_the_difference_arrives(condition: Pose, target: Pose) -> None:
    difference = target.relative_to(condition)
    exact = condition.elevation_deg + difference.elevation_deg
    assume(-90 <= exact <= 90)  # rounding may pass a pole by a last bit, which is refused
    assert same(condition.moved(difference), target)


@law
@given(poses, poses, poses)
def test_differences_are_antisymmetric_and_add_up(a: Pose, b: Pose, c: Pose) -> None:
    there, back = b.relative_to(a), a.relative_to(b)
    assert (there.elevation_deg, there.radius) == (-back.elevation_deg, -back.radius)
    assert same_direction(there.azimuth_deg, -back.azimuth_deg)
    whole, rest = c.relative_to(a), c.relative_to(b)
    assert whole.elevation_deg == pytest.approx(there.elevation_deg + rest.elevation_deg, abs=1e-9)
    assert whole.radius == pytest.approx(there.radius + rest.radius, abs=1e-9)
    assert same_direction(whole.azimuth_deg, there.azimuth_deg + rest.azimuth_deg)


@law
@given(st.floats(-1e6, 1e6))
def test_a_wrapped_azimuth_is_the_same_direction_and_stays(azimuth: float) -> None:
    wrapped = wrap_azimuth_deg(azimuth)
    assert -180 < wrapped <= 180 and wrap_azimuth_deg(wrapped) == wrapped
    assert same_direction(wrapped, azimuth)


@law
@given(st.floats(-180, 180), azimuths, st.floats(-2, 2), elevations, st.integers(-2, 2))
def test_a_code_knows_directions_not_turns(
    elevation: float, azimuth: float, radius: float, own: float, turns: int
) -> None:
    pose = RelativePose(elevation, azimuth, radius)
    turned = RelativePose(elevation, azimuth + 360 * turns, radius)
    encodings: tuple[Encoding, ...] = ("zero123", "stable-zero123")
    zero, stable = (encode_poses([pose, turned], name, own) for name in encodings)
    for code in (zero, stable):
        assert torch.allclose(code[0], code[1], atol=1e-5)
        assert float(code[0, 1].square() + code[0, 2].square()) == pytest.approx(1, abs=1e-5)
    # They differ in the last entry alone: how much farther, or how high the condition is.
    assert torch.equal(zero[:, :3], stable[:, :3])
    assert float(zero[0, 3]) == pytest.approx(radius, abs=1e-6)
    assert float(stable[0, 3]) == pytest.approx(math.radians(90 - own), abs=1e-5)


@law
@given(upright)
def test_a_camera_is_rigid_looks_at_the_origin_and_gives_its_pose_back(pose: Pose) -> None:
    c2w = camera_to_world(pose).double()
    rotation, centre = c2w[:3, :3], c2w[:3, 3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-5)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)
    assert float(centre.norm()) == pytest.approx(pose.radius, rel=1e-5)
    # The camera looks along its -z axis.
    assert torch.allclose(-rotation[:, 2] * pose.radius, -centre, atol=1e-4 * pose.radius)
    assert same(pose_from_camera(c2w), pose, 1e-2)
    w2c = torch.linalg.inv(c2w)
    assert same(pose_from_world_to_camera(w2c[:3]), pose, 1e-2)


@law
@given(poses, azimuths)
def test_a_turn_of_the_camera_is_a_turn_of_the_world(pose: Pose, by: float) -> None:
    angle = math.radians(by)
    turn = torch.eye(4, dtype=torch.float64)
    turn[0, 0] = turn[1, 1] = math.cos(angle)
    turn[1, 0], turn[0, 1] = math.sin(angle), -math.sin(angle)
    turned = camera_to_world(pose.moved(RelativePose(azimuth_deg=by))).double()
    assert torch.allclose(turned, turn @ camera_to_world(pose).double(), atol=1e-4 * pose.radius)


@law
@given(poses, poses)
def test_conventions_are_undone_and_keep_angles(a: Pose, b: Pose) -> None:
    one, other = (camera_to_world(pose).double() for pose in (a, b))
    assert torch.equal(opencv_to_opengl(opengl_to_opencv(one)), one)
    assert torch.allclose(from_pytorch3d(*to_pytorch3d(one)), one, atol=1e-6 * a.radius)
    angle = rotation_angle_deg(one[:3, :3], other[:3, :3])
    assert torch.equal(angle, rotation_angle_deg(other[:3, :3], one[:3, :3]))
    assert 0 <= float(angle) <= 180
    flipped = (opengl_to_opencv(matrix)[:3, :3] for matrix in (one, other))
    assert torch.allclose(rotation_angle_deg(*flipped), angle, atol=1e-3)
    assert float(rotation_angle_deg(one[:3, :3], one[:3, :3])) == 0


@law
@given(st.integers(1, 4096), st.floats(1, 170), st.integers(2, 8))
def test_a_focal_length_grows_with_the_image(size: int, fov: float, times: int) -> None:
    assert focal_px(times * size, fov) == pytest.approx(times * focal_px(size, fov))


@law
@given(st.lists(upright, min_size=1, max_size=5), st.floats(1, 170))
def test_a_listing_gives_its_poses_back(known: list[Pose], fov: float) -> None:
    names = [f"{number:03d}.png" for number in range(len(known))]
    content = json.loads(json.dumps(transforms_json(names, known, fov)))
    found = poses_from_transforms(content)
    assert all(same(a, b, 1e-2) for a, b in zip(found, known, strict=True))
