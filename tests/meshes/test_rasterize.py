"""What the rasterisers see, against closed forms and against each other."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import box, joined, sphere, square

from zero123lib._optional import MissingExtraError
from zero123lib.meshes import rasterize as module
from zero123lib.meshes.load import load_mesh
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import (
    check_backend,
    choose_backend,
    meet,
    rasterize,
    rasterizer,
)
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.views.cameras import focal_px, rays, spherical_to_camera
from zero123lib.views.poses import Pose

SIZE = 48
VIEWS = [
    Pose(0.0, 0.0, 2.0),
    Pose(35.0, 130.0, 1.6),
    Pose(-90.0, 20.0, 1.9),
    Pose(89.0, 300.0, 2.2),
]


def sphere_depth(camera: Camera, radius: float) -> torch.Tensor:
    """Closed form: depth of a sphere at the origin along the camera's axis, infinite beside it."""
    c2w = camera.camera_to_world.double()
    origins, directions = rays(c2w, camera.size, camera.fov_deg)
    half = (origins * directions).sum(-1)
    inside = half**2 - (origins**2).sum(-1) + radius**2
    distance = -half - inside.clamp(min=0.0).sqrt()
    return torch.where(inside >= 0, distance * (directions @ -c2w[:3, 2]), math.inf)


@pytest.mark.parametrize("pose", VIEWS)
def test_depth_of_a_sphere_is_the_closed_form(backend: str, pose: Pose) -> None:
    camera = Camera.at(pose, SIZE)
    seen = rasterize(sphere(0.5, 4), camera, backend)
    expected = sphere_depth(camera, 0.5)
    inner = torch.isfinite(sphere_depth(camera, 0.49))
    assert seen.face_ids.shape == (1, SIZE, SIZE) and seen.face_ids.dtype == torch.int64
    # The faces lie up to 0.0015 below the sphere, along a ray that grazes it farther.
    error = (seen.depth[0] - expected)[inner]
    assert inner.sum() > 400 and error.min() > -1e-5 and error.max() < 0.01
    assert not torch.isfinite(seen.depth[0][~torch.isfinite(expected)]).any()
    assert torch.equal(torch.isfinite(seen.depth), seen.face_ids >= 0)


def test_a_box_face_on_fills_its_square(backend: str) -> None:
    # Its front is at distance 1.5; half a side of 1 spans focal * 0.5 / 1.5 pixels.
    camera = Camera.at(Pose(0.0, 0.0, 2.0), 64)
    seen = rasterize(box(), camera, backend)
    reach = focal_px(64) * 0.5 / 1.5
    centres = (torch.arange(64) + 0.5 - 32.0).abs() < reach
    assert torch.equal(seen.face_ids[0] >= 0, centres[:, None] & centres[None, :])
    torch.testing.assert_close(seen.depth[0][seen.face_ids[0] >= 0].unique(), torch.tensor([1.5]))


@pytest.mark.parametrize("pose", VIEWS)
def test_points_lie_on_the_rays_of_views_cameras(backend: str, pose: Pose) -> None:
    mesh, camera = box(0.4, 1.0, 0.7), Camera.at(pose, SIZE)
    seen = rasterize(mesh, camera, backend)
    origins, directions = rays(camera.camera_to_world, SIZE)
    hit = seen.face_ids[0] >= 0
    weights = seen.barycentrics[0][hit]
    points = (weights.unsqueeze(-1) * mesh.triangles[seen.face_ids[0][hit]]).sum(1)
    away = points - origins[hit]
    along = (away * directions[hit]).sum(-1, keepdim=True) * directions[hit]
    assert hit.any() and (away - along).norm(dim=-1).max() < 1e-5
    assert weights.min() >= 0.0
    torch.testing.assert_close(weights.sum(-1), torch.ones(len(weights)))
    assert (seen.barycentrics[0][~hit] == 0).all()


def test_an_object_to_the_right_and_above_is_seen_there(backend: str) -> None:
    # The camera of azimuth 0 stands on +x: +y is to its right, +z above.
    small = box(0.1, 0.1, 0.1)
    mesh = Mesh(small.vertices + torch.tensor([0.0, 0.3, 0.2]), small.faces)
    rows, columns = torch.nonzero(
        rasterize(mesh, Camera.at(Pose(0.0, 0.0, 2.0), SIZE), backend).face_ids[0] >= 0,
        as_tuple=True,
    )
    assert columns.min() > SIZE / 2 and rows.max() < SIZE / 2


def test_nothing_nearer_than_the_near_plane_is_seen(backend: str) -> None:
    # From inside a box the camera sees its other side; a face behind the camera never.
    camera = Camera.at(Pose(0.0, 0.0, 0.3), SIZE)
    seen = rasterize(box(), camera, backend)
    torch.testing.assert_close(seen.depth[0, SIZE // 2, SIZE // 2], torch.tensor(0.8))
    beyond = Camera(camera.camera_to_world, SIZE, near=0.9)
    assert rasterize(box(), beyond, backend).face_ids[0, SIZE // 2, SIZE // 2] == -1


def test_layers_end_behind_what_is_opaque(backend: str) -> None:
    glass, wall = Material(alpha="blend"), Material()
    mesh = joined(square(0.4, glass), square(0.2, glass), square(0.0, wall), square(-0.2, glass))
    camera = Camera.at(Pose(0.0, 0.0, 2.0), SIZE)
    middle = (slice(None), SIZE // 2, SIZE // 2 + 3)
    seen = rasterize(mesh, camera, backend, layers=8)
    torch.testing.assert_close(seen.depth[middle], torch.tensor([1.6, 1.8, 2.0]))
    assert rasterize(mesh, camera, backend, layers=2).depth.shape[0] == 2
    assert rasterize(mesh, camera, backend).depth.shape[0] == 1


def test_faces_that_share_an_edge_leave_no_hole_and_count_once(backend: str) -> None:
    # The square's diagonal runs through the middles of pixels.
    glass = square(0.0, Material((1.0, 1.0, 1.0, 0.5), alpha="blend"))
    for size in (31, 32):
        camera = Camera.at(Pose(0.0, 0.0, 2.0), size)
        seen = rasterize(glass, camera, backend, layers=4)
        on = torch.arange(size).sub(size / 2 - 0.5).abs() < 6
        assert (seen.face_ids[0][on][:, on] >= 0).all()
        assert seen.face_ids.shape[0] == 1


def test_gradients_of_depth_are_those_of_the_closed_form(backend: str) -> None:
    # A square at x seen from distance 2 is 2 - x deep: moving all corners by d changes it by -d.
    mesh = square(0.1)
    vertices = mesh.vertices.clone().requires_grad_()
    moving = Mesh(vertices, mesh.faces)
    seen = rasterize(moving, Camera.at(Pose(0.0, 0.0, 2.0), SIZE), backend)
    depth = seen.depth[0, SIZE // 2, SIZE // 2]
    (gradient,) = torch.autograd.grad(depth, vertices)
    torch.testing.assert_close(gradient[:, 0].sum(), torch.tensor(-1.0))
    assert torch.isfinite(gradient).all()


def test_gradients_reach_the_camera(backend: str) -> None:
    radius = torch.tensor(2.0, requires_grad=True)
    c2w = spherical_to_camera(torch.tensor(0.0), torch.tensor(0.0), radius)
    depth = rasterize(square(0.1), Camera(c2w, SIZE), backend).depth[0, SIZE // 2, SIZE // 2]
    depth.backward()
    torch.testing.assert_close(radius.grad, torch.tensor(1.0))


def test_weights_stay_in_a_triangle_seen_edge_on() -> None:
    triangle = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    origin, direction = torch.tensor([[-1.0, 0.2, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    for tilt in (0.0, 1e-30, 1e-12, 1e-6):
        weights = meet(triangle.requires_grad_(), origin, direction + tilt)
        assert torch.isfinite(weights).all() and weights.min() >= 0.0
        (gradient,) = torch.autograd.grad(weights[0, 0], triangle)
        assert torch.isfinite(gradient).all()


@pytest.mark.skipif(
    find_spec("pytorch3d") is None, reason="pytorch3d is not installed: no second backend"
)
def test_backends_agree(shared_data: Path) -> None:
    for name in ("spot.glb", "milk_truck.glb", "fox.glb"):
        mesh = load_mesh(shared_data / "meshes" / name)
        for pose in VIEWS:
            camera = Camera.at(pose, SIZE)
            one, two = (rasterize(mesh, camera, name) for name in ("open3d", "pytorch3d"))
            differ = (one.face_ids >= 0) != (two.face_ids >= 0)
            both = (one.face_ids >= 0) & (two.face_ids >= 0)
            # Pixels whose centre lies on an outline may fall to either side.
            assert differ.sum() <= 2 and both.sum() > 30
            assert (one.depth - two.depth)[both].abs().max() <= 1e-4
            colors = [render(mesh, camera, AMBIENT, 1, n).color for n in ("open3d", "pytorch3d")]
            assert (colors[0] - colors[1])[both[0]].abs().max() <= 2.0 / 255.0


@pytest.mark.skipif(
    find_spec("pytorch3d") is None, reason="pytorch3d is not installed: its own numbers are absent"
)
def test_depth_and_weights_are_those_of_pytorch3d() -> None:
    from pytorch3d.renderer.mesh.rasterize_meshes import (  # pyright: ignore[reportMissingImports]
        rasterize_meshes,
    )
    from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports]

    from zero123lib.views.cameras import to_pytorch3d

    mesh, camera = sphere(0.5, 3), Camera.at(Pose(20.0, 70.0, 1.7), SIZE)
    rotation, translation = to_pytorch3d(camera.camera_to_world)
    x, y, z = (mesh.vertices @ rotation + translation).unbind(-1)
    zoom = 1.0 / math.tan(math.radians(camera.fov_deg / 2))
    screen = torch.stack([zoom * x / z, zoom * y / z, z], dim=-1)
    faces, depth, weights, _ = rasterize_meshes(
        Meshes([screen], [mesh.faces]), SIZE, 0.0, 1, perspective_correct=True
    )
    seen = rasterize(mesh, camera, "pytorch3d")
    hit = seen.face_ids[0] >= 0
    assert torch.equal(seen.face_ids[0], faces[0, ..., 0])
    torch.testing.assert_close(seen.depth[0][hit], depth[0, ..., 0][hit], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        seen.barycentrics[0][hit], weights[0, ..., 0, :][hit], atol=2e-3, rtol=0
    )


def test_depth_and_weights_are_those_of_open3d() -> None:
    o3d: Any = pytest.importorskip("open3d")
    mesh, camera = sphere(0.5, 3), Camera.at(Pose(20.0, 70.0, 1.7), SIZE)
    scene = o3d.t.geometry.RaycastingScene()
    faces = mesh.faces.numpy().astype(np.uint32)
    scene.add_triangles(o3d.core.Tensor(mesh.vertices.numpy()), o3d.core.Tensor(faces))
    origins, directions = rays(camera.camera_to_world, SIZE)
    hit = scene.cast_rays(o3d.core.Tensor(torch.cat([origins, directions], -1).numpy()))
    depth = torch.from_numpy(hit["t_hit"].numpy()) * (directions @ -camera.camera_to_world[:3, 2])
    seen = rasterize(mesh, camera, "open3d")
    torch.testing.assert_close(seen.depth[0], depth, atol=1e-5, rtol=0)
    on = seen.face_ids[0] >= 0
    theirs = torch.from_numpy(hit["primitive_uvs"].numpy())[on]
    torch.testing.assert_close(seen.barycentrics[0][on][:, 1:], theirs, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["alarm", "lion", "shoe1"])
def test_silhouettes_are_those_of_the_ground_truth(shared_data: Path, name: str) -> None:
    """Google Scanned Objects: geometry aligned with images that another renderer took."""
    folder = shared_data / "gso" / name
    # PyTorch3D, which sees the same, takes minutes for this on the CPU.
    look = rasterizer(load_mesh(folder / "mesh_aligned.ply", normalise=False), "open3d")
    fov_deg = 2.0 * math.degrees(math.atan(128.0 / 280.0))
    for view in (0, 5, 11):
        with Image.open(folder / f"{view:03d}.png") as image:
            truth = torch.from_numpy(np.array(image)[..., 3] >= 128)
        camera = Camera.at(Pose(30.0, 22.5 * view, 1.5), 256, fov_deg)
        ours = look(camera).face_ids[0] >= 0
        assert (truth & ours).sum() / (truth | ours).sum() > 0.98


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="backend: expected one of auto, open3d, pytorch3d, got"):
        rasterize(box(), Camera.at(Pose(), 8), "embree")
    with pytest.raises(ValueError, match="layers: expected at least 1, got 0"):
        rasterizer(box(), layers=0)
    with pytest.raises(ValueError, match="near: expected a distance above 0"):
        Camera(torch.eye(4), 8, near=0.0)
    with pytest.raises(ValueError, match=r"camera_to_world: expected shape \[4, 4\], got \[3, 4\]"):
        Camera(torch.eye(4)[:3], 8)


def test_the_backend_is_chosen_by_device_and_by_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: set[str] = set()
    monkeypatch.setattr(module, "find_spec", lambda name: name if name in there else None)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for installed, on_cpu, on_cuda in [
        ({"open3d", "pytorch3d"}, "open3d", "pytorch3d"),
        ({"open3d"}, "open3d", "open3d"),
        ({"pytorch3d"}, "pytorch3d", "pytorch3d"),
    ]:
        there = installed
        assert choose_backend("auto", cpu) == on_cpu and choose_backend("auto", cuda) == on_cuda
    there = set()
    with pytest.raises(MissingExtraError, match="pytorch3d is not installed: its INSTALL.md"):
        check_backend("pytorch3d")
    with pytest.raises(
        MissingExtraError, match=r"open3d is not installed: pip install 'zero123lib"
    ):
        check_backend(choose_backend("auto", cpu))
