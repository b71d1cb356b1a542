"""Muon against the singular value decomposition, and AdamW beside it against torch's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from zero123lib.training.config import OptimizerConfig
from zero123lib.training.muon import MuonWithAdamW, orthogonalized
from zero123lib.training.optimization import make_optimizer


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(6, 6), (6, 20), (20, 6)])
def test_singular_values_go_to_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ orthogonalized(matrix) @ vt.T  # diagonal where the vectors are the same
    diagonal = inner.diagonal()
    assert ((diagonal > 0.6) & (diagonal < 1.3)).all()
    assert (inner - torch.diag(diagonal)).abs().max() < 1e-4


@pytest.mark.parametrize("shape", [(12, 12), (8, 90), (90, 8)])
def test_orthogonalised_is_the_iteration_spelt_out(shape: tuple[int, int]) -> None:
    """Newton-Schulz as Jordan et al. write it, in float64, on a matrix far from orthogonal."""
    falling = torch.logspace(0, -3, shape[1])
    matrix = random(*shape) * falling
    x = (matrix if shape[0] <= shape[1] else matrix.T).double()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    expected = x if shape[0] <= shape[1] else x.T
    assert torch.allclose(orthogonalized(matrix).double(), expected, atol=1e-3)


def test_steps_follow_nesterov_momentum() -> None:
    """m <- 0.95 m + 0.05 g; the step is along g + 0.95 (m - g), scaled by sqrt(rows / columns)."""
    parameter = nn.Parameter(random(8, 2, 1, 1))
    group = {"params": [parameter], "lr": 0.1, "muon": True}
    optimizer = MuonWithAdamW([group], weight_decay=0.0)
    expected, average = parameter.detach().clone(), torch.zeros(8, 2, 1, 1)
    for step in range(3):
        parameter.grad = random(8, 2, 1, 1) * (step + 1)
        optimizer.step()
        average = 0.95 * average + 0.05 * parameter.grad
        ahead = parameter.grad + 0.95 * (average - parameter.grad)
        expected -= 0.1 * 2 * orthogonalized(ahead.flatten(1)).view(8, 2, 1, 1)
        assert torch.allclose(parameter, expected, atol=1e-6)


def test_weights_decay_apart_from_the_step_as_adamws_do() -> None:
    """w <- (1 - lr * decay) w, then the step that there is without decay."""
    parameters = [nn.Parameter(random(6, 4)) for _ in range(2)]
    for parameter, decay in zip(parameters, (0.0, 0.5), strict=True):
        group = {"params": [parameter], "lr": 0.1, "muon": True, "weight_decay": decay}
        optimizer = MuonWithAdamW([group])
        parameter.grad = random(6, 4)
        optimizer.step()
    plain, decayed = parameters
    assert torch.allclose(plain - decayed, 0.1 * 0.5 * random(6, 4), atol=1e-7)


def network() -> nn.Module:
    model = nn.Module()
    model.unet = nn.ModuleDict(
        {
            "conv_in": nn.Conv2d(4, 8, 3),
            "mid": nn.Conv2d(8, 8, 3),
            "time_embedding": nn.Linear(8, 8),
        }
    )
    model.camera_projection = nn.Linear(12, 8)
    return model


def test_matrices_inside_are_muons_and_the_rest_adamws() -> None:
    model = network()
    other = copy.deepcopy(model)
    optimizers = [
        make_optimizer(one, OptimizerConfig(learning_rate=0.01, muon_learning_rate=rate))
        for one, rate in ((model, 0.02), (other, None))
    ]
    gradients = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    for one, optimizer in zip((model, other), optimizers, strict=True):
        for name, p in one.named_parameters():
            p.grad = gradients[name].clone()
        optimizer.step()
    differing = [
        name
        for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True)
        if not torch.equal(p, q)
    ]
    assert differing == ["unet.mid.weight"]


def test_gradients_that_overflow_fp16_change_nothing() -> None:
    """As torch's gradient scaler calls a fused optimizer: with what it found as an attribute."""
    model = network()
    optimizer = make_optimizer(model, OptimizerConfig(muon_learning_rate=0.02))
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.full_like(p, torch.inf)
    optimizer.found_inf = torch.ones(())  # pyright: ignore[reportAttributeAccessIssue]
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_loaded_state_goes_on_to_the_bit() -> None:
    model = network()
    config = OptimizerConfig(muon_learning_rate=0.02)
    optimizer = make_optimizer(model, config)

    def step(one: nn.Module, stepping: torch.optim.Optimizer, seed: int) -> None:
        torch.manual_seed(seed)
        for p in one.parameters():
            p.grad = torch.randn_like(p)
        stepping.step()

    step(model, optimizer, 1)
    again = copy.deepcopy(model)
    resumed = make_optimizer(again, config)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(model, optimizer, 2)
    step(again, resumed, 2)
    for p, q in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)
