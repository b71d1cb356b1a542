"""The patch autoencoder loses nothing, and is what its docstring says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.patches import PatchAutoencoder


def images(count: int = 2, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def encode(vae: PatchAutoencoder, x: torch.Tensor) -> torch.Tensor:
    return vae.encode(x).latent_dist.mode()


@pytest.mark.parametrize("patch_size", [2, 4, 8])
def test_round_trip_is_lossless(patch_size: int) -> None:
    vae = PatchAutoencoder(patch_size=patch_size, latent_channels=3 * patch_size**2)
    x = images()
    latents = encode(vae, x)
    side = 32 // patch_size
    assert latents.shape == (2, 3 * patch_size**2, side, side)
    assert torch.allclose(vae.decode(latents).sample, x, atol=1e-5)
    assert torch.allclose(vae(x), x, atol=1e-5)


@pytest.mark.parametrize("overlap", [False, True])
def test_slices_and_tiles_change_nothing(overlap: bool) -> None:
    vae = PatchAutoencoder(patch_size=4, latent_channels=48, overlap=overlap)
    x = images(3, 40)  # ten rows of patches: two tiles and a half
    latents = encode(vae, x)
    assert torch.allclose(vae.decode(latents).sample, x, atol=1e-5)
    seen: list[tuple[int, int]] = []
    for switch in (vae.enable_slicing, vae.enable_tiling):
        switch()
        assert torch.allclose(encode(vae, x), latents, atol=1e-5)
        assert torch.allclose(vae.decode(latents).sample, x, atol=1e-5)
    seam = vae._across_seams

    def watched(pixels: torch.Tensor, undo: bool = False) -> torch.Tensor:
        seen.append((len(pixels), pixels.shape[-2]))
        return seam(pixels, undo)

    vae._across_seams = watched
    encode(vae, x)
    vae.disable_slicing()
    encode(vae, x)
    assert seen == [(1, 40)] * 3 + [(3, 40)]


@pytest.mark.parametrize("patch_size", [4, 8])
def test_the_lapped_transform_keeps_lengths_and_reaches_over_seams(patch_size: int) -> None:
    vae = PatchAutoencoder(
        patch_size=patch_size, latent_channels=3 * patch_size**2, gain_power=0.0, chroma_gain=1.0,
        overlap=True,
    )  # fmt: skip
    x = images()
    assert torch.allclose(encode(vae, x).norm(), (x - 1).norm(), rtol=1e-5)
    latents = torch.zeros(1, 3 * patch_size**2, 4, 4)
    latents[0, 0, 1, 1] = 1.0
    reached = (vae.decode(latents).sample - 1).abs().amax((0, 1)) > 1e-6
    half = patch_size // 2
    wanted = torch.zeros_like(reached)
    wanted[patch_size - half : 2 * patch_size + half, patch_size - half : 2 * patch_size + half] = 1
    assert not (reached & ~wanted).any()
    assert reached[:patch_size].any() and reached[2 * patch_size :].any()


def test_white_is_zero() -> None:
    assert encode(PatchAutoencoder(), torch.ones(1, 3, 16, 16)).abs().max() == 0


def test_decoding_is_linear_up_to_white() -> None:
    vae = PatchAutoencoder()
    a, b = torch.randn(2, 1, 192, 2, 2, generator=torch.Generator().manual_seed(0))
    mixed = vae.decode(2 * a - 3 * b).sample - 1
    apart = 2 * (vae.decode(a).sample - 1) - 3 * (vae.decode(b).sample - 1)
    assert torch.allclose(mixed, apart, atol=1e-5)


def test_without_gains_lengths_and_angles_stay() -> None:
    vae = PatchAutoencoder(gain=1.0, gain_power=0.0, chroma_gain=1.0)
    basis = vae.analysis.reshape(192, -1).double()
    assert torch.allclose(basis @ basis.T, torch.eye(192, dtype=torch.float64), atol=1e-6)


def test_a_flat_grey_patch_has_one_coefficient() -> None:
    # An orthonormal DCT of a constant c over n values is c sqrt(n) in the first, 0 elsewhere.
    vae = PatchAutoencoder(gain=0.125, gain_power=0.75, chroma_gain=2.0)
    latents = encode(vae, torch.zeros(1, 3, 8, 8)).flatten()
    assert float(latents[0]) == pytest.approx(-0.125 * (3 * 64) ** 0.5, rel=1e-5)
    assert latents[1:].abs().max() < 1e-5


def test_sampling_the_posterior_gives_its_mode() -> None:
    posterior = PatchAutoencoder().encode(images()).latent_dist
    drawn = posterior.sample(torch.Generator().manual_seed(0))
    assert torch.allclose(drawn, posterior.mode(), atol=1e-5)


def test_config_makes_it_whole(tmp_path: Path) -> None:
    vae = PatchAutoencoder(patch_size=4, latent_channels=48, gain=0.3, scaling_factor=0.7)
    vae.save_pretrained(tmp_path)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert torch.equal(encode(again, images()), encode(vae, images()))
    assert again.config["scaling_factor"] == 0.7
    half = PatchAutoencoder.from_pretrained(tmp_path, torch_dtype=torch.float16)
    assert half.dtype == torch.float16


def test_latent_channels_follow_from_the_patch() -> None:
    with pytest.raises(ValueError, match=r"latent_channels: expected .* = 48, got 192"):
        PatchAutoencoder(patch_size=4)


@pytest.mark.parametrize(("patch_size", "size"), [(2, 8), (4, 32), (8, 8), (16, 48)])
def test_the_lapped_transform_is_orthonormal_and_has_the_same_shape(patch_size, size) -> None:
    vae = PatchAutoencoder(patch_size, 3 * patch_size**2, 1.0, 0.0, 1.0, overlap=True)
    x = images(size=size).double()
    vae = vae.double()
    latents = encode(vae, x)
    assert latents.shape == (2, 3 * patch_size**2, size // patch_size, size // patch_size)
    assert torch.allclose(vae.decode(latents).sample, x, atol=1e-6)
    assert float(latents.norm()) == pytest.approx(float((x - 1).norm()), rel=1e-6)


def test_a_lapped_flat_image_has_one_coefficient_per_patch() -> None:
    # Across a seam only the odd part is turned, and a constant has none.
    vae = PatchAutoencoder(gain=0.125, overlap=True)
    latents = encode(vae, torch.zeros(1, 3, 32, 32))
    assert torch.allclose(latents[:, 0], torch.full((1, 4, 4), -0.125 * 192**0.5), atol=1e-5)
    assert latents[:, 1:].abs().max() < 1e-5


def test_the_lapped_transform_is_malvars() -> None:
    """Its coding gain for a first-order process with correlation 0.95 is the 9.22 dB that Malvar
    (1992, table 4.1) gives for 8 bands, where the block DCT has 8.83."""
    gains = []
    for overlap in (False, True):
        vae = PatchAutoencoder(8, 192, 1.0, 0.0, 1.0, overlap=overlap).double()
        # The transform of a line of pixels: that of images that are constant along the other axis
        # and grey, in which only the first of the other frequencies answers.
        basis = torch.eye(128, dtype=torch.float64)[:, None, None, :].expand(-1, 3, 8, -1) + 1
        line = vae.encode(basis).latent_dist.mode()[:, :8, 0] / 192**0.5 * 8**0.5
        matrix = line.transpose(1, 2).reshape(128, 128).T
        place = torch.arange(128, dtype=torch.float64)
        process = 0.95 ** (place[:, None] - place).abs()
        variances = (matrix @ process @ matrix.T).diagonal().reshape(16, 8)[1:-1].mean(0)
        gains.append(10 * (variances.mean().log10() - variances.log10().mean()))
    assert [float(gain) for gain in gains] == pytest.approx([8.83, 9.22], abs=0.01)


def test_patches_that_overlap_have_an_even_size() -> None:
    with pytest.raises(ValueError, match="patch_size: expected an even one with overlap, got 3"):
        PatchAutoencoder(patch_size=3, latent_channels=27, overlap=True)


def with_filter(**config: Any) -> PatchAutoencoder:
    """Return one with a filter of random weights."""
    torch.manual_seed(0)
    vae = PatchAutoencoder(patch_size=8, latent_channels=192, deblocking_channels=6, **config)
    assert vae.deblocking is not None
    for weight in vae.deblocking.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return vae.eval()


def test_a_filter_without_training_changes_nothing() -> None:
    vae = PatchAutoencoder(deblocking_channels=6)
    x = images()
    assert torch.allclose(vae(x), x, atol=1e-5)


@torch.no_grad()
def test_the_filter_is_the_convolutions_of_cells_that_know_their_place() -> None:
    """Cell by cell, channel by channel, as the docstring has it."""
    vae, x = with_filter(), images(1, 16)
    filtering: Any = vae.deblocking
    cells = (x - 1).reshape(1, 3, 4, 4, 4, 4).permute(0, 1, 3, 5, 2, 4).reshape(1, 48, 4, 4)
    hidden = torch.nn.functional.conv2d(cells, filtering.conv_in.weight, padding=1)
    hidden += filtering.conv_in.bias[:, None, None]
    for row in range(4):
        for column in range(4):
            hidden[:, :, row, column] += filtering.place[:, :, row % 2, column % 2]
    for block in filtering.blocks:
        hidden = hidden + block(hidden * hidden.sigmoid())
    added = filtering.conv_out(hidden * hidden.sigmoid())
    added = added.reshape(1, 3, 4, 4, 4, 4).permute(0, 1, 4, 2, 5, 3).reshape(1, 3, 16, 16)
    assert torch.allclose(filtering(x), x + added, rtol=1e-4, atol=1e-5)
    assert torch.allclose(vae.decode(encode(vae, x)).sample, x + added, rtol=1e-4, atol=1e-4)


def test_blocks_of_a_filter_are_of_whole_cells() -> None:
    with pytest.raises(ArgumentError, match="block_size: expected a multiple of 4, got 6"):
        PatchAutoencoder(patch_size=6, latent_channels=108, deblocking_channels=6)


@torch.no_grad()
def test_a_filter_is_saved_and_loaded_with_its_weights(tmp_path: Path) -> None:
    vae, x = with_filter(overlap=True), images()
    vae.save_pretrained(tmp_path / "vae")
    again = PatchAutoencoder.from_pretrained(tmp_path / "vae")
    half = PatchAutoencoder.from_pretrained(tmp_path / "vae", torch_dtype=torch.float16)
    assert torch.equal(again(x), vae(x)) and not again.training
    assert half.dtype == half.analysis.dtype == torch.float16
    assert torch.allclose(half(x.half()).float(), vae(x), atol=0.1)
