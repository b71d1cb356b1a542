"""Upscaling computes what the published network does, whatever the tiles, and keeps alpha."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zero123lib import upscaling
from zero123lib._errors import ArgumentError
from zero123lib.upscaling import realesrgan, upscaled

# Of ncnn, on scikit-image's astronaut at 64 px, bilinear: red at every 16th input pixel.
PUBLISHED = {
    4: [
        [0.8306, 0.7041, 0.7946, 0.7751],
        [0.2082, 0.7746, 0.8731, 0.9124],
        [0.4976, 0.8688, 0.1341, 0.8340],
        [0.7821, 0.7188, 0.6959, 0.0],
    ],
    2: [
        [0.8405, 0.7068, 0.8037, 0.7713],
        [0.1971, 0.7732, 0.8285, 0.9104],
        [0.4989, 0.8774, 0.1463, 0.8832],
        [0.7967, 0.6972, 0.8394, 0.0],
    ],
}


def astronaut(size: int = 64) -> Tensor:
    import skimage.data

    image = Image.fromarray(skimage.data.astronaut()).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


@pytest.mark.parametrize("factor", [2, 4])
def test_is_the_published_network(factor) -> None:
    made = upscaled(astronaut(), factor)
    assert made.shape == (3, 64 * factor, 64 * factor)
    found = made[0, :: 16 * factor, :: 16 * factor]
    torch.testing.assert_close(found, torch.tensor(PUBLISHED[factor]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("factor", [2, 4])
def test_tiles_are_the_whole(monkeypatch: pytest.MonkeyPatch, factor) -> None:
    image = torch.rand(3, 70, 45, generator=torch.Generator().manual_seed(0))
    whole = upscaled(image, factor)
    monkeypatch.setattr(upscaling, "_TILE", 24)
    torch.testing.assert_close(upscaled(image, factor), whole, atol=1e-5, rtol=0)


def test_what_the_tiles_see_is_enough_and_no_more_than_needed() -> None:
    image = astronaut(48).requires_grad_()
    made = realesrgan()(image[None])[0]
    (seen,) = torch.autograd.grad(made[:, 96, 96].sum(), image)
    reach = [abs(int(i) - 24) for i in seen.abs().sum(0).nonzero().flatten()]
    assert max(reach) <= upscaling._AROUND


def test_alpha_is_enlarged_and_flat_areas_stay() -> None:
    rgba = torch.zeros(2, 4, 32, 32)
    rgba[:, :3], rgba[:, 3, :, 16:] = 0.5, 1.0
    made = upscaled(rgba, 2)
    assert made.shape == (2, 4, 64, 64)
    assert made[:, 3, :, :29].max() == 0 and made[:, 3, :, 35:].min() == 1
    assert (made[:, :3, :, 34:] - 0.5).abs().max() < 0.05  # up to the edge, where alpha is half
    assert upscaled(rgba, 1) is rgba


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ArgumentError, match="upscale: expected 1, 2 or 4, got 3"):
        upscaled(torch.zeros(3, 8, 8), 3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(
        ArgumentError, match=r"images: expected \[..., 3 or 4, H, W\], got \[1, 8, 8\]"
    ):
        upscaled(torch.zeros(1, 8, 8))
    with pytest.raises(ArgumentError, match=r"images: expected floating numbers in \[0, 1\]"):
        upscaled(torch.full((3, 8, 8), 200.0))


def test_a_half_stays_a_half_and_gradients_may_be_asked_of_the_network_later() -> None:
    assert upscaled(torch.rand(3, 8, 8).bfloat16(), 2).dtype == torch.bfloat16
    image = torch.rand(1, 3, 8, 8).requires_grad_()
    realesrgan(torch.device("cpu"))(image).sum().backward()
    assert realesrgan("cpu") is realesrgan(torch.device("cpu"))
