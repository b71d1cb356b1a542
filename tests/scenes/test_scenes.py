"""Procedural objects: seeded, normalised, and drawn where geometry says they are."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch

from zero123lib.scenes import (
    KINDS,
    Part,
    Pattern,
    Scene,
    primitives,
    random_camera,
    random_scene,
    render,
)
from zero123lib.scenes.shading import lit
from zero123lib.views.cameras import FOV_DEG, camera_to_world, rays
from zero123lib.views.poses import Pose

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def ball(radius: float, centre=(0.0, 0.0, 0.0), color=(1.0, 0.0, 0.0)) -> Part:
    linear = ((radius, 0.0, 0.0), (0.0, radius, 0.0), (0.0, 0.0, radius))
    return Part("ball", linear, centre, color)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_fill_the_unit_box_and_repeat_by_seed(kind):
    for seed in range(6):
        scene = random_scene(seed, kind)
        low, high = scene.bounds()
        assert (high - low).max() == pytest.approx(1)
        np.testing.assert_allclose(low + high, 0, atol=1e-9)
        assert scene == random_scene(seed, kind)
        assert scene.parts != random_scene(seed + 1000, kind).parts


def test_kinds_are_drawn_from_those_given():
    names = {random_scene(seed, kinds=["duck", "car"]).name for seed in range(20)}
    assert names == {"duck", "car"}
    assert random_scene(5, kinds=KINDS) == random_scene(5)
    assert random_scene(5, "mug", kinds=["duck"]) == random_scene(5, "mug")
    for wrong, got in ((["unicorn", "duck"], "'unicorn'"), ([], "none")):
        with pytest.raises(ValueError, match=f"kinds: expected some of chair, .*, got {got}"):
            random_scene(5, kinds=wrong)


def test_every_kind_is_drawn():
    assert {random_scene(seed).name for seed in range(400)} == set(KINDS)


@pytest.mark.parametrize("kind", ["mug", "quadruped", "house", "composition"])
def test_mesh_lies_on_the_boundary_of_the_inside(kind):
    """A vertex is on its own part's surface: pulled towards the part's centre it is inside."""
    scene = random_scene(3, kind)
    mesh = scene.mesh(detail=32)
    assert mesh.vertices.shape == mesh.colors.shape and mesh.faces.max() < len(mesh.vertices)
    low, high = scene.bounds()
    assert (mesh.vertices.min(0) >= low - 1e-5).all() and (
        mesh.vertices.max(0) <= high + 1e-5
    ).all()
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    below = torch.from_numpy((a + b + c) / 3 - 0.004 * normal)
    assert scene.inside(below).float().mean() > 0.97
    assert not scene.inside(torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.0, -0.7]])).any()


def test_a_ball_is_drawn_at_its_distance_and_size():
    size, radius, distance = 128, 0.5, 1.85
    out = render(Scene((ball(radius),)), [Pose(20, 30, distance)], size, supersample=4)
    middle = out.depth[0, size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1]
    assert torch.allclose(middle, torch.tensor(distance - radius), atol=1e-3)
    focal = size / 2 / math.tan(math.radians(FOV_DEG / 2))
    outline = focal * math.tan(math.asin(radius / distance))
    assert float(out.rgba[0, ..., 3].sum()) == pytest.approx(math.pi * outline**2, rel=2e-3)
    assert not out.depth[0, 0, 0].isfinite() and out.rgba[0, 0, 0, 3] == 0


def test_depth_lands_on_the_surface():
    """Back-projected, the points around a depth sample lie on either side of the boundary."""
    scene, pose = random_scene(8, "chair"), Pose(25, 40, 1.7)
    out = render(scene, [pose], 64, supersample=1)
    camera = camera_to_world([pose])
    origins, directions = rays(camera, 64)
    along = out.depth / -(directions @ camera[:, :3, 2:3])[..., 0]
    hit = along.isfinite()
    assert hit.float().mean() > 0.05
    before = origins[hit] + (along[hit] - 2e-3)[:, None] * directions[hit]
    behind = origins[hit] + (along[hit] + 2e-3)[:, None] * directions[hit]
    assert (~scene.inside(before)).float().mean() > 0.99
    assert scene.inside(behind).float().mean() > 0.97


def test_images_agree_with_a_ray_caster_on_the_mesh():
    open3d = pytest.importorskip("open3d", reason="the meshes extra is not installed")
    scene, pose, size = random_scene(5, "robot"), Pose(15, 70, 1.6), 96
    mesh = scene.mesh(detail=96)
    caster = open3d.t.geometry.RaycastingScene()
    caster.add_triangles(
        open3d.core.Tensor(mesh.vertices), open3d.core.Tensor(mesh.faces.astype(np.uint32))
    )
    origins, directions = rays(camera_to_world([pose]), size)
    query = torch.cat([origins.expand_as(directions), directions], -1)[0].contiguous().numpy()
    distance = torch.from_numpy(caster.cast_rays(open3d.core.Tensor(query))["t_hit"].numpy())
    out = render(scene, [pose], size, supersample=1)
    hit, reference = out.depth[0].isfinite(), distance.isfinite()
    assert (hit == reference).float().mean() > 0.995
    cosine = -(directions @ camera_to_world([pose])[:, :3, 2:3])[0, ..., 0]
    error = (out.depth[0] - distance * cosine).abs()[hit & reference]
    assert error.median() < 1e-3 and (error < 0.01).float().mean() > 0.98


def brute_force(scene: Scene, pose: Pose, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Every part on every ray in float64, one sample per pixel: RGBA and depth."""
    camera = camera_to_world([pose])
    _, directions = rays(camera, size)
    directions, origin = directions[0].reshape(-1, 3).double(), camera[0, :3, 3].double()
    nearest = torch.full((len(directions),), torch.inf, dtype=torch.float64)
    rgba = torch.zeros(len(directions), 4, dtype=torch.float64)
    light = torch.tensor(scene.light, dtype=torch.float64)
    for part in scene.parts:
        inverse = torch.from_numpy(part.inverse)
        start, step = part.to_canonical(origin[None]), directions @ inverse.T
        t = primitives.intersect(part.solid, part.shape, start.expand_as(step), step)
        closer = t < nearest
        points = start + t[closer, None] * step[closer]
        normal = primitives.normals(part.solid, part.shape, points) @ inverse
        world = origin + t[closer, None] * directions[closer]
        albedo = part.color_at(points)
        color = lit(albedo.T, world.T, normal.T, -directions[closer].T, light)
        rgba[closer] = torch.cat([color, torch.ones_like(color[:1])]).T
        nearest = torch.minimum(nearest, t)
    depth = nearest * -(directions @ camera[0, :3, 2].double())
    return rgba.reshape(size, size, 4).float(), depth.reshape(size, size).float()


@pytest.mark.parametrize("kind", KINDS)
def test_images_equal_brute_force(kind):
    """Only rays that graze an edge, of a solid or of a pattern, may fall on its other side."""
    scene, poses, size = random_scene(21, kind), [Pose(25, 40, 1.6), Pose(-10, 200, 2.0)], 48
    out = render(scene, poses, size, supersample=1)
    for view, pose in enumerate(poses):
        rgba, depth = brute_force(scene, pose, size)
        hit = out.depth[view].isfinite() & depth.isfinite()
        assert (out.depth[view].isfinite() == depth.isfinite()).float().mean() > 0.999
        assert ((out.depth[view] - depth).abs()[hit] < 2e-3).float().mean() > 0.99
        same = ((out.rgba[view] - rgba).abs().amax(-1) < 0.02)[hit]
        assert same.float().mean() > 0.97


def test_samples_of_a_pixel_are_averaged():
    scene, pose = random_scene(4, "castle"), Pose(20, 0, 1.7)
    fine = render(scene, [pose], 96, supersample=1).rgba[0].reshape(48, 2, 48, 2, 4)
    coarse = render(scene, [pose], 48, supersample=2).rgba[0]
    alpha = fine[..., 3:].mean((1, 3))
    assert torch.allclose(coarse[..., 3:], alpha)
    mean = (fine[..., :3] * fine[..., 3:]).mean((1, 3)) / alpha.clamp_min(1e-6)
    assert torch.allclose(coarse[..., :3], mean, atol=1e-5)


def test_views_agree_on_a_point_but_for_the_highlight():
    """The sides of a matt box have one colour each, within the highlight's strength."""
    box = Scene((Part("box", tuple(map(tuple, (0.4 * np.eye(3)).tolist())), (0.0, 0.0, 0.0),
                      (0.5, 0.5, 0.5)),))  # fmt: skip
    top = [render(box, [Pose(60, azimuth, 1.8)], 64, supersample=1) for azimuth in (0, 120, 240)]
    middles = torch.stack([view.rgba[0, 26, 32, :3] for view in top])
    assert (middles.amax(0) - middles.amin(0)).max() < 0.1 and middles.min() > 0.4


def test_volume_counts_an_overlap_once():
    two = Scene((ball(0.3, (-0.15, 0.0, 0.0)), ball(0.3, (0.15, 0.0, 0.0))))
    lens = math.pi / 12 * (4 * 0.3 + 0.3) * (2 * 0.3 - 0.3) ** 2
    assert two.volume() == pytest.approx(8 / 3 * math.pi * 0.3**3 - lens, rel=2e-3)
    turn = np.array([[0.3, -0.1, 0.0], [0.1, 0.4, 0.1], [0.0, 0.1, 0.2]])
    part = Part("taper", tuple(map(tuple, turn.tolist())), (0.1, 0.0, 0.0), (1.0, 0.0, 0.0),
                shape=(0.3, 0.6))  # fmt: skip
    exact = primitives.volume("taper", (0.3, 0.6)) * abs(np.linalg.det(turn))
    assert Scene((part,)).volume() == pytest.approx(exact, rel=2e-3)


def test_positive_azimuth_moves_the_camera_to_its_right():
    """From azimuth 0 the world's +y is on the right; turning the camera right moves it left."""
    red = Scene((ball(0.1, (0.0, 0.35, 0.0)),))

    def column(azimuth_deg: float) -> float:
        alpha = render(red, [Pose(0, azimuth_deg, 1.85)], 64).rgba[0, ..., 3]
        return float((alpha.sum(0) * torch.arange(64)).sum() / alpha.sum())

    assert column(0) > 40 and abs(column(90) - 31.5) < 1 and column(180) < 24


def test_raised_cameras_look_down():
    scene = Scene((ball(0.2, (0.0, 0.0, 0.3)), ball(0.2, (0.0, 0.0, -0.3), (0.0, 0.0, 1.0))))
    above = render(scene, [Pose(89, 0, 1.85)], 65).rgba[0, 32, 32]
    below = render(scene, [Pose(-89, 0, 1.85)], 65).rgba[0, 32, 32]
    assert above[0] > above[2] and below[2] > below[0]


def test_white_background_is_the_composite():
    scene, poses = random_scene(2), [Pose(10, 0, 1.6), Pose(40, 90, 2.0)]
    clear = render(scene, poses, 48).rgba
    white = render(scene, poses, 48, background="white").rgba
    composite = clear[..., :3] * clear[..., 3:] + 1 - clear[..., 3:]
    assert torch.allclose(white[..., :3], composite, atol=1e-6)
    assert (white[..., 3] == 1).all() and ((clear >= 0) & (clear <= 1)).all()


@pytest.mark.parametrize("pattern", [name for name in get_args(Pattern) if name != "plain"])
def test_patterns_mix_both_colours(pattern):
    part = Part("box", IDENTITY, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), pattern, 2.0)
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    colors = part.color_at(points)
    assert torch.allclose(colors.sum(-1), torch.ones(2000)) and (colors[:, 1] == 0).all()
    assert 0.05 < float(colors[:, 2].mean()) < 0.95


def test_random_cameras_stay_on_the_official_shell():
    random = torch.Generator().manual_seed(0)
    cameras = [random_camera(random) for _ in range(500)]
    assert all(1.5 <= c.radius <= 2.2 and -15 <= c.elevation_deg <= 75 for c in cameras)
    sines = np.sin(np.deg2rad([c.elevation_deg for c in cameras]))
    middle = (math.sin(math.radians(-15)) + math.sin(math.radians(75))) / 2
    assert sines.mean() == pytest.approx(middle, abs=0.06)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match="seed: expected a non-negative integer, got -1"):
        random_scene(-1)
    with pytest.raises(ValueError, match="kind: expected one of chair, .*got 'spoon'"):
        random_scene(0, "spoon")
    with pytest.raises(ValueError, match="detail: expected at least 6, got 5"):
        random_scene(0).mesh(detail=5)
    with pytest.raises(ValueError, match="poses: expected at least one"):
        render(random_scene(0), [])
    with pytest.raises(ValueError, match="size"):
        render(random_scene(0), [Pose()], 0)
