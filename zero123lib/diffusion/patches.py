"""The bundled model's autoencoder: a lossless patch transform with the VAE's interface.

Each patch of an image becomes one latent pixel: a colour rotation and a two-dimensional DCT-II,
both orthonormal, then one gain per channel. Of this nothing is learned and nothing is lost; a white
image is the zero latent.

With ``overlap`` it is the lapped orthogonal transform (Malvar and Staelin 1989): every basis
function reaches half a patch into its neighbours and fades out there, so that what a model gets
wrong has no edges where patches meet. It is the same DCT after a rotation of the pixels across each
seam (Tran, Liang and Tu 2003, section III); the border of the image has no seam and is left alone.

With ``deblocking_channels`` a learned filter follows on the way back, see
:mod:`zero123lib.diffusion.deblocking`: it repairs what a model makes, and changes a true image
little, as training asks it to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import (
    AutoencoderMixin,
    DecoderOutput,
    DiagonalGaussianDistribution,
)
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn

from zero123lib.diffusion.deblocking import DeblockingFilter

# Rows of patches that are transformed at once under `enable_tiling`.
_ROWS_AT_ONCE = 4


class PatchAutoencoder(ModelMixin, AutoencoderMixin, ConfigMixin):
    """Transform images by patches, with the interface of ``AutoencoderKL``.

    ``enable_slicing`` takes one image at a time and ``enable_tiling`` transforms a few rows of
    patches at once; since patches do not depend on each other, both bound memory and change
    nothing.

    Args:
        patch_size: side of a patch, pixels.
        latent_channels: ``3 * patch_size ** 2``, stated for readers of the config.
        gain: gain of the lowest frequency.
        gain_power: gains grow as ``(1 + frequency) ** gain_power``, towards equal variances;
            0.5 to 1 levels the spectrum of drawn objects about half way.
        chroma_gain: extra gain of the two colour-difference channels, whose variance is small.
        scaling_factor: as in ``AutoencoderKL``: noise is added to ``scaling_factor * latent``.
        overlap: whether patches reach into each other; their size is then even.
        deblocking_channels: of the filter after decoding; 0 for none.

    Raises:
        ValueError: the arguments do not fit each other.
    """

    @register_to_config
    def __init__(
        self,
        patch_size: int = 8,
        latent_channels: int = 192,
        gain: float = 1.0,
        gain_power: float = 0.75,
        chroma_gain: float = 2.0,
        scaling_factor: float = 0.25,
        overlap: bool = False,
        deblocking_channels: int = 0,
    ) -> None:
        super().__init__()
        if latent_channels != 3 * patch_size**2:
            raise ValueError(
                f"latent_channels: expected 3 * patch_size ** 2 = {3 * patch_size**2}, "
                f"got {latent_channels}"
            )
        if overlap and patch_size % 2:
            raise ValueError(f"patch_size: expected an even one with overlap, got {patch_size}")
        self.patch_size, self.overlap = patch_size, overlap
        self.use_slicing = self.use_tiling = False
        dct, color = _dct_matrix(patch_size), _dct_matrix(3)
        basis = torch.einsum("ck,uy,vx->cuvkyx", color, dct, dct)
        steps = torch.arange(patch_size, dtype=torch.float64)
        frequency = torch.hypot(steps[:, None], steps[None, :])
        channel = torch.tensor([1.0, chroma_gain, chroma_gain], dtype=torch.float64)
        gains = gain * (1 + frequency) ** gain_power * channel[:, None, None]
        shape = (latent_channels, 3, patch_size, patch_size)
        forward = (basis * gains[..., None, None, None]).reshape(shape)
        backward = (basis / gains[..., None, None, None]).reshape(shape)
        # Not persistent: they follow from the config, exactly, at any precision of the weights.
        self.register_buffer("analysis", forward.float(), persistent=False)
        self.register_buffer("synthesis", backward.float(), persistent=False)
        seam = _seam_matrix(patch_size) if overlap else torch.eye(patch_size)
        self.register_buffer("seam", seam.float(), persistent=False)
        self.deblocking = None
        if deblocking_channels:
            self.deblocking = DeblockingFilter(patch_size, deblocking_channels)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *,
        torch_dtype: torch.dtype | None = None,
        **kwargs: Any,
    ) -> PatchAutoencoder:
        """Load it as diffusers does, from its config alone where it has no filter: nothing else is
        learned, so no weights are saved and none are read.

        Args:
            torch_dtype: float32 unless told; the name by which diffusers' pipelines hand it to
                their components.
            **kwargs: what else they hand over has no meaning without weights.
        """
        config = cast(dict[str, Any], cls.load_config(pretrained_model_name_or_path))
        if config.get("deblocking_channels"):
            model = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        else:
            model = cast(PatchAutoencoder, cls.from_config(config))
        nn.Module.to(model, torch_dtype or torch.float32)
        return model.eval()

    @property
    def spatial_compression_ratio(self) -> int:
        """Return image pixels per latent pixel along each axis."""
        return self.patch_size

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Encode images ``[B, 3, H, W]`` in [-1, 1] to a distribution of zero width over latents
        ``[B, C, H / patch, W / patch]``."""
        latents = self._by_parts(x, self._analysed)
        narrow = torch.full_like(latents, -30.0)
        posterior = DiagonalGaussianDistribution(torch.cat([latents, narrow], 1), True)
        return AutoencoderKLOutput(latent_dist=posterior)

    def decode(self, z: Tensor) -> DecoderOutput:
        """Decode latents to images; without the filter, the inverse of :meth:`encode` up to
        rounding."""
        return DecoderOutput(sample=self._by_parts(z, self._decoded))

    def unfiltered(self, z: Tensor) -> Tensor:
        """Decode latents to images ``[B, 3, H, W]`` without the filter."""
        return self._by_parts(z, self._synthesised)

    def _by_parts(self, batch: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
        parts = batch.split(1) if self.use_slicing else [batch]
        return torch.cat([transform(part) for part in parts])

    def _decoded(self, latents: Tensor) -> Tensor:
        images = self._synthesised(latents)
        return images if self.deblocking is None else self.deblocking(images)

    def _analysed(self, images: Tensor) -> Tensor:
        patch, basis = self.patch_size, self.analysis.to(images)
        pixels = self._across_seams(images - 1)
        # As products of matrices, several times as fast as convolutions with this stride.
        patches = [F.pixel_unshuffle(part, patch) for part in self._rows(pixels, patch)]
        return torch.cat([_product(basis.flatten(1), part) for part in patches], -2)

    def _synthesised(self, latents: Tensor) -> Tensor:
        patch, basis = self.patch_size, self.synthesis.to(latents)
        patches = [_product(basis.flatten(1).T, part) for part in self._rows(latents, 1)]
        pixels = torch.cat([F.pixel_shuffle(part, patch) for part in patches], -2)
        return self._across_seams(pixels, undo=True) + 1

    def _rows(self, grid: Tensor, height: int) -> Sequence[Tensor]:
        """Cut into strips of whole patches, each of so many rows of the grid, under tiling."""
        return grid.split(_ROWS_AT_ONCE * height, -2) if self.use_tiling else [grid]

    def _across_seams(self, pixels: Tensor, undo: bool = False) -> Tensor:
        """Rotate the pixels around each seam, along both axes, or turn them back."""
        if not self.overlap:
            return pixels
        matrix = self.seam.to(pixels).T if undo else self.seam.to(pixels)
        return _rotated(_rotated(pixels, matrix).mT, matrix).mT

    def forward(self, sample: Tensor) -> Tensor:
        """Encode and decode."""
        return self.decode(self.encode(sample).latent_dist.mode()).sample


def _product(matrix: Tensor, grid: Tensor) -> Tensor:
    """Multiply a matrix with every pixel of a grid ``[B, C, h, w]``."""
    return torch.einsum("dc,bchw->bdhw", matrix, grid)


def _dct_matrix(size: int) -> Tensor:
    """Return the orthonormal DCT-II matrix ``[frequency, position]``, float64."""
    position = torch.arange(size, dtype=torch.float64) + 0.5
    matrix = torch.cos(
        math.pi / size * torch.outer(torch.arange(size, dtype=torch.float64), position)
    )
    matrix[0] /= math.sqrt(2)
    return matrix * math.sqrt(2 / size)


def _seam_matrix(size: int) -> Tensor:
    """Return the orthonormal rotation ``[size, size]`` of the pixels around a seam, half of them to
    its left.

    It keeps their even part and turns the odd one by ``C_II' S_IV``, transforms of half the size,
    which makes the DCT that follows Malvar's fast lapped transform (1992, section 4.4).
    """
    half = size // 2
    position = torch.arange(half, dtype=torch.float64) + 0.5
    sine = torch.sin(math.pi / half * torch.outer(position, position)) * math.sqrt(2 / half)
    one, odd = torch.eye(half, dtype=torch.float64), _dct_matrix(half).T @ sine
    fold = torch.cat([torch.cat([one, one.flip(0)], 1), torch.cat([one.flip(0), -one], 1)])
    return fold @ torch.block_diag(one, odd) @ fold / 2


def _rotated(pixels: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the ``size`` pixels of ``[..., W]`` around each seam by a matrix."""
    size = len(matrix)
    if pixels.shape[-1] == size:
        return pixels
    left, inner, right = pixels.tensor_split((size // 2, pixels.shape[-1] - size // 2), -1)
    turned = inner.unflatten(-1, (-1, size)) @ matrix.T
    return torch.cat([left, turned.flatten(-2), right], -1)
