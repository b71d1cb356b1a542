"""Views do not depend on how they are batched, and little on the precision of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose, orbit

SAMPLERS = ("official", "ddim", "unipc", "dpmpp", "euler")


def relative(one: Tensor, other: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((one.float() - other).abs().max() / other.abs().max())


@pytest.fixture(scope="module")
def files(original: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "zero123.ckpt"
    torch.save({"state_dict": original.state}, path)
    return path


@pytest.fixture(scope="module")
def load(original: Any, files: Path) -> Callable[..., Any]:
    def read(**options: Any) -> Any:
        pipe = Zero123Pipeline.from_pretrained(
            files, original.config, encoding="zero123", use_ema=False, **options
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return read


def latents(pipe: Any, poses: list[RelativePose], noise: Tensor, **options: Any) -> Tensor:
    torch.manual_seed(0)
    image = torch.rand(3, 32, 32) * 2 - 1
    call = {"num_inference_steps": 6, "output_type": "latent", **options}
    return pipe(image, poses, latents=noise, **call).images


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_eight_together_are_eight_alone(load: Callable[..., Any], sampler: str) -> None:
    pipe, poses = load(), orbit(8, elevation_deg=15)
    noise = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    together = latents(pipe, poses, noise, sampler=sampler)
    alone = [
        latents(pipe, [pose], one[None], sampler=sampler)
        for pose, one in zip(poses, noise, strict=True)
    ]
    assert relative(together, torch.cat(alone)) <= 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(load: Callable[..., Any], dtype: torch.dtype) -> None:
    noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    exact, half = (
        latents(load(torch_dtype=precision), orbit(2), noise, guidance_scale=3.0)
        for precision in (torch.float32, dtype)
    )
    assert 0 < relative(half, exact) <= 5e-2
