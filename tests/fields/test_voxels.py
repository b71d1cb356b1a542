"""The voxel field against a slow reference, on other lattices and in smaller boxes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.fields.test_occupancy import lumpy_field
from zero123lib.fields.voxels import VoxelField, VoxelSettings


def slow_at(grid: Tensor, point: Tensor, half_extent: float) -> Tensor:
    """A grid ``[C, R, R, R]`` over the cube, interpolated corner by corner."""
    last = grid.shape[-1] - 1
    place = (point + half_extent) / (2 * half_extent) * last
    low = place.floor().clamp(0, last - 1).int()
    value = grid.new_zeros(grid.shape[0])
    for corner in itertools.product((0, 1), repeat=3):
        node = low + torch.tensor(corner)
        weight = (1 - (place - node).abs()).prod()
        value = value + weight * grid[:, node[0], node[1], node[2]]
    return value


def some_points(count: int, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return 1.2 * torch.rand(count, 3, generator=random, dtype=torch.float64) - 0.6


def test_values_are_those_of_the_slow_reference():
    field = lumpy_field(6)
    points = some_points(50)
    raw = torch.stack([slow_at(field.raw_density[0], p, 0.6)[0] for p in points])
    assert torch.allclose(field.density(points), 64 * functional.softplus(raw), rtol=1e-9)
    colors = torch.stack([slow_at(field.raw_color[0], p, 0.6) for p in points])
    assert torch.allclose(field.color(points), torch.sigmoid(colors))
    latents = VoxelField(VoxelSettings(6, channels=3, bounds="none")).double()
    latents.load_state_dict(field.state_dict())
    assert torch.allclose(latents.color(points), colors)


def test_leading_axes_stay_and_the_outside_is_empty():
    field = VoxelField(VoxelSettings(5, initial_density=3.0))
    points = torch.zeros(2, 1, 4, 3)
    assert field.density(points).shape == (2, 1, 4)
    assert field.color(points).shape == (2, 1, 4, 3)
    assert torch.allclose(field.density(points), torch.tensor(3.0))
    edge = torch.tensor([[0.6, 0.6, -0.6], [0.601, 0.0, 0.0], [0.0, 0.0, -0.7]])
    assert torch.allclose(field.density(edge), torch.tensor([3.0, 0.0, 0.0]))


@pytest.mark.parametrize("density", [1e-6, 0.1, 64.0, 2000.0])
def test_raw_values_give_the_density_that_was_asked_for(density):
    field = VoxelField(VoxelSettings(2, initial_density=density)).double()
    found = field.density(torch.zeros(1, 3, dtype=torch.float64))
    assert float(found) == pytest.approx(density, rel=1e-5)


def test_twice_as_fine_is_the_same_field():
    field = lumpy_field(6)
    finer = field.upsampled(11)
    points = some_points(500)
    assert torch.allclose(finer.density(points), field.density(points), rtol=1e-9)
    assert torch.allclose(finer.color(points), field.color(points))
    assert finer.cell == pytest.approx(field.cell / 2)


@pytest.mark.parametrize("resolution", [6, 11])
def test_a_crop_is_the_same_field_within_its_box_and_empty_outside(resolution):
    field = lumpy_field(6)
    low, high = torch.tensor([-0.3, -0.12, 0.05]), torch.tensor([0.3, 0.1, 0.59])
    part = field.cropped(low, high).upsampled(resolution)
    assert part.raw_density.shape[2:] == torch.Size(part.settings.shape)
    assert part.raw_density.numel() < field.upsampled(resolution).raw_density.numel() / 2
    points = some_points(3000)
    inside = ((points >= low) & (points <= high)).all(-1)
    beyond = ((points < low - field.cell) | (points > high + field.cell)).any(-1)
    assert torch.allclose(part.density(points)[inside], field.density(points)[inside], rtol=1e-9)
    assert torch.allclose(part.color(points)[inside], field.color(points)[inside])
    assert float(part.density(points)[beyond].detach().max()) == 0
    again = part.cropped(*part.box)
    assert again.settings == part.settings
    assert torch.allclose(again.raw_density, part.raw_density)


def test_nodes_are_where_the_grids_have_their_values():
    field = lumpy_field(5).cropped(torch.full((3,), -0.3), torch.tensor([0.0, 0.3, 0.6]))
    nodes = field.nodes()
    assert nodes.shape[:3] == field.raw_density.shape[2:]
    found = field.density(nodes)
    assert torch.allclose(found, 64 * functional.softplus(field.raw_density[0, 0]), rtol=1e-9)


def test_gradcheck_with_respect_to_the_grids_and_the_points():
    field = lumpy_field(4)
    points = some_points(6).requires_grad_()

    def values(raw_density: Tensor, raw_color: Tensor, at: Tensor) -> Tensor:
        copy = {"raw_density": raw_density, "raw_color": raw_color}
        density = torch.func.functional_call(_Density(field), _named(copy), (at,))
        color = torch.func.functional_call(_Color(field), _named(copy), (at,))
        return torch.cat([density, color.flatten()])

    inputs = [grid.detach().clone().requires_grad_() for grid in field.parameters()]
    assert torch.autograd.gradcheck(values, (*inputs, points))


class _Density(torch.nn.Module):
    def __init__(self, field: VoxelField) -> None:
        super().__init__()
        self.field = field

    def forward(self, points: Tensor) -> Tensor:
        return self.field.density(points)


class _Color(_Density):
    def forward(self, points: Tensor) -> Tensor:
        return self.field.color(points)


def _named(grids: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"field.{name}": grid for name, grid in grids.items()}


def test_settings_and_state_rebuild_a_field():
    field = lumpy_field(7).float().cropped(torch.full((3,), -0.2), torch.full((3,), 0.3))
    again = VoxelField(field.settings)
    again.load_state_dict(field.state_dict())
    points = some_points(50).float()
    assert torch.equal(again.density(points), field.density(points))
    assert torch.equal(again.color(points), field.color(points))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"resolution": 1}, "resolution: expected an integer of at least 2, got 1"),
        ({"channels": 0}, "channels: expected an integer of at least 1, got 0"),
        ({"half_extent": float("nan")}, "half_extent: expected a positive number, got nan"),
        ({"initial_density": 0.0}, "initial_density: expected a positive number, got 0.0"),
        ({"bounds": "tanh"}, "bounds: expected 'unit' or 'none', got 'tanh'"),
        ({"box": ((0, 0, 0), (3, 3, 64))}, "box: expected ascending nodes below 64"),
        ({"box": ((0, 3, 0), (3, 3, 6))}, "box: expected ascending nodes"),
    ],
)
def test_settings_that_make_no_field_are_named(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        VoxelSettings(**change)
