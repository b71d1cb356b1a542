"""Muon: momentum whose every matrix is orthogonalised before it is applied (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Odd quintic that pushes all singular values in (0, 1] towards 1, and how often it is applied.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class MuonWithAdamW(torch.optim.AdamW):
    """AdamW, and Muon in the groups that say ``"muon": True``.

    Muon's step is ``-lr * sqrt(max(1, rows / columns)) * orthogonalized(m')`` with Nesterov's
    ``m' = g + momentum * (m - g)`` and ``m`` the running average of gradients. A convolution's
    weight counts as the matrix ``[out, in * height * width]``. Weights decay as AdamW's do: before
    the step they are multiplied by ``1 - lr * weight_decay``.

    Args:
        params: groups; all of a Muon group's parameters have at least two axes.
        momentum: of Muon's groups.
        **adamw: as for ``torch.optim.AdamW``.
    """

    def __init__(self, params: list[dict[str, Any]], *, momentum: float = 0.95, **adamw: Any):
        for group in params:
            group.setdefault("muon", False)
        super().__init__(params, **adamw)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Return one step of both."""
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group["muon"]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        if _overflown(self):
            return loss
        for group in groups:
            if group["muon"]:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.mul_(1 - group["lr"] * group["weight_decay"])
                        self._muon_step(parameter, parameter.grad, group["lr"])
        return loss

    def _muon_step(self, parameter: Tensor, gradient: Tensor, lr: float) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())  # AdamW reads one of every parameter that it loads
            state["momentum_buffer"] = torch.zeros_like(parameter)
        state["step"] += 1
        average = state["momentum_buffer"].lerp_(gradient, 1 - self.momentum)
        matrix = gradient.lerp(average, self.momentum).flatten(1)
        rows, columns = matrix.shape
        scale = lr * max(1.0, rows / columns) ** 0.5
        parameter.add_(orthogonalized(matrix).view(parameter.shape), alpha=-scale)


def _overflown(optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether a gradient scaler has found what is not finite: a fused optimizer is called all
    the same, and has to skip the step itself."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Nearly the closest semi-orthogonal matrix: singular values go to about 0.7 to 1.2.

    Newton-Schulz iteration ``x <- (a + b x x' + c (x x')^2) x``. Its factors are polynomials of
    the first Gram matrix ``x x'`` and commute, so they are multiplied up on the short side and
    meet x once, at the end: a convolution's matrix is many times as long as it is high. (A square
    one costs a quarter more than spelt out.) The Gram matrix squares what is small, so it is kept
    in float32; on most CPUs that is also faster than any half precision.

    Args:
        matrix: ``[rows, columns]``.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).float()
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    product = factor = _factor(gram)
    for _ in range(_ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram)
        product = factor @ product
    x = product @ x
    return (x if wide else x.T).to(matrix)


def _factor(gram: Tensor) -> Tensor:
    """Return ``a + b g + c g^2``, ``[n, n]``."""
    a, b, c = _COEFFICIENTS
    factor = b * gram + c * gram @ gram
    factor.diagonal().add_(a)
    return factor
