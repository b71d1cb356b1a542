"""The third column: the view, an orbit, a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from zero123lib import upscaling
from zero123lib.app import settings
from zero123lib.app.browser import CHOOSE
from zero123lib.app.looks import LOOKS
from zero123lib.app.mesh_service import CHOICES
from zero123lib.app.player import player
from zero123lib.diffusion.pipeline import Zero123Pipeline


@dataclass(frozen=True)
class View:
    """One view, held by hand, beside what the model is given."""

    given: gr.Image
    image: gr.Image
    caption: gr.Markdown
    player: gr.HTML
    film: gr.JSON


@dataclass(frozen=True)
class Orbit:
    """Many views and their files."""

    count: gr.Slider
    seeds: gr.Slider
    transparent: gr.Checkbox
    upscale: gr.Radio
    azimuths: gr.Textbox
    button: gr.Button
    stop: gr.Button
    own: gr.Button
    player: gr.HTML
    gallery: gr.Gallery
    uncertainty: gr.Image
    files: list[gr.DownloadButton]
    downloads: gr.Row
    made: gr.Column
    source: gr.HTML

    def outputs(self) -> list[Any]:
        """List the outputs in the order in which the endpoints answer."""
        return [self.gallery, self.uncertainty, *self.files]


@dataclass(frozen=True)
class Mesh:
    """The object as a mesh."""

    recipe: gr.Radio
    faces: gr.Slider
    texture: gr.Slider
    button: gr.Button
    stop: gr.Button
    image: gr.Image
    stats: gr.Markdown
    look: gr.Radio
    viewer: gr.Model3D
    files: list[gr.DownloadButton]
    others: list[gr.DownloadButton]
    downloads: gr.Row
    made: gr.Column
    source: gr.HTML

    def outputs(self) -> list[Any]:
        """List the outputs in the order in which the endpoint answers."""
        return [self.image, self.stats, *self.files]


def view(pipe: Zero123Pipeline) -> View:
    """Make the tab with one view; of a small model it is small."""
    with gr.Row(elem_id="pair", elem_classes="small" if pipe.image_size <= 128 else "large"):
        given = gr.Image(
            label="Given",
            format="png",
            interactive=False,
            height=None,
            buttons=[],
            elem_id="given",
        )
        image = _view_image()
    caption = gr.Markdown(CHOOSE, elem_id="caption")
    return View(given, image, caption, player(elem_id="player"), gr.JSON(visible=False))


def _view_image() -> gr.Image:
    return gr.Image(
        label="The object from the camera",
        show_label=False,
        format="png",
        interactive=False,
        height=None,
        buttons=["download", "fullscreen"],
        elem_id="view",
    )


def orbit() -> Orbit:
    """Make the tab with many views."""
    with gr.Row():
        count = gr.Slider(1, settings.MAX_VIEWS, 8, step=1, precision=0, label="Views around")
        seeds = gr.Slider(
            1,
            settings.MAX_SEEDS,
            1,
            step=1,
            precision=0,
            label="Seeds",
        )
    upscale = gr.Radio(
        [("as made", 1), ("x 2", 2), ("x 4", 4)],
        value=1,
        label="Size",
        info=f"Enlarged by {upscaling.NAME}.",
    )
    transparent = gr.Checkbox(False, label="Transparent background")
    with gr.Row():
        button = gr.Button("Make the orbit", variant="primary", scale=3)
        stop = gr.Button("Stop", scale=1, min_width=80)
    source = gr.HTML(elem_classes="made-of", apply_default_css=False)
    with gr.Column(elem_id="orbit-made") as made:
        film = player(screen=True, elem_id="film")
        gallery = gr.Gallery(
            label="Views",
            show_label=False,
            format="png",
            columns=4,
            object_fit="contain",
            height="auto",
            interactive=False,
            buttons=["download", "download_all", "fullscreen"],
            elem_id="gallery",
        )
        with gr.Row(elem_id="downloads", visible=False) as downloads:
            names = ("Contact sheet", "GIF", "MP4", "Zip, with cameras")
            files = [gr.DownloadButton(name, size="sm") for name in names]
        uncertainty = gr.Image(
            label="Where the seeds disagree: bright is unsure",
            format="png",
            interactive=False,
            visible=False,
            buttons=["download", "fullscreen"],
            elem_id="uncertainty",
        )
    with gr.Accordion("Cameras of your own", open=False):
        azimuths = gr.Textbox(
            settings.DEFAULT_AZIMUTHS,
            label="Azimuths of the views",
            info="Degrees to the right of your picture's camera, separated by commas.",
        )
        own = gr.Button("Make these views", size="sm")
    return Orbit(
        count,
        seeds,
        transparent,
        upscale,
        azimuths,
        button,
        stop,
        own,
        film,
        gallery,
        uncertainty,
        files,
        downloads,
        made,
        source,
    )


def made_of(image: Any, of: Any) -> tuple[Any, Any]:
    """Tell of what results were made, and dim them where another image is chosen by now.

    Args:
        image: Gradio's file data of the image that is chosen.
        of: the same of the one that the results were made of, None where there are none.

    Returns:
        Updates of the results' column and of the line over it.
    """
    if of is None:
        return gr.Column(elem_classes=[]), ""
    name = f"<b>{escape(str(of.get('orig_name') or 'your picture')[:80])}</b>"
    if image is not None and image.get("path") == of.get("path"):
        return gr.Column(elem_classes=[]), f"Made from {name}."
    return gr.Column(elem_classes=["stale"]), f"Made from {name}, not from what is chosen now."


def seen_from_image(input_elevation: float) -> tuple[float, float, None]:
    """Tell where the viewer of meshes looks from first: where the image's camera is.

    Its angles are those of a file, whose x is ours and whose y is our z: degrees from x about y,
    and from y downwards.
    """
    return 0, 90 - input_elevation, None


def mesh(pipe: Zero123Pipeline) -> Mesh:
    """Make the tab with the mesh."""
    recipe = gr.Radio(
        [(label, name) for name, (label, _) in CHOICES.items()],
        value="quick",
        label="Recipe",
    )
    with gr.Row():
        faces = gr.Slider(
            *settings.FACES,
            settings.FACES[1],
            step=1000,
            precision=0,
            label="Faces, at most",
        )
        texture = gr.Slider(
            *settings.TEXTURE_SIZES,
            512 if pipe.image_size < 256 else 1024,
            step=256,
            precision=0,
            label="Texture, texels",
        )
    with gr.Row():
        button = gr.Button("Make the mesh", variant="primary", scale=3)
        stop = gr.Button("Stop", scale=1, min_width=80)
    source = gr.HTML(elem_classes="made-of", apply_default_css=False)
    with gr.Column(elem_id="mesh-made") as made:
        with gr.Row():
            image = gr.Image(
                label="As it grows",
                show_label=False,
                format="png",
                interactive=False,
                height=240,
                buttons=[],
                scale=1,
                min_width=200,
                elem_id="turntable",
            )
            stats = gr.Markdown(
                "Its surface grows here, seen from all around in turn.", elem_id="stats"
            )
        look = gr.Radio(
            [(name.capitalize(), name) for name in LOOKS],
            value="texture",
            label="Show",
            show_label=False,
            visible=False,
            elem_id="look",
        )
        viewer = gr.Model3D(
            label="Mesh",
            height=380,
            clear_color=(1.0, 1.0, 1.0, 1.0),
            interactive=False,
            buttons=[],
            elem_id="mesh",
        )
        with gr.Row(elem_id="downloads-3d", visible=False) as downloads:
            names = ("GLB", "OBJ, zipped", "PLY", "STL", "Video")
            glb, obj_zip, ply, stl, video = (gr.DownloadButton(one, size="sm") for one in names)
            # The endpoint's OBJ alone; the page's visitors take it with its texture.
            obj = gr.DownloadButton("OBJ", visible=False)
    return Mesh(
        recipe,
        faces,
        texture,
        button,
        stop,
        image,
        stats,
        look,
        viewer,
        [glb, obj, ply, video],
        [obj_zip, stl],
        downloads,
        made,
        source,
    )
