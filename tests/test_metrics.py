"""Closed forms of the image metrics."""

from __future__ import annotations

import pytest
import torch

from zero123lib.metrics import psnr


def test_psnr_of_a_constant_error():
    target = torch.rand(4, 3, 8, 8) * 0.5
    assert torch.allclose(psnr(target + 0.1, target), torch.full((4,), 20.0, dtype=torch.float64))
    assert psnr(target, target).isinf().all()


def test_masked_psnr_sees_only_the_mask():
    target = torch.zeros(3, 4, 4)
    prediction = torch.zeros(3, 4, 4)
    prediction[:, :2] = 0.1
    prediction[:, 2:] = 1.0
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:2] = True
    assert float(psnr(prediction, target, mask)) == pytest.approx(20)
    assert float(psnr(prediction, target, ~mask)) == pytest.approx(0)
    assert psnr(prediction, target, torch.zeros(4, 4, dtype=torch.bool)).isnan()


def test_psnr_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"prediction: expected the target's shape \[3, 8, 8\]"):
        psnr(torch.zeros(3, 4, 4), torch.zeros(3, 8, 8))
