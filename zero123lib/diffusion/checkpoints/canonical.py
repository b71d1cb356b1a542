"""The one form that every checkpoint is read into: empty networks, and where their weights lie.

A *part* is one network of the pipeline. It is made on torch's meta device, without memory, from
its config; its weights are named as the network names them, and read from their file one by one
when something asks for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from zero123lib.diffusion.checkpoints.errors import (
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from zero123lib.diffusion.checkpoints.limits import brief, network_config, scheduler_config
from zero123lib.diffusion.checkpoints.named import Layout
from zero123lib.diffusion.model import CameraProjection
from zero123lib.diffusion.patches import PatchAutoencoder

# The networks of a pipeline, and the classes that each may be.
NETWORKS: dict[str, tuple[type[Any], ...]] = {
    "unet": (UNet2DConditionModel,),
    "vae": (AutoencoderKL, PatchAutoencoder),
    "image_encoder": (CLIPVisionModelWithProjection,),
    "camera_projection": (CameraProjection,),
}


@dataclass(frozen=True, eq=False)
class Part:
    """One network without memory, and its weights by the network's own names for them."""

    network: nn.Module
    weights: Mapping[str, Tensor]

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Return the shape of each weight that the network has, by name, in its order."""
        return {name: weight.shape for name, weight in self.network.state_dict().items()}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A whole model, unread.

    Attributes:
        source: the file or folder.
        parts: one per name of :data:`NETWORKS`.
        scheduler: a diffusers scheduler.
        settings: what the file says of the pipeline's own settings, such as ``encoding``.
        notices: what the user should know of how it was read.
        layout: of the files.
    """

    source: Path
    parts: dict[str, Part]
    scheduler: Any
    settings: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    layout: Layout = "diffusers"


def empty_network(name: str, config: Mapping[str, Any], source: Path) -> nn.Module:
    """Return the network of a part, on the meta device, in evaluation mode.

    Args:
        name: one of :data:`NETWORKS`.
        config: as its folder's ``config.json`` has it; ``_class_name`` picks the class where
            there is a choice.
        source: what error messages name.

    Raises:
        UnsupportedCheckpointError: the config is of a class that no Zero123 model has.
        MismatchedCheckpointError: the config makes no network, or one beyond all sense.
    """
    classes = {kind.__name__: kind for kind in NETWORKS[name]}
    wanted = config.get("_class_name", next(iter(classes)))
    # A projection's class has another name in every published port; its layer is the same.
    kind = NETWORKS[name][0] if len(classes) == 1 else None
    if isinstance(wanted, str):
        kind = classes.get(wanted, kind)
    if kind is None or (name == "unet" and wanted != kind.__name__):
        raise UnsupportedCheckpointError(
            "source", f"{name} to be {' or '.join(classes)}", f"{brief(wanted)} in {str(source)!r}"
        )
    arguments = network_config(name, kind, config, source)
    try:
        with init_empty_weights(include_buffers=False):
            if kind is CLIPVisionModelWithProjection:
                # An implementation that is named needs no look-up, and runs no code of the Hub.
                arguments["attn_implementation"] = "sdpa"
                return kind(CLIPVisionConfig(**arguments)).eval()
            return kind.from_config(arguments).eval()
    except Exception as error:  # whatever a constructor says of its arguments
        raise _unmade(name, source, error) from error


def check_fit(parts: Mapping[str, Part], source: Path) -> None:
    """Raise MismatchedCheckpointError unless the four networks fit together.

    Args:
        parts: one per name of :data:`NETWORKS`.
        source: what error messages name.
    """
    networks: list[Any] = [parts[name].network for name in NETWORKS]
    unet, vae, clip, projection = (network.config for network in networks)
    width, latents = clip.projection_dim, unet["out_channels"]
    vae_in, vae_out = vae.get("in_channels", 3), vae.get("out_channels", 3)
    for fits, wanted, got in (
        (
            (projection["embedding_dim"], projection["additional_embeddings"]) == (width, 4),
            f"a camera projection from {width} + 4 numbers to {width}, the width of CLIP's",
            f"{projection['embedding_dim']} + {projection['additional_embeddings']} numbers "
            f"to {projection['embedding_dim']}",
        ),
        (
            unet["cross_attention_dim"] == width,
            f"a UNet whose context is {width} wide, as CLIP's embedding is",
            brief(unet["cross_attention_dim"]),
        ),
        (
            unet["in_channels"] == 2 * latents,
            f"a UNet of {2 * latents} channels, twice the {latents} that come out",
            unet["in_channels"],
        ),
        (
            vae["latent_channels"] == latents,
            f"a VAE of {latents} latent channels, as the UNet has",
            vae["latent_channels"],
        ),
        (
            (vae_in, vae_out, clip.num_channels) == (3, 3, 3),
            "VAE and CLIP of images with 3 channels",
            f"{vae_in} and {vae_out}, and {clip.num_channels}",
        ),
        (
            isinstance(unet["sample_size"], int),
            "a UNet whose sample_size is a whole number",
            brief(unet["sample_size"]),
        ),
    ):
        if not fits:
            raise MismatchedCheckpointError("source", wanted, f"{got} in {str(source)!r}")


def make_scheduler(config: Mapping[str, Any], source: Path) -> Any:
    """Return a diffusers scheduler from its config, which names its class.

    Raises:
        UnsupportedCheckpointError: diffusers has no scheduler of that name, or one without betas.
        MismatchedCheckpointError: the config makes no such scheduler, or one whose noise DDIM's,
            which stands for all, would not have with the same config.
    """
    name = config.get("_class_name", "DDIMScheduler")
    kind = None
    if isinstance(name, str) and name.endswith("Scheduler"):
        kind = getattr(diffusers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)):
        raise UnsupportedCheckpointError(
            "source", "one of diffusers' schedulers", f"{brief(name)} in {str(source)!r}"
        )
    arguments = scheduler_config(kind, config, source)
    try:
        scheduler: Any = kind.from_config(arguments)  # pyright: ignore[reportAttributeAccessIssue]
        # What DDIM makes of all of the config is what models use; of what this class has of it, the
        # same must come out, or the class means something else by its betas.
        ddim: Any = diffusers.DDIMScheduler
        own = {
            key: arguments[key] for key in signature(kind.__init__).parameters if key in arguments
        }
        noise, expected, used = (
            one.alphas_cumprod.double()
            for one in (scheduler, ddim.from_config(own), ddim.from_config(dict(scheduler.config)))
        )
        if not torch.allclose(noise, expected, atol=1e-6) or not used.isfinite().all():
            raise ValueError("its noise is not that of its betas")
    except Exception as error:  # whatever a constructor says of its arguments
        raise _unmade(name, source, error) from error
    return scheduler


def _unmade(name: str, source: Path, error: Exception) -> MismatchedCheckpointError:
    reason = " ".join(str(error).split())[:300]
    return MismatchedCheckpointError(
        "source", f"a config that makes {name}", f"{str(source)!r}: {reason}"
    )
