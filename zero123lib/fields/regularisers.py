"""What a field should look like besides fitting its images: plain functions to scalars.

All are >= 0 and have finite gradients everywhere, at zero density and full opacity too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SPARSE = 0.01
_CLEAR = 1e-3


def sparsity(opacity: Tensor) -> Tensor:
    """Mean of ``sqrt(opacity^2 + 0.01)``: little in the image (threestudio, systems/zero123.py).

    Args:
        opacity: of any shape, in [0, 1].
    """
    return (opacity.square() + _SPARSE).sqrt().mean()


def opaque(opacity: Tensor) -> Tensor:
    """Mean entropy of opacities in nats: all or nothing (threestudio, systems/zero123.py).

    Opacities are kept 0.001 away from 0 and 1, beyond which the gradient is zero.

    Args:
        opacity: of any shape, in [0, 1].
    """
    kept = opacity.clamp(_CLEAR, 1 - _CLEAR)
    return -(kept * kept.log() + (1 - kept) * torch.log1p(-kept)).mean()


def orientation(weights: Tensor, normals: Tensor, directions: Tensor) -> Tensor:
    """Mean over rays of ``sum_i w_i max(0, n_i . d)^2``: what is seen faces the camera.

    Verbin et al. 2022, "Ref-NeRF", equation 11; no gradient through the weights, as threestudio
    has it, or hiding would do as well as turning.

    Args:
        weights: ``[N, S]``.
        normals: ``[N, S, 3]``.
        directions: ``[N, 3]``, from the camera.
    """
    away = (normals * directions[:, None]).sum(-1).clamp_min(0)
    return (weights.detach() * away.square()).sum(-1).mean()


def normal_smoothness_2d(normals: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels' normals (threestudio, systems/zero123.py).

    Args:
        normals: ``[..., H, W, 3]``, H and W at least 2.
    """
    down = normals[..., 1:, :, :] - normals[..., :-1, :, :]
    across = normals[..., :, 1:, :] - normals[..., :, :-1, :]
    return down.square().mean() + across.square().mean()


def normal_smoothness_3d(normals: Tensor, nearby: Tensor) -> Tensor:
    """Mean absolute difference of normals at points and at points moved a little.

    threestudio, systems/zero123.py (``normal_perturb``), which moves points by a normal
    distribution of standard deviation 0.01.

    Args:
        normals: ``[..., 3]``.
        nearby: the same shape.
    """
    return (normals - nearby).abs().mean()


def total_variation(grid: Tensor, axes: int = 3) -> Tensor:
    """Mean squared difference of neighbours along each axis, summed over axes.

    Chen et al. 2022, "TensoRF", section 4.4 (its TVLoss), without its factor.

    Args:
        grid: ``[..., *spatial]``.
        axes: how many of the last axes are spatial.
    """
    return _TotalVariation.apply(grid, axes)


class _TotalVariation(torch.autograd.Function):
    """In a third of the passes over memory that autograd's own gradient takes."""

    @staticmethod
    def forward(ctx: Any, grid: Tensor, axes: int) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.axes = [axis for axis in range(-axes, 0) if grid.shape[axis] > 1]
        total = grid.new_zeros(())
        for axis in ctx.axes:
            steps = grid.diff(dim=axis).flatten()
            total += steps.dot(steps) / steps.numel()
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        gradient = torch.zeros_like(grid)
        for axis in ctx.axes:
            steps = grid.diff(dim=axis)
            steps *= 2 * scale / steps.numel()
            gradient.narrow(axis, 1, steps.shape[axis]).add_(steps)
            gradient.narrow(axis, 0, steps.shape[axis]).sub_(steps)
        return gradient, None
