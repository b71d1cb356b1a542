"""The network of FID: Inception v3 of 2015-12-05, as the package pytorch-fid has it in torch.

Szegedy et al. 2016, figures 5 to 7, with two departures of the network that the published numbers
are by: averages leave out the padding, and the last block pools maxima where others average.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from zero123lib._errors import ArgumentError
from zero123lib._networks import put
from zero123lib.diffusion.checkpoints.errors import CheckpointError
from zero123lib.diffusion.checkpoints.weights import open_tensors

FEATURES, SIDE_PX = 2048, 299
# The published file, which torch-fidelity has under another name, says its digest in its name.
PUBLISHED_DIGEST = "6726825d"
INCEPTION_FILES = (
    f"Inception's weights for FID: pt_inception-2015-12-05-{PUBLISHED_DIGEST}.pth of pytorch-fid, "
    "or the same weights as safetensors"
)
_MAX_BYTES = 200 * 2**20  # the published file has 96 MB


@dataclass(frozen=True)
class Layer:
    """A convolution's name, its channels out, its kernel (height, width) and its stride."""

    name: str
    out: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


# Steps one after the other, each of convolutions side by side.
Branch = tuple[tuple[Layer, ...], ...]


def _chain(*layers: Layer) -> Branch:
    return tuple((layer,) for layer in layers)


class Convolution(nn.Module):
    """A convolution without bias, normalised by the statistics of training, then a ReLU."""

    def __init__(self, inside: int, layer: Layer, padded: bool = True) -> None:
        super().__init__()
        same = padded and layer.stride == 1
        padding = (layer.kernel[0] // 2, layer.kernel[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(inside, layer.out, layer.kernel, layer.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(layer.out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``[B, out, h, w]``."""
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """A block of branches side by side, the last of which begins by pooling.

    Args:
        inside: channels.
        branches: their convolutions; one without any passes on what it gets.
        pooled: how the last branch begins: "mean" and "max" of 3 x 3, or "halved", maxima at every
            second pixel.
    """

    def __init__(self, inside: int, branches: Sequence[Branch], pooled: str) -> None:
        super().__init__()
        self.branches, self.pooled, self.channels = branches, pooled, 0
        for branch in branches:
            channels = inside
            for step in branch:
                for layer in step:
                    self.add_module(layer.name, Convolution(channels, layer))
                channels = sum(layer.out for layer in step)
            self.channels += channels

    def forward(self, x: Tensor) -> Tensor:
        """Compute all branches of ``[B, inside, H, W]``, one behind the other."""
        found = []
        for branch in self.branches:
            y = self._pool(x) if branch is self.branches[-1] else x
            for step in branch:
                y = torch.cat([self.get_submodule(layer.name)(y) for layer in step], 1)
            found.append(y)
        return torch.cat(found, 1)

    def _pool(self, x: Tensor) -> Tensor:
        if self.pooled == "mean":
            return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        stride, padding = (2, 0) if self.pooled == "halved" else (1, 1)
        return functional.max_pool2d(x, 3, stride, padding)


_ACROSS, _DOWN, _SQUARE = (1, 7), (7, 1), (3, 3)
_DOUBLE = (Layer("branch3x3dbl_1", 64), Layer("branch3x3dbl_2", 96, _SQUARE))


def _fine(pooled: int) -> list[Branch]:
    """Szegedy et al. 2016, figure 5."""
    return [
        _chain(Layer("branch1x1", 64)),
        _chain(Layer("branch5x5_1", 48), Layer("branch5x5_2", 64, (5, 5))),
        _chain(*_DOUBLE, Layer("branch3x3dbl_3", 96, _SQUARE)),
        _chain(Layer("branch_pool", pooled)),
    ]


def _middle(width: int) -> list[Branch]:
    """Szegedy et al. 2016, figure 6, n = 7."""
    return [
        _chain(Layer("branch1x1", 192)),
        _chain(
            Layer("branch7x7_1", width),
            Layer("branch7x7_2", width, _ACROSS),
            Layer("branch7x7_3", 192, _DOWN),
        ),
        _chain(
            Layer("branch7x7dbl_1", width),
            Layer("branch7x7dbl_2", width, _DOWN),
            Layer("branch7x7dbl_3", width, _ACROSS),
            Layer("branch7x7dbl_4", width, _DOWN),
            Layer("branch7x7dbl_5", 192, _ACROSS),
        ),
        _chain(Layer("branch_pool", 192)),
    ]


def _coarse() -> list[Branch]:
    """Szegedy et al. 2016, figure 7."""

    def both(name: str) -> tuple[Layer, ...]:
        return Layer(f"{name}a", 384, (1, 3)), Layer(f"{name}b", 384, (3, 1))

    return [
        _chain(Layer("branch1x1", 320)),
        (*_chain(Layer("branch3x3_1", 384)), both("branch3x3_2")),
        (
            *_chain(Layer("branch3x3dbl_1", 448), Layer("branch3x3dbl_2", 384, _SQUARE)),
            both("branch3x3dbl_3"),
        ),
        _chain(Layer("branch_pool", 192)),
    ]


_HALVING_FINE = [
    _chain(Layer("branch3x3", 384, _SQUARE, 2)),
    _chain(*_DOUBLE, Layer("branch3x3dbl_3", 96, _SQUARE, 2)),
    _chain(),
]
_HALVING_MIDDLE = [
    _chain(Layer("branch3x3_1", 192), Layer("branch3x3_2", 320, _SQUARE, 2)),
    _chain(
        Layer("branch7x7x3_1", 192),
        Layer("branch7x7x3_2", 192, _ACROSS),
        Layer("branch7x7x3_3", 192, _DOWN),
        Layer("branch7x7x3_4", 192, _SQUARE, 2),
    ),
    _chain(),
]
# What precedes the blocks, with whether it is padded and whether maxima follow.
_STEM = (
    (Layer("Conv2d_1a_3x3", 32, _SQUARE, 2), False, False),
    (Layer("Conv2d_2a_3x3", 32, _SQUARE), False, False),
    (Layer("Conv2d_2b_3x3", 64, _SQUARE), True, True),
    (Layer("Conv2d_3b_1x1", 80), False, False),
    (Layer("Conv2d_4a_3x3", 192, _SQUARE), False, True),
)
_BLOCKS = (
    ("Mixed_5b", _fine(32), "mean"),
    ("Mixed_5c", _fine(64), "mean"),
    ("Mixed_5d", _fine(64), "mean"),
    ("Mixed_6a", _HALVING_FINE, "halved"),
    ("Mixed_6b", _middle(128), "mean"),
    ("Mixed_6c", _middle(160), "mean"),
    ("Mixed_6d", _middle(160), "mean"),
    ("Mixed_6e", _middle(192), "mean"),
    ("Mixed_7a", _HALVING_MIDDLE, "halved"),
    ("Mixed_7b", _coarse(), "mean"),
    ("Mixed_7c", _coarse(), "max"),
)


class Inception(nn.Module):
    """Inception v3 up to its last average, with the parameters' names of the published file."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for layer, padded, _ in _STEM:
            self.add_module(layer.name, Convolution(channels, layer, padded))
            channels = layer.out
        for name, branches, pooled in _BLOCKS:
            block = Mixed(channels, branches, pooled)
            channels = block.channels
            self.add_module(name, block)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the features ``[B, 2048]`` of images ``[B, 3, H, W]`` in [0, 1].

        They are resized as pytorch-fid does: bilinear, without antialias.
        """
        side = (SIDE_PX, SIDE_PX)
        x = 2 * functional.interpolate(images, side, mode="bilinear", align_corners=False) - 1
        for layer, _, pooled in _STEM:
            x = self.get_submodule(layer.name)(x)
            x = functional.max_pool2d(x, 3, 2) if pooled else x
        for name, _, _ in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def load_inception(path: Path) -> Inception:
    """Load the network with the weights of a file, frozen, float32, on the CPU.

    Args:
        path: the published file, or safetensors with its names; of the last layer, which FID does
            not need, nothing is asked. Nothing in it is run: archives are read as data, and what
            torch saved before 1.6, as the published file may be, by ``weights_only=True``.

    Raises:
        ArgumentError: ``path`` is no such file.
    """
    try:
        if not path.is_file() or not 0 < path.stat().st_size <= _MAX_BYTES:
            raise ValueError("which is no file of such a size")
        network, held = Inception(), _read(path)
        wanted = network.state_dict()
        for name, like in wanted.items():
            if name.endswith("num_batches_tracked"):
                continue
            if name not in held or held[name].shape != like.shape:
                raise ValueError(f"without {name} of shape {list(like.shape)}")
            if not held[name].isfinite().all():
                raise ValueError(f"where {name} is not finite")
            wanted[name] = held[name].float()
        network.load_state_dict(wanted)
    except CheckpointError as error:
        raise ArgumentError("inception", INCEPTION_FILES, error.got) from error
    except Exception as error:  # readers of pickles meet damaged ones with errors of any type
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("inception", INCEPTION_FILES, f"{str(path)!r} ({reason})") from error
    return put(network)


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as stream:
        old = stream.read(2) == b"\x80\x02"
    if old and not zipfile.is_zipfile(path):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:  # whose text tells how to run it all the same
            raise ValueError("a pickle of more than tensors, of which nothing was run") from error
    return dict(open_tensors(path))
