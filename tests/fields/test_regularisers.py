"""Each regulariser in closed form, and its gradients where they could break."""

from __future__ import annotations

import math

import pytest
import torch

from zero123lib.fields.regularisers import (
    normal_smoothness_2d,
    normal_smoothness_3d,
    opaque,
    orientation,
    sparsity,
    total_variation,
)


def test_sparsity_of_nothing_and_of_everything():
    assert float(sparsity(torch.zeros(4, 5))) == pytest.approx(0.1)
    assert float(sparsity(torch.ones(7))) == pytest.approx(math.sqrt(1.01))


def test_opaque_is_the_entropy():
    assert float(opaque(torch.full((3,), 0.5))) == pytest.approx(math.log(2))
    least = -(0.001 * math.log(0.001) + 0.999 * math.log(0.999))
    for opacity in (0.0, 1.0, 1e-9):
        assert float(opaque(torch.tensor([opacity]))) == pytest.approx(least, rel=1e-4)


def test_orientation_counts_what_faces_away_alone():
    directions = torch.tensor([[0.0, 0.0, -1.0]])
    normals = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.6, -0.8], [1.0, 0.0, 0.0]]])
    weights = torch.tensor([[0.3, 0.5, 0.2]])
    assert float(orientation(weights, normals, directions)) == pytest.approx(0.5 * 0.64)


def test_orientation_turns_normals_and_hides_nothing():
    weights = torch.full((2, 3), 0.3, requires_grad=True)
    normals = torch.full((2, 3, 3), -0.5, requires_grad=True)
    orientation(weights, normals, torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)).backward()
    assert weights.grad is None
    assert normals.grad is not None and float(normals.grad.abs().sum()) > 0


def test_normal_smoothness_of_a_plane_and_of_a_step():
    normals = torch.zeros(1, 4, 4, 3)
    normals[..., 2] = 1
    assert float(normal_smoothness_2d(normals)) == 0
    normals[:, :, 2:] = torch.tensor([1.0, 0.0, 0.0])
    # One of three neighbouring columns differs, in two of three coordinates by 1.
    assert float(normal_smoothness_2d(normals)) == pytest.approx(1 / 3 * 2 / 3)
    assert float(normal_smoothness_2d(normals.transpose(1, 2))) == pytest.approx(2 / 9)


def test_normal_smoothness_in_space():
    normals = torch.rand(5, 7, 3)
    assert float(normal_smoothness_3d(normals, normals)) == 0
    assert float(normal_smoothness_3d(normals, normals + 0.25)) == pytest.approx(0.25, rel=1e-5)


def test_total_variation_of_ramps():
    ramp = torch.arange(5.0).expand(2, 1, 4, 3, 5)
    assert float(total_variation(ramp)) == pytest.approx(1)
    both = torch.arange(4.0)[:, None] * 2 + torch.arange(6.0) * 3
    assert float(total_variation(both[None], axes=2)) == pytest.approx(4 + 9)
    assert float(total_variation(torch.ones(1, 3, 4, 1, 1))) == 0


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_gradients_are_finite_at_nothing_and_at_everything(value):
    opacity = torch.full((3, 4), value, requires_grad=True)
    grid = torch.full((1, 2, 3, 3, 3), value, requires_grad=True)
    normals = torch.full((2, 4, 4, 3), value, requires_grad=True)
    total = (
        sparsity(opacity)
        + opaque(opacity)
        + orientation(torch.full((4, 4), value), normals[0], torch.zeros(4, 3))
        + normal_smoothness_2d(normals)
        + normal_smoothness_3d(normals, torch.zeros_like(normals))
        + total_variation(grid)
    )
    total.backward()
    for tensor in (opacity, grid, normals):
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all())


def test_gradcheck():
    random = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        values = 0.1 + 0.8 * torch.rand(*shape, generator=random, dtype=torch.float64)
        return values.requires_grad_()

    directions = -torch.eye(3, dtype=torch.float64)
    weights = some(3, 4).detach()
    other = torch.zeros(3, 4, 3, dtype=torch.float64)
    for function, argument in (
        (sparsity, some(3, 2)),
        (opaque, some(3, 2)),
        (lambda n: orientation(weights, -n, directions), some(3, 4, 3)),
        (normal_smoothness_2d, some(3, 4, 3)),
        (lambda n: normal_smoothness_3d(n, other), some(3, 4, 3)),
        (total_variation, some(1, 2, 3, 3, 2)),
    ):
        assert torch.autograd.gradcheck(function, argument)
