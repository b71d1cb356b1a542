"""Posed CLIP and the one-token identity, against stock code and independent arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.model import (
    CLIP_MEAN,
    CLIP_STD,
    CameraProjection,
    clip_embedding,
    disable_one_token,
    enable_one_token,
)
from zero123lib.diffusion.pipeline import Zero123Pipeline

MakePipeline = Callable[..., Zero123Pipeline]

# A transformer block's weights that only feed the queries and keys of its cross-attention.
UNUSED = ("attn2.to_q", "attn2.to_k", "transformer_blocks.0.norm2")


def run_unet(unet: Any, sample: Tensor, context: Tensor) -> dict[str, Tensor]:
    """The output, and gradients by everything that the identity touches."""
    sample, context = sample.clone().requires_grad_(), context.clone().requires_grad_()
    unet.zero_grad(set_to_none=True)
    output = unet(sample, 500, encoder_hidden_states=context).sample
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    (output * weights).sum().backward()
    assert sample.grad is not None
    assert context.grad is not None
    found = {"output": output.detach(), "by sample": sample.grad, "by context": context.grad}
    for name, parameter in unet.named_parameters():
        if parameter.grad is not None and any(part in name for part in UNUSED):
            assert parameter.grad.abs().max() < 1e-12, f"{name} has no part in one-token attention"
        elif parameter.grad is not None:
            found[name] = parameter.grad
    return found


def test_one_token_identity_in_values_and_gradients(make_pipeline: MakePipeline) -> None:
    unet: Any = make_pipeline("published").unet.double()
    random = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 8, 4, 4, generator=random, dtype=torch.float64)
    context = torch.randn(2, 1, 32, generator=random, dtype=torch.float64)
    fast = run_unet(unet, sample, context)
    disable_one_token(unet)
    stock = run_unet(unet, sample, context)
    assert any("attn2.to_v" in name for name in stock)
    assert any("attn2.to_out" in name for name in stock)
    for name, expected in stock.items():
        if "resnets" in name or "transformer_blocks" in name or name in ("output", "by context"):
            assert expected.abs().max() > 1e-6, f"{name} tests nothing"
        assert torch.allclose(fast[name], expected, rtol=1e-9, atol=1e-11), name


def test_one_token_uses_no_query_and_no_key(make_pipeline: MakePipeline) -> None:
    unet: Any = make_pipeline("published").unet
    for name, parameter in unet.named_parameters():
        if any(part in name for part in UNUSED):
            parameter.data.fill_(float("nan"))
    output = unet(torch.randn(1, 8, 4, 4), 1, encoder_hidden_states=torch.randn(1, 1, 32)).sample
    assert torch.isfinite(output).all()


def test_several_tokens_need_stock_attention(make_pipeline: MakePipeline) -> None:
    unet: Any = make_pipeline("published").unet
    sample, context = torch.randn(1, 8, 4, 4), torch.randn(1, 2, 32)
    with pytest.raises(ValueError, match=r"encoder_hidden_states: expected one context token"):
        unet(sample, 1, encoder_hidden_states=context)
    disable_one_token(unet)
    one = unet(sample, 1, encoder_hidden_states=context[:, :1]).sample
    two = unet(sample, 1, encoder_hidden_states=context).sample
    assert (one - two).abs().max() > 1e-5
    enable_one_token(unet)
    again = unet(sample, 1, encoder_hidden_states=context[:, :1]).sample
    assert torch.allclose(again, one, atol=1e-5)


def cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel at a = -3/4."""
    a, x = -0.75, np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def bicubic_matrix(source: int, target: int) -> np.ndarray:
    """`[target, source]`, corners aligned, borders repeated, no antialiasing."""
    matrix = np.zeros((target, source))
    for row in range(target):
        position = row * (source - 1) / (target - 1)
        for tap in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            matrix[row, np.clip(tap, 0, source - 1)] += cubic(np.array(position - tap))
    return matrix


@pytest.mark.parametrize("source", [16, 32, 57])
def test_clip_sees_the_official_resize(make_pipeline: MakePipeline, source: int) -> None:
    clip: Any = make_pipeline("published").image_encoder
    images = torch.rand(2, 3, source, source, generator=torch.Generator().manual_seed(2)) * 2 - 1
    matrix = bicubic_matrix(source, 24)
    resized = np.einsum("ty,bcyx,sx->bcts", matrix, images.numpy(), matrix)
    mean, std = (np.array(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    pixels = torch.from_numpy(((resized + 1) / 2 - mean) / std).float()
    expected = clip(pixel_values=pixels).image_embeds
    assert torch.allclose(clip_embedding(clip, images), expected, atol=1e-4)


def test_camera_projection_starts_as_the_identity() -> None:
    projection = CameraProjection(16, 4)
    embedding, pose = torch.randn(3, 16), torch.randn(3, 4)
    assert torch.equal(projection(embedding, pose), embedding[:, None])


def test_camera_projection_is_linear_in_embedding_and_pose() -> None:
    projection = CameraProjection(16, 4)
    torch.nn.init.normal_(projection.proj.weight)
    torch.nn.init.normal_(projection.proj.bias)
    embedding, pose = torch.randn(3, 16), torch.randn(3, 4)
    weight, bias = projection.proj.weight, projection.proj.bias
    expected = embedding @ weight[:, :16].T + pose @ weight[:, 16:].T + bias
    assert torch.allclose(projection(embedding, pose)[:, 0], expected, atol=1e-5)
