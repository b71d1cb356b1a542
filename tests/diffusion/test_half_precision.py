"""Half precision gives the image, or an error that names the VAE: never a black one in silence.

Autoencoders may have activations beyond 65504, the most that float16 holds, in their last blocks,
which the normalisation after them makes small again; so do random weights with a factor there.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from zero123lib._errors import NotFiniteError
from zero123lib.diffusion.pipeline import Zero123Pipeline

MOST = torch.finfo(torch.float16).max
PUBLISHED = {
    "block_out_channels": (128, 256, 512, 512),
    "norm_num_groups": 32,
    "layers_per_block": 2,
}
SMALL = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}


def autoencoder(sizes: dict[str, Any], factor: float) -> AutoencoderKL:
    """Random weights, those of the last blocks' residual branches times a factor."""
    torch.manual_seed(0)
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    made = AutoencoderKL(latent_channels=4, sample_size=256, **blocks, **sizes).eval()
    with torch.no_grad():
        for resnet in made.decoder.up_blocks[-1].resnets:  # type: ignore[union-attr]
            resnet.conv2.weight *= factor
    return made


def peak(vae: AutoencoderKL) -> list[float]:
    """The largest absolute value of any module's output, kept up to date while the VAE works."""
    found = [0.0]

    def note(module: Any, given: Any, made: Any) -> None:
        if isinstance(made, Tensor):
            found[0] = max(found[0], float(made.detach().abs().max()))

    for module in vae.decoder.modules():
        module.register_forward_hook(note)
    return found


@pytest.mark.parametrize("factor", [1.0, 1e6])
@pytest.mark.parametrize(
    "sizes", [SMALL, pytest.param(PUBLISHED, marks=pytest.mark.soak)], ids=["small", "published"]
)
def test_half_precision_is_the_image_or_names_the_vae(sizes: dict[str, Any], factor: float) -> None:
    pipe = Zero123Pipeline.from_pretrained("tiny")
    vae = autoencoder(sizes, factor)
    reached = peak(vae)
    pipe.register_modules(vae=vae)
    latents = vae.config["scaling_factor"] * torch.randn(1, 4, 16, 16)
    image = pipe.decode(latents)
    print(f"{reached[0]:.3g} at most, {MOST:g} in float16")
    assert image.std() > 0.1
    vae.bfloat16()  # as wide as float32
    assert (pipe.decode(latents) - image).abs().mean() < 0.03
    vae.load_state_dict(autoencoder(sizes, factor).state_dict())
    vae.half()
    assert (factor > 1) == (reached[0] > MOST)
    if reached[0] > MOST:
        with pytest.raises(NotFiniteError, match="^vae: expected finite images in torch.float16"):
            pipe.decode(latents)
    else:
        assert (pipe.decode(latents) - image).abs().mean() < 0.005
