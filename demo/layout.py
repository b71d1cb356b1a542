"""The page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from demo import settings
from demo.callbacks import around, make_preview, make_views, preset
from demo.examples import example_files
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import PRESET_NAMES

HOW_TO = """# One picture, any camera
Give a picture of one object, or take an example. Press a button to see the object from there, or
set the camera yourself and press **Make views**. Angles are relative to the camera that took your
picture."""

SYSTEM_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
THEME = gr.themes.Default(
    primary_hue="indigo",
    neutral_hue="slate",
    font=SYSTEM_FONT,
    font_mono=["ui-monospace", "Consolas", "monospace"],
)
CSS = """
.gradio-container { max-width: 1200px !important; margin: 0 auto; }
#presets { display: grid; grid-template-columns: repeat(6, 1fr); gap: 6px; }
#presets button { min-width: 0; padding-inline: 0; }
#examples > .gallery { display: grid; grid-template-columns: repeat(6, 1fr); }
#examples .gallery-item .container { width: 100%; height: auto; aspect-ratio: 1; }
#views .grid-wrap { max-height: none; }
#views .gallery-item { width: 100%; max-width: 360px; margin-inline: auto; }
@media (max-width: 480px) {
  #presets { grid-template-columns: repeat(3, 1fr); }
  #views .grid-container { grid-template-columns: repeat(2, 1fr) !important; }
}
#about { opacity: 0.75; font-size: 0.875rem; }
"""


@dataclass(frozen=True)
class Controls:
    """The camera and the sampling."""

    presets: dict[str, gr.Button]
    elevation: gr.Slider
    azimuth: gr.Slider
    zoom: gr.Slider
    count: gr.Slider
    azimuths: gr.Textbox
    guidance_scale: gr.Slider
    steps: gr.Slider
    seed: gr.Number
    input_elevation: gr.Textbox | None
    button: gr.Button


@dataclass(frozen=True)
class Results:
    """The views, and what they were made from."""

    gallery: gr.Gallery
    cut_out: gr.Image
    note: gr.Markdown


def build(pipe: Zero123Pipeline) -> gr.Blocks:
    """The app around a loaded model."""
    blocks = gr.Blocks(
        title="zero123lib", analytics_enabled=False, delete_cache=settings.DELETE_CACHE_S
    )
    with blocks:
        gr.Markdown(HOW_TO)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                image = _picture()
                controls = _controls(pipe)
            with gr.Column(scale=3, min_width=320):
                results = _results(pipe)
        _connect(pipe, image, controls, results)
    blocks.queue(max_size=settings.MAX_WAITING)
    return blocks


def launch_options() -> dict[str, Any]:
    """What `launch` is given wherever the app runs."""
    return {
        "theme": THEME,
        "css": CSS,
        "max_file_size": settings.MAX_FILE_SIZE,
        "footer_links": ["api", "gradio"],
    }


def _picture() -> gr.Image:
    image = gr.Image(
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "clipboard"],
        label="Picture",
        height=260,
        buttons=[],
    )
    gr.Examples(
        [[file] for file in example_files()],
        [image],
        label="Examples, rendered by this project",
        cache_examples=False,
        elem_id="examples",
        api_visibility="private",
    )
    return image


def _controls(pipe: Zero123Pipeline) -> Controls:
    input_elevation = _input_elevation() if needs_input_elevation(pipe) else None
    with gr.Row(elem_id="presets"):
        presets = {name: gr.Button(name.capitalize(), size="sm") for name in PRESET_NAMES}
    elevation = gr.Slider(-90, 90, 0, step=1, label="Elevation, degrees up")
    azimuth = gr.Slider(-180, 180, 0, step=1, label="Azimuth, degrees to the right")
    zoom = gr.Slider(
        -settings.MAX_ZOOM, settings.MAX_ZOOM, 0, step=0.05, label="Zoom, + is farther"
    )
    count = gr.Slider(1, settings.MAX_VIEWS, 8, step=1, precision=0, label="Views, evenly around")
    azimuths = gr.Textbox(
        settings.DEFAULT_AZIMUTHS,
        label="Azimuths of the views",
        info="Filled in by the two sliders; write your own if you like.",
    )
    with gr.Accordion("Sampling", open=False):
        guidance_scale = gr.Slider(
            0, settings.MAX_GUIDANCE, pipe.config["guidance_scale"], step=0.1, label="Guidance"
        )
        steps = gr.Slider(
            1,
            settings.MAX_STEPS,
            pipe.config["num_inference_steps"],
            step=1,
            precision=0,
            label="Steps",
        )
        seed = gr.Number(
            0,
            minimum=0,
            maximum=settings.MAX_SEED,
            precision=0,
            label="Seed",
        )
    button = gr.Button("Make views", variant="primary")
    return Controls(
        presets,
        elevation,
        azimuth,
        zoom,
        count,
        azimuths,
        guidance_scale,
        steps,
        seed,
        input_elevation,
        button,
    )


def _input_elevation() -> gr.Textbox:
    """Text, since it starts empty: Gradio's number fields say 0, which would go unnoticed."""
    return gr.Textbox(
        label="Elevation of your picture's camera, degrees",
        info="This model has to be told: 0 is level with the object, 90 straight above it.",
        placeholder="-90 to 90",
        max_lines=1,
    )


def _results(pipe: Zero123Pipeline) -> Results:
    gallery = gr.Gallery(
        label="Views",
        format="png",
        columns=4,
        object_fit="contain",
        height="auto",
        interactive=False,
        buttons=["download", "download_all", "fullscreen"],
        elem_id="views",
    )
    with gr.Row():
        cut_out = gr.Image(
            label="What the model is given",
            format="png",
            image_mode="RGBA",
            interactive=False,
            height=180,
            buttons=[],
            scale=1,
            elem_id="cut-out",
        )
        with gr.Column(scale=2):
            note = gr.Markdown(elem_id="note")
            gr.Markdown(f"Model {about_model(pipe)}.", elem_id="about")
    return Results(gallery, cut_out, note)


def _connect(pipe: Zero123Pipeline, image: gr.Image, controls: Controls, results: Results) -> None:
    """Let things happen; the public endpoint and all buttons share one function."""
    views: dict[str, Any] = {
        "fn": make_views(pipe),
        "inputs": [
            image,
            controls.azimuths,
            controls.elevation,
            controls.zoom,
            controls.guidance_scale,
            controls.steps,
            controls.seed,
            *([] if controls.input_elevation is None else [controls.input_elevation]),
        ],
        "outputs": results.gallery,
        "scroll_to_output": True,
        "preprocess": False,  # demo/inputs.py says why
        "concurrency_id": "model",
        "concurrency_limit": 1,
    }
    controls.button.click(api_name="views", **views)
    camera = [
        controls.elevation,
        controls.azimuth,
        controls.zoom,
        controls.count,
        controls.azimuths,
    ]
    for name, button in controls.presets.items():
        there = button.click(
            partial(preset, name), None, camera, api_visibility="private", queue=False
        )
        there.then(api_visibility="private", **views)
    gr.on(
        [controls.azimuth.input, controls.count.input],
        around,
        [controls.azimuth, controls.count],
        controls.azimuths,
        api_visibility="private",
        queue=False,
        show_progress="hidden",
    )
    image.change(
        make_preview(pipe),
        image,
        [results.cut_out, results.note],
        preprocess=False,
        api_visibility="private",
        trigger_mode="always_last",
    )
