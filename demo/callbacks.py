"""What the app does with a picture. No request leaves anything behind for the next one.

The pipeline is shared and only read: sampling is its generator of steps, whose state is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import torch
from PIL import Image

from demo import SPACES, inputs
from demo.settings import (
    DEFAULT_AZIMUTHS,
    GPU_SECONDS,
    MAX_GUIDANCE,
    MAX_SEED,
    MAX_STEPS,
    MAX_ZOOM,
)
from zero123lib.diffusion.apps import check_input_elevation, sampled_views
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.samplers import SampleStep
from zero123lib.views.poses import RelativePose, camera_label, orbit, preset_pose

Gallery = list[tuple[Image.Image, str]]


def make_views(pipe: Zero123Pipeline) -> Callable[..., Gallery]:
    """The function behind the button and the endpoint `/views`."""

    def views(
        image: dict[str, Any] | None,
        azimuths: str = DEFAULT_AZIMUTHS,
        elevation: float = 0.0,
        zoom: float = 0.0,
        guidance_scale: float = pipe.config["guidance_scale"],
        steps: int = pipe.config["num_inference_steps"],
        seed: int = 0,
        input_elevation: str | float | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for one)
    ) -> Gallery:
        """Show the object in a picture from other cameras, one view per azimuth.

        Args:
            image: PNG, JPEG or WebP picture of one object, best on a transparent background.
            azimuths: degrees to the right of the picture's camera, separated by commas.
            elevation: degrees above the picture's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the picture; 1 is no guidance.
            steps: denoising steps.
            seed: of the noise; the same seed gives the same views.
            input_elevation: of the picture's camera, degrees, for a model that asks for it.

        Returns:
            The views, in the order of the azimuths.
        """
        with one_line_errors():
            up = inputs.number("elevation", elevation, -90.0, 90.0)
            farther = inputs.number("zoom", zoom, -MAX_ZOOM, MAX_ZOOM)
            poses = [RelativePose(up, angle, farther) for angle in inputs.azimuths(azimuths)]
            input_up = inputs.number_or_none("input_elevation", input_elevation, -90.0, 90.0)
            check_input_elevation(pipe, input_up, "input_elevation")
            options = {
                "num_inference_steps": inputs.whole("steps", steps, 1, MAX_STEPS),
                "guidance_scale": inputs.number(
                    "guidance_scale", guidance_scale, 0.0, MAX_GUIDANCE
                ),
                "generator": torch.Generator().manual_seed(inputs.whole("seed", seed, 0, MAX_SEED)),
                "condition_elevation_deg": input_up,
            }
            progress(0.0, desc="Cutting the object out")
            prepared = pipe.prepare(inputs.picture(image))
            notice = pipe.notice(prepared)
            if notice:
                gr.Warning(notice)

            def on_step(step: SampleStep) -> None:
                progress((step.index + 1, step.total), desc="Denoising", unit="steps")

            pictures = sampled_views(pipe, prepared, poses, on_step, **options)
        return [(view, camera_label(pose)) for view, pose in zip(pictures, poses, strict=True)]

    return views if SPACES is None else SPACES.GPU(duration=GPU_SECONDS)(views)


def make_preview(pipe: Zero123Pipeline) -> Callable[..., tuple[Any, str]]:
    """The function that shows what the model is given: the cut-out, and what to know about it."""

    def preview(image: dict[str, Any] | None) -> tuple[Any, str]:
        if image is None:
            return None, ""
        with one_line_errors():
            prepared = pipe.prepare(inputs.picture(image))
        lines = [f"The object was {prepared.how}."]
        if prepared.method == "classical":
            lines.append("A picture with a transparent background is safer.")
        notice = pipe.notice(prepared)
        if notice:
            lines.append(f"**{notice}**")
        return prepared.rgba, "\n\n".join(lines)

    return preview


def around(azimuth_deg: float, count: int) -> str:
    """The azimuths of `count` cameras evenly around the object, the first at `azimuth_deg`."""
    return ", ".join(_angle(azimuth_deg + pose.azimuth_deg) for pose in orbit(count))


def preset(name: str) -> tuple[float, float, float, int, str]:
    """Elevation, azimuth, zoom, number of views and azimuths of a button; "random" draws anew."""
    generator = torch.Generator()
    generator.seed()
    pose = preset_pose(name, generator)
    azimuth_deg = round(pose.azimuth_deg)
    return round(pose.elevation_deg), azimuth_deg, pose.radius, 1, _angle(azimuth_deg)


def _angle(degrees: float) -> str:
    return f"{round(degrees, 1):g}"


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Wrong input becomes a message in the page, and for a client."""
    try:
        yield
    except ValueError as error:
        raise gr.Error(" ".join(str(error).split()), print_exception=False) from error
