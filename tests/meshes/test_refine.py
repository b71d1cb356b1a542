"""Silhouettes and regularisers in closed form; a wrong shape moves to the pictured one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from shapes import box, joined, sphere, square

from zero123lib.meshes import refine as refining
from zero123lib.meshes import silhouette
from zero123lib.meshes.inspect import facts
from zero123lib.meshes.mesh import Camera, Material, Mesh
from zero123lib.meshes.rasterize import rasterize
from zero123lib.meshes.refine import (
    Refinement,
    RefineSettings,
    diffusion,
    fixed,
    laplacian_loss,
    normal_loss,
    refine,
)
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.meshes.silhouette import contour, coverage, edges_of
from zero123lib.meshes.texture import with_vertex_colors
from zero123lib.views.cameras import focal_px
from zero123lib.views.poses import Pose

SIZE = 32
AROUND = [Pose(e, a, 1.85) for e in (-30.0, 30.0) for a in (0.0, 90.0, 180.0, 270.0)]


def pictures(mesh: Mesh, poses: Sequence[Pose] = AROUND, size: int = SIZE) -> torch.Tensor:
    looks = [render(mesh, Camera.at(pose, size), AMBIENT, 4, "open3d") for pose in poses]
    return torch.stack([look.color for look in looks])


def where(poses: Sequence[Pose] = AROUND) -> list[Camera]:
    return [Camera.at(pose, SIZE) for pose in poses]


def waves(points: torch.Tensor) -> torch.Tensor:
    stripes = 0.5 + 0.4 * (points * 9.0).sum(-1, keepdim=True).sin()
    return torch.cat([stripes, points[:, 1:] * 0.8 + 0.5], -1)


def agreement(a: Mesh, b: Mesh, pose: Pose) -> tuple[float, float]:
    """Intersection over union of the masks, and PSNR of colours within both."""
    first, second = (render(m, Camera.at(pose, 96), AMBIENT, 1, "open3d") for m in (a, b))
    both = first.mask & second.mask
    error = (first.color - second.color)[both][:, :3].square().mean()
    return float(both.sum() / (first.mask | second.mask).sum()), float(-10 * torch.log10(error))


def last(steps) -> Mesh:
    *_, end = steps
    assert end.mesh is not None
    return end.mesh


def covered(mesh: Mesh, camera: Camera, backend: str = "open3d") -> torch.Tensor:
    hit = rasterize(mesh, camera, backend).face_ids[0] >= 0
    return coverage(mesh.vertices, mesh.faces, edges_of(mesh.faces), camera, hit)


def test_coverage_of_straight_edges_is_the_area(backend: str) -> None:
    camera = Camera.at(Pose(0.0, 0.0, 2.0), SIZE)
    share = covered(square(0.0), camera, backend)
    reach = focal_px(SIZE) * 0.5 / 2.0
    centres = (torch.arange(SIZE) + 0.5 - SIZE / 2).abs()
    expected = (reach + 0.5 - centres).clamp(0.0, 1.0)
    middle = SIZE // 2
    torch.testing.assert_close(share[middle], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(share[:, middle], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("pose", AROUND[:3])
def test_coverage_of_a_ball_and_a_box_is_that_of_many_samples(backend: str, pose: Pose) -> None:
    camera = Camera.at(pose, SIZE)
    for mesh in (sphere(0.5, 3), box(0.9, 0.6, 0.7)):
        alpha = render(mesh, camera, AMBIENT, 8, backend).color[..., 3]
        off = (covered(mesh, camera, backend) - alpha).abs()
        assert off.max() < 0.25 and off.mean() < 0.004


def test_coverage_has_the_gradients_of_finite_differences() -> None:
    mesh = box(0.9, 0.6, 0.7)
    camera = Camera(Camera.at(AROUND[1], 12).camera_to_world.double(), 12)
    hit = rasterize(mesh, camera, "open3d").face_ids[0] >= 0
    edges = edges_of(mesh.faces)

    def share(positions: torch.Tensor) -> torch.Tensor:
        return coverage(positions, mesh.faces, edges, camera, hit)

    vertices = mesh.vertices.double().requires_grad_()
    assert torch.autograd.gradcheck(share, (vertices,), eps=1e-7, atol=1e-4)


def test_moving_outwards_covers_more() -> None:
    mesh = sphere(0.4, 3)
    scale = torch.ones((), requires_grad=True)
    camera = Camera.at(Pose(10.0, 20.0, 1.85), 96)
    hit = rasterize(mesh, camera, "open3d").face_ids[0] >= 0
    share = coverage(mesh.vertices * scale, mesh.faces, edges_of(mesh.faces), camera, hit)
    (slope,) = torch.autograd.grad(share.sum(), scale)
    # The disc's area in pixels grows with the square of its radius, seen in perspective.
    radius = focal_px(96) * 0.4 / math.sqrt(1.85**2 - 0.4**2)
    growth = 2.0 * math.pi * radius**2 * 1.85**2 / (1.85**2 - 0.4**2)
    assert float(slope) == pytest.approx(growth, rel=0.1)


def test_looking_for_short_edges_around_pixels_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh, camera = sphere(0.45, 4), Camera.at(AROUND[1], 96)
    shares = []
    for short in (4.0, 0.0):
        monkeypatch.setattr(silhouette, "_SHORT", short)
        shares.append(covered(mesh, camera))
    assert torch.equal(*shares)
    assert ((shares[0] > 0.0) & (shares[0] < 1.0)).sum() > 100


def test_the_contour_of_a_box_has_six_edges_and_an_open_square_its_border() -> None:
    cube = box()
    edges = edges_of(cube.faces)
    assert len(edges.ends) == 18 and len(edges.pairs) == 18
    seen = contour(cube.vertices, cube.faces, edges, torch.tensor([2.0, 1.5, 1.8]))
    assert int(seen.sum()) == 6
    flat = square(0.0)
    edges = edges_of(flat.faces)
    seen = contour(flat.vertices, flat.faces, edges, torch.tensor([2.0, 0.0, 0.0]))
    assert int(seen.sum()) == 4 and len(edges.pairs) == 1


def test_regularisers_are_closed_forms() -> None:
    cube = box()
    edges = edges_of(cube.faces)
    # 12 of the 18 edges lie between faces at a right angle, 6 within a flat side.
    assert float(normal_loss(cube.vertices, cube.faces, edges)) == pytest.approx(12 / 18)
    one = torch.tensor([[0, 1, 2]])
    values = torch.tensor([[0.0, 0, 0], [3.0, 0, 0], [0.0, 3, 0]])
    apart = [math.hypot(1.5, 1.5), math.hypot(3, 1.5), math.hypot(3, 1.5)]
    loss = laplacian_loss(values, edges_of(one))
    assert float(loss) == pytest.approx(sum(apart) / 3)
    assert float(normal_loss(values, one, edges_of(one))) == 0.0
    still = torch.zeros(3, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(laplacian_loss(still, edges_of(one)), still)
    assert torch.isfinite(slope).all()


@pytest.mark.skipif(
    find_spec("pytorch3d") is None,
    reason="pytorch3d is not installed: its regularisers are not compared with",
)
@pytest.mark.filterwarnings("ignore")
def test_regularisers_are_pytorch3ds() -> None:
    from pytorch3d.loss import (  # pyright: ignore[reportMissingImports]
        mesh_laplacian_smoothing,
        mesh_normal_consistency,
    )
    from pytorch3d.structures import Meshes  # pyright: ignore[reportMissingImports]

    ball = sphere(0.5, 2)
    draw = torch.Generator().manual_seed(0)
    vertices = ball.vertices + 0.05 * torch.randn(ball.vertices.shape, generator=draw)
    edges, theirs = edges_of(ball.faces), Meshes([vertices], [ball.faces])
    torch.testing.assert_close(
        laplacian_loss(vertices, edges), mesh_laplacian_smoothing(theirs, "uniform")
    )
    torch.testing.assert_close(
        normal_loss(vertices, ball.faces, edges), mesh_normal_consistency(theirs)
    )


def ellipsoid() -> Mesh:
    ball = sphere(0.5, 2)
    return with_vertex_colors(
        Mesh(ball.vertices * torch.tensor([1.0, 0.7, 0.85]), ball.faces), waves
    )


def test_a_wrong_shape_moves_to_the_pictured_one(backend: str) -> None:
    truth, start = ellipsoid(), with_vertex_colors(sphere(0.4, 2), waves)
    settings = RefineSettings(steps=50, vertex_rate=0.01, views_per_step=2)
    got = last(refine(start, pictures(truth), where(), settings, backend=backend))
    assert torch.equal(got.faces, start.faces)
    for pose in (Pose(0.0, 20.0, 1.85), Pose(60.0, 90.0, 1.85)):
        before, after = agreement(start, truth, pose), agreement(got, truth, pose)
        assert before[0] < 0.91 and before[1] < 22.0
        assert after[0] > 0.97 and after[1] > 28.0


def test_what_fits_stays() -> None:
    truth = ellipsoid()
    settings = RefineSettings(steps=20, views_per_step=2)
    got = last(refine(truth, pictures(truth), where(), settings, backend="open3d"))
    assert agreement(got, truth, Pose(0.0, 20.0, 1.85))[0] > 0.985
    assert (got.vertices - truth.vertices).norm(dim=-1).mean() < 0.01


def test_colours_of_a_texture_are_refined_and_seams_stay_closed() -> None:
    truth = Material(texture=torch.tensor([[[0.2, 0.7, 0.4, 1.0]]]).repeat(4, 4, 1))
    wrong = replace(square(0.0), materials=(Material(texture=torch.full((4, 4, 4), 0.5)),))
    # Each face has its own vertices, as files have along seams.
    apart = replace(
        wrong, vertices=wrong.triangles.flatten(0, 1), faces=torch.arange(6).reshape(2, 3)
    )
    front = [Pose(0.0, 0.0, 1.85), Pose(20.0, 25.0, 1.85)]
    images = pictures(square(0.0, truth), front)
    settings = RefineSettings(steps=60, views_per_step=2)
    got = last(refine(apart, images, where(front), settings, backend="open3d"))
    texture = got.materials[0].texture
    assert texture is not None and texture.dtype == torch.uint8
    assert (texture[..., :3] / 255.0 - torch.tensor([0.2, 0.7, 0.4])).abs().max() < 0.03
    first, second = got.triangles
    assert torch.equal(first[0], second[0]) and torch.equal(first[2], second[1])


def test_each_step_is_told_and_the_last_has_the_mesh() -> None:
    truth = ellipsoid()
    settings = RefineSettings(steps=3, views_per_step=1)
    runs = [
        list(refine(truth, pictures(truth), where(), settings, seed=seed, backend="open3d"))
        for seed in (0, 0, 1)
    ]
    for steps in runs:
        assert [one.step for one in steps] == [1, 2, 3] and all(one.total == 3 for one in steps)
        assert [one.mesh is None for one in steps] == [True, True, False]
        assert set(steps[0].losses) == {"color", "mask", "laplacian", "edges", "normals"}

    def numbers(steps: list[Refinement]) -> list[dict[str, float]]:
        return [dict(one.losses) for one in steps]

    assert numbers(runs[0]) == numbers(runs[1]) != numbers(runs[2])


def test_a_step_solves_once_for_places_and_once_for_their_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many images; and the result is that of solving anew for each of them."""
    truth, start = ellipsoid(), with_vertex_colors(sphere(0.4, 2), waves)
    settings = RefineSettings(steps=3, views_per_step=4)
    solved: list[int] = []
    make = refining.diffusion

    def counting(*args):
        solve = make(*args)

        def counted(values: torch.Tensor) -> torch.Tensor:
            solved.append(1)
            return solve(values)

        return counted

    monkeypatch.setattr(refining, "diffusion", counting)
    once = last(refine(start, pictures(truth), where(), settings, backend="open3d"))
    # The last mesh is that after the last step.
    assert len(solved) == 2 * settings.steps + 1
    losses = refining._image_losses

    def anew(model, positions, *rest):
        return losses(model, model.positions(model.moved()), *rest)

    monkeypatch.setattr(refining, "_image_losses", anew)
    each = last(refine(start, pictures(truth), where(), settings, backend="open3d"))
    assert len(solved) == 2 * settings.steps + 1 + (2 + 2 * 4) * settings.steps + 1
    torch.testing.assert_close(once.vertices, each.vertices, atol=1e-6, rtol=0)
    torch.testing.assert_close(once.vertex_colors, each.vertex_colors, atol=1e-6, rtol=0)


def test_a_picture_that_counts_more_wins() -> None:
    """Of two images by one camera that show colours apart."""
    ball, poses = sphere(0.5, 2), [Pose(0.0, 0.0, 1.85)] * 2
    images = pictures(ball, poses)
    images[..., :3] = torch.tensor([0.2, 0.8]).reshape(2, 1, 1, 1)
    settings = RefineSettings(steps=80, views_per_step=2, vertex_rate=0.0)
    start = with_vertex_colors(ball, lambda points: torch.full((len(points), 3), 0.5))
    for view_weights, least, most in ((None, 0.45, 0.55), (torch.tensor([50.0, 1.0]), 0.19, 0.25)):
        steps = refine(
            start, images, where(poses), settings, backend="open3d", view_weights=view_weights
        )
        seen = pictures(last(steps), poses[:1])[0, 14:-14, 14:-14, :3]
        assert least < seen.min() and seen.max() < most
    with pytest.raises(ValueError, match="view_weights: expected 2 numbers above 0"):
        refine(start, images, where(poses), settings, view_weights=torch.ones(1))


def test_diffusion_undoes_the_laplacian_and_keeps_the_mean() -> None:
    ball = sphere(0.5, 1)
    edges, count = edges_of(ball.faces), len(ball.vertices)
    matrix = torch.zeros(count, count)
    for first, second in edges.ends.tolist():
        matrix[first, second] = matrix[second, first] = -1.0
    matrix -= torch.diag(matrix.sum(1))
    values = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    smooth = diffusion(edges, count, 3.0)(values)
    torch.testing.assert_close(smooth + 9.0 * matrix @ smooth, values, atol=1e-5, rtol=0)
    torch.testing.assert_close(smooth.mean(0), values.mean(0))
    torch.testing.assert_close(diffusion(edges, count, 0.0)(values), values)


def test_a_fine_mesh_stays_smooth() -> None:
    """Of more vertices than pixels; each by itself would follow the noise of its pixel."""
    truth, start = ellipsoid(), with_vertex_colors(sphere(0.45, 4), waves)
    rough = []
    for smoothness in (0.05, 0.0):
        settings = RefineSettings(steps=15, vertex_rate=0.01, smoothness=smoothness)
        got = last(refine(start, pictures(truth), where(), settings, backend="open3d"))
        rough.append(float(normal_loss(got.vertices, got.faces, edges_of(got.faces))))
    assert rough[0] < 0.1 * rough[1]


def test_what_has_lost_its_area_is_mended() -> None:
    ball = sphere(0.5, 2)
    vertices = ball.vertices.clone()
    first, second = ball.faces[0, :2]
    vertices[first] = vertices[second]
    got = fixed(replace(ball, vertices=vertices))
    assert facts(got).watertight and facts(got).degenerate_faces == 0
    assert 0 < len(ball.faces) - len(got.faces) <= 4


def test_normals_follow_the_shape() -> None:
    from zero123lib.meshes.normals import crease_normals

    truth = ellipsoid()
    start = sphere(0.4, 2)
    smooth = replace(start, normals=crease_normals(start.vertices, start.faces))
    settings = RefineSettings(steps=3, views_per_step=1)
    got = last(refine(smooth, pictures(truth), where(), settings, backend="open3d"))
    assert got.normals is not None
    torch.testing.assert_close(got.normals, crease_normals(got.vertices, got.faces))


def test_wrong_arguments_are_named() -> None:
    truth = ellipsoid()
    images = pictures(truth)
    with pytest.raises(ValueError, match="images: expected alpha, which the silhouette is taken"):
        refine(truth, images[..., :3], where())
    with pytest.raises(ValueError, match=r"cameras: expected one per image \(8\), got 7"):
        refine(truth, images, where()[:7])
    with pytest.raises(ValueError, match="mesh: expected one material, got 2: bake it first"):
        refine(joined(square(0.0), square(0.2)), images, where())
    with pytest.raises(ValueError, match="cameras: expected the mesh at least 0.01 before them"):
        near = [Camera.at(Pose(0.0, 0.0, 0.3), SIZE)]
        list(refine(truth, images[:1], near, backend="open3d"))
    with pytest.raises(ValueError, match="steps: expected a whole number of at least 1, got 0"):
        RefineSettings(steps=0)
    with pytest.raises(ValueError, match="mask: expected a number of at least 0, got -1"):
        RefineSettings(mask=-1)
