"""Which weights made the views: digests for reports, and for what is known already."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from zero123lib._versions import versions
from zero123lib.diffusion.pipeline import Zero123Pipeline


def weights_digest(pipe: Zero123Pipeline) -> str:
    """Return the SHA-256 of all weights: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, component in _networks(pipe):
        for key, value in sorted(component.state_dict().items()):
            raw = value.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(f"{name} {key} {value.dtype} {list(value.shape)}".encode())
            digest.update(memoryview(raw.numpy()))
    return digest.hexdigest()


def weights_fingerprint(pipe: Zero123Pipeline) -> str:
    """Return a digest of what a pipeline's images depend on: weights, configs, device, versions."""
    about = f"{pipe.device.type} {pipe.config['encoding']} {versions()} {weights_digest(pipe)}"
    configs = [f"{name} {component.config}" for name, component in sorted(pipe.components.items())]
    return hashlib.sha256("\n".join([about, *configs]).encode()).hexdigest()


def _networks(pipe: Zero123Pipeline) -> list[tuple[str, torch.nn.Module]]:
    components: dict[str, Any] = pipe.components
    return [(n, one) for n, one in sorted(components.items()) if isinstance(one, torch.nn.Module)]
