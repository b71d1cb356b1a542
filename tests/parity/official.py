"""The official Zero-1-to-3 code, made to run where its environment cannot be installed.

It comes from a clone of https://github.com/cvlab-columbia/zero123, and needs `omegaconf`,
`einops` and `openai-clip` (the last without its dependencies) on the Python path. All else that it
imports on the way to sampling, and does not use there, is replaced by empty stand-ins. So are its
two ties to a machine: CLIP's download, and the sampler's move of its constants to CUDA.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ABSENT = (
    "carvekit.api.high",
    "clip",
    "cv2",
    "diffusers.pipelines.stable_diffusion",
    "fire",
    "gradio",
    "kornia.augmentation",
    "lovely_numpy",
    "lovely_tensors",
    "matplotlib.pyplot",
    "plotly.express",
    "plotly.graph_objects",
    "pytorch_lightning.utilities.distributed",
    "rich",
    "taming.modules.vqvae.quantize",
    "torchvision.transforms",
    "torchvision.utils",
    "transformers",
)


@dataclass(frozen=True)
class ClipSizes:
    """Of the image tower: what tells OpenAI's models apart."""

    width: int
    layers: int
    patch_size: int
    vocabulary: int
    text_width: int


VIT_L_14 = ClipSizes(width=1024, layers=24, patch_size=14, vocabulary=49408, text_width=768)
SMALL_CLIP = ClipSizes(width=128, layers=2, patch_size=32, vocabulary=96, text_width=64)


@dataclass(frozen=True)
class Official:
    """The official code's own classes and functions."""

    model_from_config: Callable[[Any], Any]
    sampler: type
    sample_model: Callable[..., Tensor]


class _Nothing(nn.Module):
    """Stands for any class or function that is imported and not used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()


class _StandIn(ModuleType):
    """A module, and a package, of which every name is :class:`_Nothing`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing


class _LightningModule(nn.Module):
    """What sampling uses of Lightning's."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device


def load(clone: Path, clip_sizes: ClipSizes) -> Official:
    """Import the code of a clone, `clone/zero123/...`, into this process, for good."""
    for name in _ABSENT:
        _stand_in(name)
    sys.modules["pytorch_lightning"].__dict__["LightningModule"] = _LightningModule
    distributed = sys.modules["pytorch_lightning.utilities.distributed"]
    distributed.__dict__["rank_zero_only"] = lambda function: function
    sys.modules["kornia"].__dict__.update(
        geometry=_namespace(resize=_resize), enhance=_namespace(normalize=_normalize)
    )
    sys.modules["clip"].__dict__.update(
        __path__=_locations("clip"), load=lambda **kwargs: (_clip(clip_sizes), None)
    )
    sys.path.insert(0, str(clone / "zero123"))
    ddim: Any = importlib.import_module("ldm.models.diffusion.ddim")
    demo: Any = importlib.import_module("gradio_new")
    ddim.DDIMSampler.register_buffer = lambda self, name, value: setattr(self, name, value)
    return Official(demo.instantiate_from_config, ddim.DDIMSampler, demo.sample_model)


def _stand_in(name: str) -> None:
    """Put it and the packages above it into `sys.modules`, hiding any that are installed."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        module = sys.modules.get(full)
        if not isinstance(module, _StandIn):
            module = sys.modules[full] = _StandIn(full)
        if count > 1:
            setattr(sys.modules[full.rpartition(".")[0]], parts[count - 1], module)


def _locations(package: str) -> list[str]:
    """Where an installed package lies, found without running its `__init__`."""
    hidden = sys.modules.pop(package)
    spec = importlib.util.find_spec(package)
    sys.modules[package] = hidden
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"expected the package {package!r} on the Python path")
    return list(spec.submodule_search_locations)


def _namespace(**functions: Callable[..., Tensor]) -> ModuleType:
    module = ModuleType("namespace")
    module.__dict__.update(functions)
    return module


def _resize(x: Tensor, size: tuple, interpolation: str, align_corners: bool, antialias: bool):
    """kornia's, which without antialias is torch's."""
    assert not antialias, "the official default"
    return F.interpolate(x, size, mode=interpolation, align_corners=align_corners)


def _normalize(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return (x - mean[:, None, None]) / std[:, None, None]


def _clip(sizes: ClipSizes) -> nn.Module:
    """OpenAI's class, in float32 as on a CPU; its text tower, which is dropped, of one layer."""
    model: Any = importlib.import_module("clip.model")
    return model.CLIP(
        embed_dim=768,
        image_resolution=224,
        vision_layers=sizes.layers,
        vision_width=sizes.width,
        vision_patch_size=sizes.patch_size,
        context_length=77,
        vocab_size=sizes.vocabulary,
        transformer_width=sizes.text_width,
        transformer_heads=sizes.text_width // 64,
        transformer_layers=1,
    ).eval()
