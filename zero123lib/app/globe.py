"""The camera globe: what `globe.js` draws and how it is told of the camera.

Nothing that the globe says reaches the server. In the browser it sets the sliders and they set it;
requests carry the sliders' numbers, which are checked like everything that comes from outside.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from zero123lib.views.folder import png

_HERE = Path(__file__).parent
# What the globe shows of the object; larger would only be sent in vain.
_IMAGE_PX = 160

TEMPLATE = """<div class="globe">
<canvas tabindex="0" role="slider" aria-label="Camera: drag it around the object. Arrow keys turn
it, plus and minus move it closer and away, Home goes back to your picture's camera."
aria-valuemin="-180" aria-valuemax="180" aria-valuenow="0" aria-valuetext="0°, 0°"></canvas>
<output aria-hidden="true"></output>
</div>"""

# Between the globe and the sliders, in the browser.
SLIDERS_OF_GLOBE = "(globe) => [globe.elevation, globe.azimuth, globe.zoom]"
GLOBE_OF_SLIDERS = """(elevation, azimuth, zoom, input, count, globe) => ({
  ...globe, elevation, azimuth, zoom, input, sliders: [elevation, azimuth, zoom],
  around: count > 1 ? Array.from({length: count}, (_, i) => i * 360 / count) : [],
})"""

START: dict[str, Any] = {
    "elevation": 0,
    "azimuth": 0,
    "zoom": 0,
    "input": 0,
    "around": [],
    "sliders": [0, 0, 0],
}


def globe(**options: Any) -> gr.HTML:
    """Make the widget; it tells of `input` while the camera moves and of `release` once it rests.

    Its property `image` is a data address, see `object_picture`.
    """
    return gr.HTML(
        value=START,
        html_template=TEMPLATE,
        js_on_load=(_HERE / "globe.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        image="",
        **options,
    )


def object_image(rgba: Image.Image) -> str:
    """Return the object as a small PNG in a data address, for the middle of the globe."""
    small = rgba.copy()
    small.thumbnail((_IMAGE_PX, _IMAGE_PX), Image.Resampling.LANCZOS)
    return "data:image/png;base64," + base64.b64encode(png(small)).decode()
