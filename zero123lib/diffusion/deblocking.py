"""A small learned filter behind a transform of blocks, which takes away their edges.

What a model gets wrong in one block of a transform it does not get wrong in the next, so their
borders show as a grid. Video coders filter it away where they decode (List et al. 2003, "Adaptive
deblocking filter"); this one is learned, after Dong et al. 2015 ("Compression artifacts reduction
by a deep convolutional network"): a few convolutions add to the image what is missing. They work
on cells of 4 x 4 pixels, and know where in its block a cell lies.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zero123lib._errors import ArgumentError

# Side of the cells of pixels that become one, of as many channels as they have values.
CELL_PX = 4


class DeblockingFilter(nn.Module):
    """Add to an image what four convolutions make of it; nothing at all before training.

    Args:
        block_size: side of a block, pixels; a multiple of 4.
        channels: of the convolutions.

    Raises:
        ArgumentError: blocks are not of whole cells.
    """

    def __init__(self, block_size: int, channels: int) -> None:
        super().__init__()
        if block_size % CELL_PX:
            raise ArgumentError("block_size", f"a multiple of {CELL_PX}", str(block_size))
        self.block_size = block_size
        cells, values = block_size // CELL_PX, 3 * CELL_PX**2
        self.place = nn.Parameter(torch.zeros(1, channels, cells, cells))
        self.conv_in = nn.Conv2d(values, channels, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.conv_out = nn.Conv2d(channels, values, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> Tensor:
        """Filter images ``[B, 3, H, W]`` around white, 1; H and W are whole blocks."""
        cells = F.pixel_unshuffle(images - 1, CELL_PX)
        across = [cells.shape[axis] // self.place.shape[axis] for axis in (-2, -1)]
        hidden = self.conv_in(cells) + self.place.repeat(1, 1, *across)
        for block in self.blocks:
            hidden = hidden + block(F.silu(hidden))
        return images + F.pixel_shuffle(self.conv_out(F.silu(hidden)), CELL_PX)
