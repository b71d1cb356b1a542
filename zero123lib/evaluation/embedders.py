"""Networks that turn images into feature vectors, for CLIP similarity and FID.

Their weights do not come along: CLIP's are a folder of transformers, Inception's the file of FID.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.checkpoints.build import fill
from zero123lib.diffusion.checkpoints.canonical import Checkpoint, Part, empty_network
from zero123lib.diffusion.checkpoints.errors import CheckpointError
from zero123lib.diffusion.checkpoints.parts import weight_files
from zero123lib.diffusion.checkpoints.weights import open_tensors
from zero123lib.diffusion.model import CLIP_MEAN, CLIP_STD
from zero123lib.evaluation.inception import FEATURES, PUBLISHED_DIGEST, load_inception
from zero123lib.lpips import file_digest
from zero123lib.views.eight_bits import to_uint8

CLIP_FOLDER = (
    "a folder of transformers' CLIPModel or CLIPVisionModelWithProjection: config.json and weights"
)
_PART = "image_encoder"
_BATCH = 16


@dataclass(frozen=True)
class Embedder:
    """A network with its weights.

    Attributes:
        kind: whose features they are.
        about: which network it is, in a few words.
        digest: SHA-256 of its weights' files.
        width: of a vector.
        network: features ``[B, width]`` of images ``[B, 3, H, W]`` in [0, 1].
    """

    kind: Literal["clip", "inception"]
    about: str
    digest: str
    width: int
    network: Callable[[Tensor], Tensor]

    def embed(self, images: Tensor) -> Tensor:
        """Compute the features ``[N, width]``, float32, of images ``[N, 3, H, W]`` in [0, 1]."""
        with torch.inference_mode():
            found = [self.network(part.float()).float() for part in images.split(_BATCH)]
        return torch.cat(found).clone()


def inception_embedder(path: Path) -> Embedder:
    """Load the network of FID with the weights of a file.

    Raises:
        ArgumentError: ``inception`` is no such file, see
            :func:`zero123lib.evaluation.inception.load_inception`.
    """
    network, digest = load_inception(path), file_digest(path)
    known = (
        "the published file" if digest.startswith(PUBLISHED_DIGEST) else "not the published file"
    )
    return Embedder("inception", f"Inception v3, {known}", digest, FEATURES, network)


def clip_embedder(folder: Path) -> Embedder:
    """Load CLIP's image tower with its projection, of safetensors or pickles, which are not run.

    Args:
        folder: of transformers: ``CLIPModel``'s, or ``CLIPVisionModelWithProjection``'s, which is
            what ``image_encoder`` is in a folder of Zero123.

    Raises:
        ArgumentError: ``clip`` is no such folder.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        # CLIPModel's has one for each tower, and the width that both project to beside them.
        tower = config.get("vision_config", config)
        if "vision_config" in config:
            tower = {**tower, "projection_dim": config.get("projection_dim", 512)}
        network: Any = empty_network(_PART, tower, folder)
        files = weight_files(_PART, [one.name for one in folder.iterdir()], None, folder)
        held = {k: v for file in files for k, v in open_tensors(folder / file).items()}
        seen = {k: v for k, v in held.items() if k.startswith(("vision_model.", "visual_proj"))}
        seen = {k: v for k, v in seen.items() if not k.endswith(".position_ids")}
        filled: Any = fill(Checkpoint(folder, {_PART: Part(network, seen)}, None, {}), _PART)
    except CheckpointError as error:
        raise ArgumentError("clip", CLIP_FOLDER, error.got) from error
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArgumentError("clip", CLIP_FOLDER, f"{str(folder)!r} ({reason})") from error
    digest = hashlib.sha256("".join(file_digest(folder / file) for file in files).encode())
    about = f"CLIP, {_size(filled.config)}"
    filled.requires_grad_(False)

    def features(images: Tensor) -> Tensor:
        return filled(clip_input(images, filled.config.image_size)).image_embeds

    width = filled.config.projection_dim
    return Embedder("clip", about, digest.hexdigest(), width, features)


def clip_input(images: Tensor, side: int) -> Tensor:
    """Prepare images ``[B, 3, H, W]`` in [0, 1] as CLIP's own preprocessing does.

    Of 8 bits, the shorter side resized to ``side`` by Pillow's bicubic filter, the middle cut out,
    CLIP's mean and deviation.
    """
    prepared = []
    for pixels in to_uint8(images.movedim(1, -1)).numpy(force=True):
        image = Image.fromarray(pixels)
        wide, high = (int(side * length / min(image.size)) for length in image.size)
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = round((wide - side) / 2), round((high - side) / 2)
        prepared.append(np.asarray(image.crop((left, top, left + side, top + side))))
    cut = torch.from_numpy(np.stack(prepared)).movedim(-1, 1).float() / 255
    mean, deviation = (torch.tensor(one)[:, None, None] for one in (CLIP_MEAN, CLIP_STD))
    return (cut - mean) / deviation


def _size(config: Any) -> str:
    """Name the tower as CLIP's authors do, where it is one of theirs."""
    letters = {(768, 12): "B", (1024, 24): "L", (1280, 32): "H"}
    letter = letters.get((config.hidden_size, config.num_hidden_layers))
    if letter is None:
        return f"a tower {config.hidden_size} wide with {config.num_hidden_layers} layers"
    return f"ViT-{letter}/{config.patch_size}"
