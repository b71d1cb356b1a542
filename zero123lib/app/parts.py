"""The image, the model and the camera: components of the page that `layout.py` puts together."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from zero123lib.app import inputs, preparing, settings
from zero123lib.app.elevation import suggestion
from zero123lib.app.examples import example_files
from zero123lib.app.globe import globe
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.path import path_widget
from zero123lib.diffusion.apps import needs_input_elevation
from zero123lib.diffusion.card import about_model
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.diffusion.speed import TIERS
from zero123lib.views.cutout import rembg_model

LOGO = """<svg viewBox="0 0 32 32" fill="none" stroke="currentColor" stroke-width="1.8"
stroke-linecap="round" aria-hidden="true"><circle cx="16" cy="16" r="12"/>
<ellipse cx="16" cy="16" rx="12" ry="4.6"/><ellipse cx="16" cy="16" rx="4.6" ry="12"/>
<circle cx="24.3" cy="8.4" r="3" fill="currentColor" stroke="none"/></svg>"""


TOUR = (
    "Give a picture of one object, or take an example. "
    "Turn the object with your hand: drag the view, the globe or the sliders. "
    "Then take a whole orbit of it with you, or a mesh."
)


# The buttons over the sliders, as they stand in line.
BUTTONS = ("front", "left", "right", "behind", "above", "below", "random")


# A slider that fills from its middle.
SIGNED: dict[str, Any] = {"elem_classes": "signed"}


METHODS = {
    "auto": "Transparency, else network",
    "alpha": "Its own transparency",
    "u2netp": "Network (U2-Net-p)",
    "rembg": "Larger network (rembg)",
    "none": "Nothing cut out",
}


@dataclass(frozen=True)
class Source:
    """The image and how it is prepared."""

    image: gr.Image
    which: gr.Textbox
    examples: gr.Dataset
    before_after: gr.ImageSlider
    note: gr.Markdown
    fix: gr.Button
    painting: gr.Group
    brush: gr.ImageEditor
    apply: gr.Button
    ratio: gr.Slider
    recentre: gr.Checkbox
    method: gr.Dropdown
    input_elevation: gr.Slider
    model: gr.Dropdown
    active: gr.Textbox
    load: gr.Button
    about: gr.Markdown

    def framing(self) -> list[Any]:
        """List the framing's inputs in the order of the endpoints' arguments."""
        return [self.ratio, self.recentre, self.method]


@dataclass(frozen=True)
class Camera:
    """The camera and the sampling."""

    globe: gr.HTML
    path: gr.HTML
    drawn: gr.JSON
    render: gr.Button
    presets: dict[str, gr.Button]
    elevation: gr.Slider
    azimuth: gr.Slider
    zoom: gr.Slider
    guidance_scale: gr.Slider
    steps: gr.Slider
    seed: gr.Number
    speed: gr.Radio
    suggestion: gr.HTML

    def sliders(self) -> list[Any]:
        """List what the globe sets, and is set by."""
        return [self.elevation, self.azimuth, self.zoom]


def badge(pipe: Zero123Pipeline) -> str:
    """Return the weights in use and their licence, for the head of the page."""
    licence = escape(pipe.licence or "licence not stated")
    name = escape(pipe.model_name)
    return (
        f'<div class="bar">{LOGO}<h1>zero123lib</h1><span class="badge" title="The weights that '
        f'make the pictures, and their licence"><i></i><span><b>{name}</b> · {licence} · '
        f'{pipe.image_size} px</span></span></div><p class="tour">{TOUR}</p>'
    )


def heading(title: str) -> None:
    """Write a column's heading."""
    gr.HTML(f'<h2 class="part">{title}</h2>', apply_default_css=False)


def source(model_cache: ModelCache) -> Source:
    """Make the first column."""
    pipe = model_cache.default
    heading("Your picture")
    image = gr.Image(
        type="filepath",
        image_mode=None,
        format="png",
        sources=["upload", "webcam", "clipboard"],
        label="Picture",
        height=250,
        buttons=[],
        elem_id="picture",
    )
    image.data_model = inputs.Upload
    # Its path: Gradio tells of a change of the same image too, several times of one it cannot show.
    which = gr.Textbox(visible=False)
    examples = gr.Examples(
        [[file] for file in example_files()],
        [image],
        label="Examples, rendered by this project",
        cache_examples=False,
        elem_id="examples",
        api_visibility="private",
    )
    with gr.Accordion("Cut-out and framing", open=False, elem_id="framing"):
        before_after = gr.ImageSlider(
            label="Before and after",
            format="png",
            interactive=False,
            height=240,
            buttons=[],
            elem_id="before-after",
        )
        fix = gr.Button("Fix the cut-out", size="sm", elem_id="fix")
        with gr.Group(visible=False, elem_id="brush") as painting:
            gr.Markdown("Paint green what belongs to the object, red what does not.", padding=True)
            brush = gr.ImageEditor(
                label="The picture, to paint on",
                show_label=False,
                image_mode="RGBA",
                format="png",
                sources=(),
                transforms=(),
                layers=gr.LayerOptions(allow_additional_layers=False),
                brush=gr.Brush(
                    colors=[preparing.KEEP, preparing.DROP], color_mode="fixed", default_size=16
                ),
                buttons=[],
                height=380,
            )
            apply = gr.Button("Use it", size="sm", variant="primary", elem_id="use-it")
        method = gr.Dropdown(
            [
                (label, name)
                for name, label in METHODS.items()
                if name != "rembg" or rembg_model() is not None
            ],
            value="auto",
            label="Background removal",
            filterable=False,
        )
        ratio = gr.Slider(
            settings.MIN_RATIO,
            1.0,
            pipe.config["foreground_ratio"],
            step=0.01,
            label="Size of the object in the frame",
        )
        recentre = gr.Checkbox(True, label="Recentre the object")
        input_elevation = gr.Slider(
            -90,
            90,
            0,
            step=1,
            label="Elevation of your picture's camera",
            info=elevation_info(pipe),
            **SIGNED,
        )
    note = gr.Markdown(elem_id="note")
    with gr.Accordion("Model", open=False, elem_id="model"):
        model = gr.Dropdown(
            model_cache.names(),
            value=model_cache.default_name,
            label="Weights",
            info="A name, or a folder or file on this machine." if model_cache.takes_any else None,
            allow_custom_value=model_cache.takes_any,
            interactive=True,
        )
        # What requests name: the choice above counts once it is loaded.
        active = gr.Textbox(model_cache.default_name, label="Model", visible=False)
        load = gr.Button("Load", size="sm")
        about = gr.Markdown(escape(f"{about_model(pipe)}.", quote=False), elem_id="about")
    return Source(
        image,
        which,
        examples.dataset,
        before_after,
        note,
        fix,
        painting,
        brush,
        apply,
        ratio,
        recentre,
        method,
        input_elevation,
        model,
        active,
        load,
        about,
    )


def elevation_info(pipe: Zero123Pipeline) -> str:
    """Return what the elevation of the image's camera is for."""
    if needs_input_elevation(pipe):
        return "This model has to be told: 0 is level with the object, 90 straight above it."
    return "0 is level with the object; where the cameras of your views are counted from."


def camera(pipe: Zero123Pipeline) -> Camera:
    """Make the second column."""
    heading("The camera")
    widget = globe(pipe, elem_id="globe", label="Camera globe")
    suggested = suggestion(elem_id="suggestion", label="Elevation of your picture's camera")
    with gr.Row(elem_id="presets"):
        presets = {name: gr.Button(name.capitalize(), size="sm") for name in BUTTONS}
    elevation = gr.Slider(-90, 90, 0, step=1, label="Elevation, ° up", **SIGNED)
    azimuth = gr.Slider(-180, 180, 0, step=1, label="Azimuth, ° right", **SIGNED)
    zoom = gr.Slider(
        -settings.MAX_ZOOM, settings.MAX_ZOOM, 0, step=0.05, label="Zoom, + farther", **SIGNED
    )
    with gr.Accordion("A path for the camera", open=False, elem_id="path-part"):
        path = path_widget(elem_id="path", label="Path of the camera")
        drawn = gr.JSON(visible=False)
        render = gr.Button(
            "Render the path", variant="primary", interactive=False, elem_id="render"
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
        seed = gr.Number(0, minimum=0, maximum=settings.MAX_SEED, precision=0, label="Seed")
        speed = gr.Radio(
            [(name.capitalize(), name) for name in TIERS],
            value="exact",
            label="Speed",
            info="Balanced and fast leave passes of the model out: views differ a little.",
        )
    return Camera(
        widget,
        path,
        drawn,
        render,
        presets,
        elevation,
        azimuth,
        zoom,
        guidance_scale,
        steps,
        seed,
        speed,
        suggested,
    )
