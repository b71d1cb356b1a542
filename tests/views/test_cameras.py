"""Cameras: one world point lands on one pixel, whichever axes describe the camera."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from zero123lib.views.cameras import (
    FOV_DEG,
    camera_to_world,
    focal_px,
    from_pytorch3d,
    intrinsics,
    opencv_to_opengl,
    opengl_to_opencv,
    pose_from_camera,
    pose_from_world_to_camera,
    rays,
    rotation_angle_deg,
    spherical_to_camera,
    to_pytorch3d,
)
from zero123lib.views.poses import Pose, wrap_azimuth_deg

SIZE = 64
POSES = [Pose(0.0, 0.0, 1.85), Pose(30.0, 135.0, 1.5), Pose(-60.0, -100.0, 2.2)]


def random_cameras(count: int, seed: int = 0) -> torch.Tensor:
    u = torch.rand(3, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return spherical_to_camera(180.0 * u[0] - 90.0, 360.0 * u[1], 1.5 + 0.7 * u[2])


def assert_same_pose(pose: Pose, expected: Pose, tolerance: float = 1e-4) -> None:
    turn = wrap_azimuth_deg(pose.azimuth_deg - expected.azimuth_deg)
    difference = [turn, pose.elevation_deg - expected.elevation_deg, pose.radius - expected.radius]
    assert max(map(abs, difference)) < tolerance, f"{pose} is not {expected}"


def test_the_field_of_view_is_a_35_mm_lens_on_a_32_mm_sensor():
    # 49.13 is rounded to 0.01 degrees, which is worth 0.035 pixels.
    assert focal_px(256) == pytest.approx(256 * 35 / 32, abs=0.035)
    assert focal_px(256, 90.0) == pytest.approx(128.0)
    expected = torch.tensor([[focal_px(10), 0, 5.0], [0, focal_px(10), 5.0], [0, 0, 1]])
    torch.testing.assert_close(intrinsics(10), expected)
    wide = torch.tensor([[5.0, 0, 5], [0, 5, 5], [0, 0, 1]])
    torch.testing.assert_close(intrinsics(10, 90.0), wide)


@pytest.mark.parametrize("fov", [0.0, 180.0, math.nan])
def test_an_impossible_field_of_view_is_named(fov):
    with pytest.raises(ValueError, match="fov_deg"):
        focal_px(256, fov)


@pytest.mark.parametrize("size", [0, -1, math.nan])
def test_an_image_of_no_pixel_has_no_focal_length(size):
    with pytest.raises(ValueError, match=f"^size: expected at least 1 pixel, got {size}$"):
        focal_px(size)
    assert focal_px(1, 90.0) == pytest.approx(0.5)


@pytest.mark.parametrize("fov", [0.5, 179.5])
def test_any_field_of_view_between_a_line_and_a_plane_is_taken(fov):
    assert math.degrees(2 * math.atan(32 / focal_px(64, fov))) == pytest.approx(fov)


def test_front_camera_in_closed_form():
    # On +x, so its right is +y, its up is +z, and it looks along -x.
    expected = torch.tensor([[0, 0, 1, 2.0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(camera_to_world(Pose(0.0, 0.0, 2.0)), expected)


def test_centres_follow_the_spherical_formula():
    for pose in POSES:
        theta, phi = math.radians(pose.polar_deg), math.radians(pose.azimuth_deg)
        direction = [math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi)]
        expected = pose.radius * torch.tensor([*direction, math.cos(theta)])
        torch.testing.assert_close(camera_to_world(pose)[:3, 3], expected)


def test_rotations_are_proper_and_look_at_the_origin_with_up_up():
    c2w = random_cameras(50)
    rotation, centre = c2w[:, :3, :3], c2w[:, :3, 3]
    eye = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(rotation.mT @ rotation, eye)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))
    towards = -centre / centre.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(-rotation[:, :, 2], towards)
    assert (rotation[:, 2, 0].abs() < 1e-12).all()  # the horizon is level
    assert (rotation[:, 2, 1] > 0).all()  # and up is not down


def test_positive_azimuth_moves_the_camera_to_its_right():
    here, there = camera_to_world([Pose(10.0, 30.0), Pose(10.0, 35.0)])
    step = there[:3, 3] - here[:3, 3]
    assert torch.dot(step, here[:3, 0]) > 0.99 * step.norm()


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_the_poles_are_the_limit_of_the_orbit(pole):
    near = torch.tensor([pole, pole * (1 - 1e-7)], dtype=torch.float64, requires_grad=True)
    c2w = spherical_to_camera(near, torch.tensor(40.0).double(), torch.tensor(1.85).double())
    torch.testing.assert_close(c2w[0], c2w[1], atol=1e-6, rtol=0.0)
    (gradient,) = torch.autograd.grad(c2w.square().sum() + c2w.sum(), near)
    assert torch.isfinite(gradient).all()


def test_camera_to_world_keeps_shape_and_dtype():
    angles = torch.zeros(2, 1, 3, dtype=torch.float64)
    assert spherical_to_camera(angles, angles[0], angles[0, 0] + 1).shape == (2, 1, 3, 4, 4)
    assert spherical_to_camera(angles, angles, angles + 1).dtype == torch.float64
    assert camera_to_world(POSES).shape == (3, 4, 4) and camera_to_world(POSES[0]).shape == (4, 4)
    assert camera_to_world([]).shape == (0, 4, 4)
    torch.testing.assert_close(camera_to_world(POSES)[1], camera_to_world(POSES[1]))
    # Angles are taken in double precision, however many turns they make.
    many, none = camera_to_world([Pose(20.0, 3.6e7 + 30), Pose(20.0, 30.0)])
    torch.testing.assert_close(many, none)


@pytest.mark.parametrize("elevation", [-90.0, -89.9, -30.0, 0.0, 45.0, 89.9, 90.0])
@pytest.mark.parametrize("azimuth", [-170.0, 0.0, 90.0, 180.0])
def test_pose_from_camera_undoes_camera_to_world(elevation, azimuth):
    pose = Pose(elevation, azimuth, 1.7)
    assert_same_pose(pose_from_camera(camera_to_world(pose)), pose, 1e-3)


def test_pose_from_camera_refuses_a_camera_that_looks_elsewhere():
    c2w = camera_to_world(POSES[1])
    rolled = c2w.clone()
    rolled[:3, :3] = c2w[:3, :3] @ torch.linalg.matrix_exp(
        torch.tensor([[0, -0.1, 0], [0.1, 0, 0], [0, 0, 0]])
    )
    with pytest.raises(ValueError, match=r"c2w: expected .* turned away by 5\.73 degrees"):
        pose_from_camera(rolled)
    assert_same_pose(pose_from_camera(rolled, tolerance_deg=None), POSES[1])
    with pytest.raises(ValueError, match="c2w: expected a 4x4 or 3x4 matrix"):
        pose_from_camera(torch.eye(3))
    with pytest.raises(ValueError, match="c2w: expected finite"):
        pose_from_camera(torch.full((4, 4), math.nan))
    assert_same_pose(pose_from_camera(rolled, 5.8), POSES[1])
    with pytest.raises(ValueError, match=r"within 5\.7 degrees"):
        pose_from_camera(rolled, 5.7)
    little = rolled.clone()
    little[:3, :3] = c2w[:3, :3] @ torch.linalg.matrix_exp(
        torch.tensor([[0, 0, 0.03], [0, 0, 0], [-0.03, 0, 0]])
    )
    with pytest.raises(ValueError, match=r"within 1 degrees.*turned away by 1\.72 degrees"):
        pose_from_camera(little)


def test_a_camera_may_come_without_its_last_row_and_with_a_gradient():
    c2w = camera_to_world(POSES[1]).requires_grad_()
    assert_same_pose(pose_from_camera(c2w[:3]), POSES[1])


@pytest.mark.parametrize(
    ("read", "name", "wanted"),
    [
        (pose_from_camera, "c2w", "4x4 or 3x4"),
        (pose_from_world_to_camera, "w2c", "3x4 or 4x4"),
    ],
)
def test_what_is_no_camera_is_named(read, name, wanted):
    for shape in ((3, 3), (4, 3), (1, 4, 4)):
        told = rf"^{name}: expected a {wanted} matrix, got \[{', '.join(map(str, shape))}\]$"
        with pytest.raises(ValueError, match=told):
            read(torch.zeros(shape))
    infinite = torch.eye(4)
    infinite[1, 3] = math.inf
    with pytest.raises(ValueError, match=f"^{name}: expected finite numbers, got NaN or infinity$"):
        read(infinite)
    with pytest.raises(ValueError, match="^radius: expected a distance above 0, got 0$"):
        read(torch.eye(4))


def test_next_to_a_pole_the_centre_tells_the_azimuth_unless_it_is_nearer_than_rounding():
    c2w = camera_to_world(Pose(90.0, 50.0, 2.0)).double()
    for across, azimuth in ((2e-5, 120.0), (2e-7, 50.0)):
        angle = math.radians(120.0)
        c2w[:2, 3] = across * torch.tensor([math.cos(angle), math.sin(angle)]).double()
        assert pose_from_camera(c2w, None).azimuth_deg == pytest.approx(azimuth, abs=1e-4)


@pytest.mark.parametrize("pose", [*POSES, Pose(90.0, 50.0), Pose(-90.0, 50.0)])
def test_official_world_to_camera_files_give_the_pose_back(pose):
    w2c = torch.linalg.inv(camera_to_world(pose).double())[:3]
    assert_same_pose(pose_from_world_to_camera(w2c), pose, 1e-3)
    # Of any type, it is computed in double precision.
    assert pose_from_world_to_camera(w2c.float()) == pose_from_world_to_camera(w2c.float().double())


def test_rotation_angle_of_known_turns():
    degrees = torch.tensor([0.0, 1e-3, 30.0, 180.0], dtype=torch.float64)
    turned = spherical_to_camera(torch.zeros(4).double(), degrees, torch.ones(4).double())
    angle = rotation_angle_deg(turned[:1, :3, :3], turned[:, :3, :3])
    torch.testing.assert_close(angle, degrees)


def test_half_turns_are_180_degrees_however_their_matrices_are_rounded():
    axes = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    axes = axes / axes.norm(dim=-1, keepdim=True)
    half = 2 * axes[:, :, None] * axes[:, None] - torch.eye(3)
    angle = rotation_angle_deg(half, torch.eye(3))
    torch.testing.assert_close(angle, torch.full((200,), 180.0), atol=0.1, rtol=0)


def test_rays_meet_the_projection_of_the_points_they_pass():
    c2w = random_cameras(4)
    origins, directions = rays(c2w, SIZE)
    assert origins.shape == directions.shape == (4, SIZE, SIZE, 3)
    torch.testing.assert_close(directions.norm(dim=-1), torch.ones(4, SIZE, SIZE).double())
    points = origins + 1.3 * directions
    pixels = project_opencv(c2w, points.flatten(1, 2)).unflatten(1, (SIZE, SIZE))
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    expected = torch.stack([column, row], dim=-1).double() + 0.5
    torch.testing.assert_close(pixels, expected.expand_as(pixels), atol=1e-3, rtol=0.0)


def test_the_outermost_image_edge_is_half_the_field_of_view_away():
    _, directions = rays(torch.eye(4, dtype=torch.float64), 2, 90.0)
    # Two pixels over 90 degrees: centres at a quarter of the sensor, tan = 1/2.
    expected = torch.tensor([-0.5, 0.5, -1.0], dtype=torch.float64) / math.sqrt(1.5)
    torch.testing.assert_close(directions[0, 0], expected)


def project_opengl(c2w: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pixels of world points [N, P, 3]: x right, y up, looking along -z."""
    local = torch.einsum("nij,npj->npi", torch.linalg.inv(c2w), homogeneous(points))
    x, y, z, _ = local.unbind(-1)
    focal = focal_px(SIZE)
    return torch.stack([focal * x / -z + SIZE / 2, SIZE / 2 - focal * y / -z], dim=-1)


def project_opencv(c2w: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pixels by K [R | T] with OpenCV axes."""
    w2c = torch.linalg.inv(opengl_to_opencv(c2w))[:, :3]
    flat = torch.einsum("ij,njk,npk->npi", intrinsics(SIZE).double(), w2c, homogeneous(points))
    return flat[..., :2] / flat[..., 2:]


def project_pytorch3d(c2w: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Pixels by PyTorch3D's row vectors and NDC: +x is left, +y is up, 1 is the image's edge."""
    rotation, translation = to_pytorch3d(c2w)
    x, y, z = (points @ rotation + translation[:, None]).unbind(-1)
    scale = 1.0 / math.tan(math.radians(FOV_DEG) / 2)
    ndc = scale * torch.stack([x / z, y / z], dim=-1)
    return SIZE / 2 * (1.0 - ndc)


def homogeneous(points: torch.Tensor) -> torch.Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)


@pytest.mark.parametrize("project", [project_opengl, project_opencv, project_pytorch3d])
def test_a_known_point_lands_on_the_same_pixel_in_every_convention(project):
    # The front camera at (2, 0, 0) sees y to the right and z up: similar triangles.
    point = torch.tensor([[[0.0, 0.3, 0.2]]], dtype=torch.float64)
    front = camera_to_world([Pose(0.0, 0.0, 2.0)]).double()
    shift = focal_px(SIZE) / 2.0
    expected = torch.tensor([[[SIZE / 2 + 0.3 * shift, SIZE / 2 - 0.2 * shift]]]).double()
    torch.testing.assert_close(project(front, point), expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("project", [project_opencv, project_pytorch3d])
def test_conventions_agree_for_any_camera_and_point(project):
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(20, 7, 3, generator=generator, dtype=torch.float64) - 0.5
    c2w = random_cameras(20)
    torch.testing.assert_close(
        project(c2w, points), project_opengl(c2w, points), atol=1e-5, rtol=0.0
    )


def test_conversions_round_trip_and_keep_leading_axes():
    c2w = random_cameras(6).reshape(2, 3, 4, 4)
    torch.testing.assert_close(opencv_to_opengl(opengl_to_opencv(c2w)), c2w)
    rotation, translation = to_pytorch3d(c2w)
    assert rotation.shape == (2, 3, 3, 3) and translation.shape == (2, 3, 3)
    torch.testing.assert_close(from_pytorch3d(rotation, translation), c2w)


def test_cameras_of_google_scanned_objects_agree(shared_data: Path):
    cameras = json.loads((shared_data / "gso" / "cameras.json").read_text())
    columns = zip(
        cameras["elevation_deg"], cameras["azimuth_deg"], cameras["distance"], strict=True
    )
    ours = camera_to_world([Pose(*column) for column in columns])
    w2c = torch.tensor(cameras["world_to_camera_opencv_3x4"])
    last = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(len(w2c), 1, 4)
    theirs = opencv_to_opengl(torch.linalg.inv(torch.cat([w2c, last], dim=1)))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0.0)
