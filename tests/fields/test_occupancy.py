"""Empty space is skipped without a change beyond the stated bound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fields.solids import Ball, SoftBall, aimed_rays
from zero123lib.fields.occupancy import OccupancyGrid, evaluate, lattice
from zero123lib.fields.sampling import cube_spans
from zero123lib.fields.volume import render
from zero123lib.fields.voxels import VoxelField, VoxelSettings


def lumpy_field(resolution: int = 9, seed: int = 0) -> VoxelField:
    """A field whose densities run over orders of magnitude, emptier towards the corners."""
    random = torch.Generator().manual_seed(seed)
    field = VoxelField(VoxelSettings(resolution)).double()
    with torch.no_grad():
        for grid, scale in ((field.raw_density, 5.0), (field.raw_color, 2.0)):
            grid.copy_(scale * torch.randn(grid.shape, generator=random, dtype=torch.float64))
        field.raw_density.sub_(6 + 25 * (field.nodes().norm(dim=-1) - 0.2).clamp_min(0))
    return field


def test_skipping_what_is_truly_empty_changes_no_bit_and_no_gradient():
    origins, directions = aimed_rays(64)
    density = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    ball = Ball(density, radius=0.3)
    grid = OccupancyGrid.of(ball.density, 0.6, 12, 0.0).dilated()
    assert 0 < int(grid.cells.sum()) < 12**3 / 2
    results = []
    for occupancy in (None, grid):
        seen = render(ball, origins, directions, samples=64, occupancy=occupancy)
        total = (seen.rgb * seen.depth[:, None]).sum()
        results.append((seen, torch.autograd.grad(total, density)[0]))
    (plain, wanted), (skipped, found) = results
    for name in ("rgb", "opacity", "depth", "weights", "densities"):
        assert torch.equal(getattr(plain, name), getattr(skipped, name)), name
    assert torch.equal(wanted, found)


def test_a_field_elsewhere_is_asked_where_it_is():
    # The device "meta" refuses a mix with the CPU as a GPU does.
    field = VoxelField(VoxelSettings(8)).to("meta")
    grid = OccupancyGrid.of(field.density, 0.6, 7, 0.05, device="meta").dilated()
    assert grid.cells.device.type == "meta" and grid.cells.shape == (7, 7, 7)


@pytest.mark.parametrize("least", [0.0, 0.05, 2.0])
def test_skipping_stays_within_the_stated_bound(least):
    field = lumpy_field()
    origins, directions = aimed_rays(128)
    near, far = cube_spans(origins, directions, 0.6)
    grid = OccupancyGrid.of(field.density, 0.6, 8, least)
    plain = render(field, origins, directions, samples=80)
    skipped = render(field, origins, directions, samples=80, occupancy=grid)
    bound = 1 - torch.exp(-least * (far - near)) + 1e-12
    assert ((plain.opacity - skipped.opacity).abs() <= bound).all()
    assert ((plain.rgb - skipped.rgb).abs().amax(-1) <= bound).all()
    if least:
        assert int((skipped.densities == 0).sum()) > 0


def test_gradients_of_what_is_left_are_those_of_the_plain_path():
    field = lumpy_field()
    origins, directions = aimed_rays(128)
    grid = OccupancyGrid.of(field.density, 0.6, 8, 1e-3)
    gradients = []
    for occupancy in (None, grid):
        field.zero_grad()
        seen = render(field, origins, directions, samples=80, occupancy=occupancy)
        seen.rgb.square().sum().backward()
        gradients.append([grid.grad for grid in field.parameters()])
    for wanted, found in zip(*gradients, strict=True):
        assert float((wanted - found).norm() / wanted.norm()) < 2e-3


@pytest.mark.parametrize("finer", [1, 3])
def test_no_skipped_cell_of_a_voxel_field_exceeds_the_least_density(finer):
    field = lumpy_field(13)
    grid = OccupancyGrid.of(field.density, 0.6, 12 // finer, 0.5, finer=finer)
    points = 1.2 * torch.rand(20000, 3, dtype=torch.float64) - 0.6
    densities = field.density(points)
    occupied = grid.occupied(points)
    assert 0 < int(occupied.sum()) < len(points)
    assert float(densities[~occupied].detach().max()) <= 0.5


def test_the_cell_of_a_point_is_the_one_that_holds_it():
    random = torch.Generator().manual_seed(0)
    cells = torch.rand(5, 5, 5, generator=random) < 0.4
    grid = OccupancyGrid(cells, 0.5)
    assert torch.equal(grid.occupied(lattice(5, 0.5, centers=True)), cells)
    points = torch.rand(200, 3, generator=random) - 0.5
    slow = [bool(cells[tuple((5 * (p + 0.5)).floor().int().tolist())]) for p in points]
    assert grid.occupied(points).tolist() == slow
    corner = torch.tensor([[0.5, 0.5, 0.5], [-0.5, -0.5, -0.5]])
    assert grid.occupied(corner).tolist() == [bool(cells[4, 4, 4]), bool(cells[0, 0, 0])]


def test_dilation_is_by_one_cell_to_every_side():
    cells = torch.zeros(7, 7, 7, dtype=torch.bool)
    cells[3, 3, 0] = True
    grown = OccupancyGrid(cells, 0.6).dilated().cells
    assert int(grown.sum()) == 3 * 3 * 2 and bool(grown[2:5, 2:5, :2].all())


@pytest.mark.parametrize("resolution", [1, 3, 4, 8])
def test_coarser_cells_cover_what_they_replace(resolution):
    cells = torch.rand(8, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.05
    grid = OccupancyGrid(cells, 0.6)
    points = 1.2 * torch.rand(5000, 3) - 0.6
    covered = grid.coarser(resolution).occupied(points)
    assert bool(covered[grid.occupied(points)].all())


def test_bounds_are_the_smallest_box():
    cells = torch.zeros(6, 6, 6, dtype=torch.bool)
    assert torch.equal(OccupancyGrid(cells, 0.6).bounds()[1], torch.full((3,), 0.6))
    cells[1, 2, 3] = cells[4, 2, 3] = True
    low, high = OccupancyGrid(cells, 0.6).bounds()
    assert torch.allclose(low, torch.tensor([-0.4, -0.2, 0.0]), atol=1e-6)
    assert torch.allclose(high, torch.tensor([0.4, 0.0, 0.2]), atol=1e-6)


def test_spans_hold_every_occupied_point_of_a_ray_and_little_more():
    ball = SoftBall(100.0, radius=0.3)
    grid = OccupancyGrid.of(ball.density, 0.6, 24, 1.0)
    origins, directions = aimed_rays(200, spread=0.5)
    near, far = cube_spans(origins, directions, 0.6)
    first, last = grid.spans(origins, directions, near, far)
    at = torch.lerp(near[:, None], far[:, None], torch.linspace(0, 1, 2000, dtype=near.dtype))
    hit = grid.occupied(origins[:, None] + at[..., None] * directions[:, None])
    step = 0.6 / 24
    for ray in range(len(near)):
        # A stretch shorter than a step may be missed, as the docstring has it.
        places = at[ray][long_runs(hit[ray], step * 2000 / float(far[ray] - near[ray]))]
        if len(places):
            assert float(first[ray]) <= float(places[0]) + 1e-9
            assert float(last[ray]) >= float(places[-1]) - 1e-9
        seen = at[ray][hit[ray]]
        if first[ray] < last[ray]:
            assert float(seen[0] - first[ray]) <= 2.01 * step
            assert float(last[ray] - seen[-1]) <= 2.01 * step
    assert bool((first == last).any()) and bool((first < last).any())


def long_runs(hit: Tensor, least: float) -> Tensor:
    """Where ``hit`` ``[T]`` is part of an unbroken run of more than ``least``."""
    kept, start = torch.zeros_like(hit), 0
    for i in range(len(hit) + 1):
        if i == len(hit) or not hit[i]:
            if i - start > least:
                kept[start:i] = True
            start = i + 1
    return kept


def test_a_lattice_in_blocks_is_the_function_at_its_points():
    points = lattice(70, 0.6)
    assert torch.equal(points[0, 0, 0], torch.full((3,), -0.6))
    assert torch.equal(points[-1, -1, -1], torch.full((3,), 0.6))
    assert torch.allclose(lattice(2, 0.6, centers=True)[1, 0, 1], torch.tensor([0.3, -0.3, 0.3]))

    def both(p: Tensor) -> Tensor:
        return torch.stack([p[:, 0], p.square().sum(-1)], -1)

    assert torch.equal(evaluate(both, points).reshape(-1, 2), both(points.reshape(-1, 3)))
