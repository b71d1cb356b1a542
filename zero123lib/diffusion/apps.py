"""What the command line and the page have in common: load a model, ask, make views, tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from zero123lib import __version__, upscaling
from zero123lib._choices import Consistency, Speed
from zero123lib._errors import ArgumentError
from zero123lib.diffusion.consistency import consistent_views
from zero123lib.diffusion.devices import pick_device
from zero123lib.diffusion.outputs import is_own_camera, photo_of
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import SampleStep
from zero123lib.diffusion.speed import tier_of
from zero123lib.views.cutout import networks_of
from zero123lib.views.images import Prepared, to_pils
from zero123lib.views.poses import Pose, RelativePose, camera_label


def load_pipeline(
    model: str,
    device: str = "auto",
    encoding: str = "auto",
    original_config: str | Path | None = None,
    speed: Speed = "exact",
) -> Zero123Pipeline:
    """Load a pipeline onto a device.

    Args:
        model: the ``source`` of :meth:`Zero123Pipeline.from_pretrained`.
        device: see :func:`zero123lib.diffusion.devices.pick_device`.
        encoding, original_config: as there.
        speed: for which the UNet's weights are taken in the precision that it multiplies in.

    Raises:
        ValueError: no such model or device; the message names the argument.
    """
    place = pick_device(device)
    narrow = tier_of(speed).precision(place)
    dtypes = None if narrow is None else {"unet": narrow, "default": torch.float32}
    try:
        pipe = Zero123Pipeline.from_pretrained(
            model, original_config, cast(Any, encoding), torch_dtype=dtypes, device=place
        )
    except ArgumentError as error:
        if error.name != "source":
            raise
        raise error.renamed("model") from error
    pipe.set_progress_bar_config(disable=None, leave=False)  # None: none where stderr is a file
    return pipe


def needs_input_elevation(pipe: Zero123Pipeline) -> bool:
    """Tell whether the model is conditioned on the elevation of the image's own camera."""
    return pipe.config["encoding"] == "stable-zero123"


def check_input_elevation(
    pipe: Zero123Pipeline, elevation_deg: float | None, argument: str
) -> None:
    """Ask for the elevation of the image's camera where the model needs it.

    Args:
        elevation_deg: what was given.
        argument: what the app calls it.

    Raises:
        ValueError: the model needs it and there is none.
    """
    if elevation_deg is None and needs_input_elevation(pipe):
        raise ArgumentError(
            argument,
            "the elevation of the camera that took the image, in degrees, as the "
            f"model {pipe.model_name} is conditioned on it",
            "none",
        )


def bundled_networks(method: str | None, upscale: int = 1) -> list[str]:
    """Name the bundled networks that an image passed through beside the model, with licences.

    Args:
        method: how it was cut out, see :class:`zero123lib.views.cutout.CutOut`.
        upscale: how many times it was enlarged.
    """
    return networks_of(method) + ([upscaling.NAME] if upscale > 1 else [])


def made_by(
    pipe: Zero123Pipeline, prepared: Prepared, source: Pose, **asked: Any
) -> dict[str, Any]:
    """Say how views came about, for transforms.json; ``asked`` are the settings in JSON's types."""
    upscale = asked.get("upscale", 1)
    photo = _own_view_is_photo(prepared, upscale)
    return {
        "program": f"zero123lib {__version__}",
        "model": pipe.model_name,
        "model_licence": pipe.licence,
        "cut_out": prepared.method,
        "networks": bundled_networks(prepared.method, upscale),
        "own_camera": "photo" if photo else "model",  # whose a view at the image's camera is
        "input_elevation_deg": source.elevation_deg,
        "input_radius": source.radius,
        **asked,
    }


def view_labels(prepared: Prepared, poses: Sequence[RelativePose], upscale: int = 1) -> list[str]:
    """Name views by their cameras; one that is the photo and no model's says so."""
    photo = _own_view_is_photo(prepared, upscale)
    return [
        camera_label(pose) + (" · the photo" if photo and is_own_camera(pose) else "")
        for pose in poses
    ]


def _own_view_is_photo(prepared: Prepared, upscale: int) -> bool:
    return upscale > 1 and photo_of(prepared) is not None


def sampled_views(
    pipe: Zero123Pipeline,
    prepared: Prepared | Sequence[Prepared],
    poses: Sequence[RelativePose],
    on_step: Callable[[SampleStep], Any],
    consistency: Consistency = "none",
    **options: Any,
) -> list[Image.Image]:
    """Make one view per pose. Nothing of the pipeline changes, so calls may run side by side.

    Args:
        prepared: one photo, or several, whose cameras are the option ``input_poses``.
        on_step: told of every finished step; with "viewfusion" every view has its own.
        consistency: see :mod:`zero123lib.diffusion.consistency`.
        **options: of :meth:`Zero123Pipeline.views`.
    """
    photos = [prepared] if isinstance(prepared, Prepared) else prepared
    conditions = [pipe.encode(one) for one in photos]
    return to_pils(
        consistent_views(pipe, conditions, poses, consistency, on_step=on_step, **options)
    )
