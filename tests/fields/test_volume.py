"""Volume rendering against closed forms, a dense slow reference, and numerical gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fields.solids import RED, Ball, Cube, SoftBall, aimed_rays
from tests.fields.test_occupancy import lumpy_field
from zero123lib.fields.sampling import (
    cube_spans,
    importance_edges,
    ray_weights,
    spread_weights,
    uniform_edges,
)
from zero123lib.fields.volume import density_gradient, density_normals, render, render_camera
from zero123lib.fields.voxels import VoxelField, VoxelSettings
from zero123lib.views.cameras import camera_to_world, rays
from zero123lib.views.poses import Pose

DOUBLE = torch.float64


def slow_weights(densities: Tensor, widths: Tensor) -> Tensor:
    """What each interval contributes, front to back, as the definition has it."""
    weights = torch.zeros_like(densities)
    for ray in range(len(densities)):
        passed = 1.0
        for i in range(densities.shape[1]):
            stopped = 1 - torch.exp(-densities[ray, i] * widths[ray, i])
            weights[ray, i] = passed * stopped
            passed = passed * (1 - stopped)
    return weights


@pytest.mark.parametrize("samples", [1, 2, 33])
@pytest.mark.parametrize("density", [0.0, 0.3, 5.0, 400.0])
def test_a_uniform_cube_is_integrated_exactly(density, samples):
    origins, directions = aimed_rays()
    near, far = cube_spans(origins, directions, 0.6)
    seen = render(Cube(density), origins, directions, samples=samples, background=0.25)
    opacity = 1 - torch.exp(-density * (far - near))
    assert torch.allclose(seen.opacity, opacity, atol=1e-12)
    assert torch.allclose(seen.weights.sum(-1), opacity, atol=1e-12)
    colors = torch.tensor(RED, dtype=DOUBLE) * opacity[:, None] + 0.25 * (1 - opacity[:, None])
    assert torch.allclose(seen.rgb, colors, atol=1e-7)


def test_depth_converges_to_the_closed_form_by_second_order():
    origins, directions = aimed_rays()
    near, far = cube_spans(origins, directions, 0.6)
    density = 3.0
    wanted = near + (1 - torch.exp(-density * (far - near))) / density

    def error(samples: int) -> float:
        found = render(Cube(density), origins, directions, samples=samples).depth
        return float((found - wanted).abs().max())

    errors = [error(samples) for samples in (16, 32, 64)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)
    assert errors[2] < 1e-3


def test_opacity_and_depth_of_a_ball():
    origins, directions = aimed_rays()
    seen = render(Ball(6.0), origins, directions, samples=4096)
    along = -(origins * directions).sum(-1)
    half_chord = (0.16 - (origins.square().sum(-1) - along.square())).clamp_min(0).sqrt()
    opacity = 1 - torch.exp(-12 * half_chord)
    assert torch.allclose(seen.opacity, opacity, atol=2e-3)
    # Light ends within the ball, or passes it and ends where the ray leaves the cube.
    entry = along - half_chord
    stop = entry * opacity + (opacity / 6 - 2 * half_chord * (1 - opacity))
    far = cube_spans(origins, directions, 0.6)[1]
    assert torch.allclose(seen.depth, stop + (1 - opacity) * far, atol=4e-3)
    assert (half_chord == 0).any() and (half_chord > 0).any()


def test_weights_are_what_the_definition_gives():
    random = torch.Generator().manual_seed(3)
    densities = 30 * torch.rand(5, 9, generator=random, dtype=DOUBLE) ** 3
    densities[1, 2] = 0
    widths = torch.rand(5, 9, generator=random, dtype=DOUBLE) / 4
    weights, depth = ray_weights(densities, widths)
    assert torch.allclose(weights, slow_weights(densities, widths), atol=1e-14)
    assert torch.allclose(1 - torch.exp(-depth), weights.sum(-1), atol=1e-14)


def test_what_lies_behind_a_wall_weighs_nothing_and_what_lies_before_is_untouched():
    densities = torch.tensor([[1.0, 1e9, 1.0]])
    weights, _ = ray_weights(densities, torch.full((1, 3), 0.1))
    before = 1 - torch.exp(torch.tensor(-0.1))
    assert torch.allclose(weights, torch.stack([before, 1 - before, torch.zeros(())])[None])


@pytest.mark.parametrize("density", [0.0, 1e-30, 1e9])
def test_gradients_are_finite_at_the_extremes(density):
    densities = torch.full((3, 8), density, requires_grad=True)
    widths = torch.tensor([0.0, 1e-9, 0.5])[:, None].expand(3, 8)
    weights, depth = ray_weights(densities, widths)
    (weights.square().sum() + torch.exp(-depth).sum()).backward()
    assert densities.grad is not None and densities.grad.isfinite().all()
    field = VoxelField(VoxelSettings(4, initial_density=max(density, 1e-30)))
    origins, directions = (part.float() for part in aimed_rays())
    seen = render(field, origins, directions, samples=16, normals=True)
    assert seen.normals is not None
    (seen.rgb.sum() + seen.depth.sum() + seen.normals.sum() + seen.opacity.sum()).backward()
    for parameter in field.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_gradcheck_of_weights_and_of_a_whole_rendering():
    random = torch.Generator().manual_seed(0)
    densities = torch.rand(2, 5, generator=random, dtype=DOUBLE, requires_grad=True)
    widths = torch.rand(2, 5, generator=random, dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda d: ray_weights(4 * d, widths), densities)
    field = VoxelField(VoxelSettings(3, initial_density=2.0)).double()
    origins, directions = aimed_rays(4)

    def image(density: Tensor, color: Tensor) -> tuple[Tensor, ...]:
        copy = {"raw_density": density, "raw_color": color}
        seen = torch.func.functional_call(_Rendered(field, origins, directions), _named(copy))
        return seen

    start = [
        parameter + 0.3 * torch.rand(parameter.shape, generator=random, dtype=DOUBLE)
        for parameter in (field.raw_density, field.raw_color)
    ]
    inputs = [value.detach().requires_grad_() for value in start]
    assert torch.autograd.gradcheck(image, inputs)


class _Rendered(torch.nn.Module):
    def __init__(self, field: VoxelField, origins: Tensor, directions: Tensor) -> None:
        super().__init__()
        self.field, self.rays = field, (origins, directions)

    def forward(self) -> tuple[Tensor, ...]:
        seen = render(self.field, *self.rays, samples=4, normals=True, normal_step=0.1)
        assert seen.normals is not None
        return seen.rgb, seen.opacity, seen.depth, seen.normals


def _named(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"field.{name}": value for name, value in parameters.items()}


def test_background_shows_where_nothing_is_and_rays_that_miss_see_it_alone():
    origins = torch.tensor([[2.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    directions = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    behind = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
    seen = render(Ball(1e4), origins, directions, samples=64, background=behind)
    assert torch.allclose(seen.rgb[0], torch.tensor(RED), atol=1e-4)
    assert torch.equal(seen.rgb[1], behind[1])
    assert float(seen.opacity[1]) == 0 and float(seen.depth[1]) == 0
    backwards = render(Ball(1e4), origins[:1], -directions[:1], samples=8)
    assert float(backwards.opacity) == 0


def test_spans_end_on_the_faces_also_for_rays_along_them_and_from_inside():
    origins = torch.tensor([[2.0, 0.1, 0.2], [0.0, 0.0, 0.0], [0.59, 0.0, 2.0], [0.61, 0.0, 2.0]])
    directions = torch.tensor([[-1.0, 0.0, 0.0], [0, 0, 1.0], [0, 0, -1.0], [0, 0, -1.0]])
    near, far = cube_spans(origins, directions, 0.6)
    assert torch.allclose(near, torch.tensor([1.4, 0.0, 1.4, 2.0]))
    assert torch.allclose(far, torch.tensor([2.6, 0.6, 2.6, 2.0]))


def test_importance_edges_invert_the_distribution():
    edges = torch.tensor([[0.0, 1.0, 3.0]], dtype=DOUBLE)
    found = importance_edges(edges, torch.tensor([[0.25, 0.75]], dtype=DOUBLE), 8)
    places = (torch.arange(8, dtype=DOUBLE) + 0.5) / 8
    wanted = torch.where(places < 0.25, 4 * places, 1 + 2 * (places - 0.25) / 0.75)
    assert torch.allclose(found[0], wanted)
    even = importance_edges(edges, torch.zeros(1, 2, dtype=DOUBLE), 4)
    assert torch.allclose(even[0], torch.tensor([0.25, 0.75, 1.5, 2.5], dtype=DOUBLE))


def test_drawn_edges_follow_the_weights():
    edges = uniform_edges(torch.zeros(1), torch.ones(1), 4)
    random = torch.Generator().manual_seed(0)
    weights = torch.tensor([[1.0, 0.0, 5.0, 2.0]])
    drawn = importance_edges(edges, weights, 4000, random)
    shares = torch.histc(drawn, 4, 0, 1) / 4000
    assert torch.allclose(shares, weights[0] / 8, atol=0.01)
    assert (drawn.diff() >= 0).all()


def test_spread_weights_by_hand():
    spread = spread_weights(torch.tensor([[0.0, 0.0, 4.0, 1.0]]))
    assert spread.tolist() == [[0.0, 2.0, 4.0, 2.5]]


def test_importance_samples_find_a_surface_that_even_ones_blur():
    origins, directions = aimed_rays(64, spread=0.2)
    wall = Ball(500.0)
    exact = render(wall, origins, directions, samples=16384).depth

    def error(**counts) -> float:
        return float((render(wall, origins, directions, **counts).depth - exact).abs().mean())

    even, important = error(samples=128), error(samples=64, fine_samples=64)
    assert important < 0.25 * even
    random = torch.Generator().manual_seed(0)
    assert error(samples=64, fine_samples=64, generator=random) < 0.5 * even


def test_a_draw_is_right_on_average():
    origins, directions = aimed_rays(1)
    many = (part.expand(4000, 3) for part in (origins, directions))
    field = SoftBall(8.0)
    random = torch.Generator().manual_seed(0)
    drawn = render(field, *many, samples=8, generator=random)
    exact = render(field, origins, directions, samples=4096)
    # The opacity is not linear in the optical depth, the optical depth is.
    depth = (drawn.densities * drawn.widths).sum(-1).mean()
    assert float(depth) == pytest.approx(float(-torch.log1p(-exact.opacity)), rel=2e-3)


def test_gradient_is_exact_where_the_density_is_linear():
    class Ramp:
        half_extent = 1.0

        def density(self, points: Tensor) -> Tensor:
            return 5 + points @ points.new_tensor([1.0, -2.0, 0.5])

        def color(self, points: Tensor) -> Tensor:
            return points

    points = torch.rand(6, 3, dtype=DOUBLE)
    gradient = density_gradient(Ramp(), points, 0.1)
    assert torch.allclose(gradient, torch.tensor([1.0, -2.0, 0.5], dtype=DOUBLE).expand(6, 3))


def test_normals_of_a_sphere_point_outwards():
    origins, directions = aimed_rays(64, spread=0.2)
    seen = render(SoftBall(200.0), origins, directions, samples=512, normals=True, normal_step=1e-3)
    assert seen.normals is not None and seen.sample_normals is not None
    outwards = seen.points / seen.points.norm(dim=-1, keepdim=True)
    cosines = (seen.sample_normals * outwards).sum(-1)
    assert float(cosines[seen.weights > 1e-3].min()) > 0.9999
    assert float(seen.normals.norm(dim=-1).max()) <= 1 + 1e-9
    hit = origins + seen.depth[:, None] * directions
    facing = (seen.normals * hit / hit.norm(dim=-1, keepdim=True)).sum(-1)
    assert float(facing[seen.opacity > 0.999].min()) > 0.99


def test_there_is_no_normal_where_the_density_does_not_change():
    points = torch.zeros(2, 3, requires_grad=True)
    normals = density_normals(Cube(torch.tensor(3.0)), points, 0.01)
    assert torch.equal(normals, torch.zeros(2, 3))


@pytest.mark.parametrize("negligible", [1e-4, 1e-2])
def test_what_is_left_out_stays_within_its_bound(negligible):
    origins, directions = aimed_rays(64)
    field, samples = lumpy_field(), 96
    with torch.no_grad():
        field.raw_density.add_(6)
    seen, gradients = [], []
    for least in (0.0, negligible):
        field.zero_grad()
        seen.append(
            render(field, origins, directions, samples=samples, background=0.5, negligible=least)
        )
        seen[-1].rgb.square().sum().backward()
        grids = (field.raw_density, field.raw_color)
        gradients.append(torch.cat([torch.as_tensor(grid.grad).flatten() for grid in grids]))
    plain, short = seen
    assert float((plain.opacity - short.opacity).detach().abs().max()) <= negligible
    assert float((plain.rgb - short.rgb).detach().abs().max()) <= (samples + 1) * negligible
    assert int((short.densities == 0).sum()) > int((plain.densities == 0).sum())
    change = (gradients[1] - gradients[0]).norm() / gradients[0].norm()
    assert 0 < float(change) <= 10 * negligible


def test_a_camera_sees_what_its_rays_see_in_chunks_of_any_size():
    camera = camera_to_world(Pose(30, 40, 1.85)).double()
    field = SoftBall(40.0)
    whole = render_camera(field, camera, 12, samples=32, normals=True)
    parts = render_camera(field, camera, 12, samples=32, normals=True, chunk=7)
    for name in ("rgb", "opacity", "depth", "normals"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    origins, directions = (part.reshape(-1, 3) for part in rays(camera, 12))
    flat = render(field, origins, directions, samples=32)
    assert torch.equal(whole.rgb, flat.rgb.reshape(12, 12, 3))
    assert float(whole.opacity[0, 0]) < 0.01 < 0.99 < float(whole.opacity[6, 6])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"origins": torch.zeros(3)}, "origins: expected \\[N, 3\\], got \\[3\\]"),
        ({"directions": torch.zeros(5, 3)}, "directions: expected one per origin"),
        ({"samples": 0}, "samples, fine_samples: expected at least 1 and 0, got 0, 0"),
        ({"fine_samples": -1}, "got 8, -1"),
    ],
)
def test_bad_arguments_are_named(change, complaint):
    arguments = {"origins": torch.zeros(2, 3), "directions": torch.zeros(2, 3), "samples": 8}
    with pytest.raises(ValueError, match=complaint):
        render(Ball(1.0), **(arguments | change))
