"""The camera globe: what its scripts draw and how they are told of the camera.

Nothing that the globe says reaches the server. In the browser it sets the sliders and they set it;
requests carry the sliders' numbers, which are checked like everything that comes from outside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from zero123lib.diffusion.checkpoints.named import NAMED
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.scenes.raycast import ELEVATIONS_DEG

_HERE = Path(__file__).parent

TEMPLATE = """<div class="globe">
<div class="steps"><button type="button" class="undo" aria-label="Undo the camera" title="Undo
(Ctrl+Z)" disabled>↶</button><button type="button" class="redo" aria-label="Redo the camera"
title="Redo (Ctrl+Shift+Z)" disabled>↷</button></div>
<canvas tabindex="0" role="slider" aria-label="Camera: drag it around the object. Arrow keys turn
it, plus and minus move it closer and away, Home goes back to your picture's camera, Page up and
Page down raise and lower that one, K adds a keyframe to the path and Delete removes it."
aria-valuemin="-180" aria-valuemax="180" aria-valuenow="0" aria-valuetext="0°, 0°"></canvas>
<output aria-hidden="true"></output><span class="beyond" aria-hidden="true"></span>
</div>"""

# One body of a function, in this order.
SCRIPTS = ("globe_drawing.js", "globe.js", "history.js")
START: dict[str, Any] = {
    "elevation": 0,
    "azimuth": 0,
    "zoom": 0,
    "around": [],
    "sliders": [0, 0, 0],
    "image": "",
}

# The lowest camera of Zero123's renderings, of which the bundled model has seen some: its height is
# at least -0.75, its distance 1.5 or more (`sample_spherical` of the official
# `objaverse-rendering/scripts/blender_script.py`).
_LOWEST_PUBLISHED_DEG = -30.0


def lowest_trained_deg(pipe: Zero123Pipeline) -> float:
    """Return the elevation of the lowest camera that a model was trained with; -90 if unknown."""
    if pipe.trained_on.get("scene_kinds"):
        return ELEVATIONS_DEG[0]
    return _LOWEST_PUBLISHED_DEG if pipe.model_name in (*NAMED, "tiny") else -90.0


def globe(pipe: Zero123Pipeline, **options: Any) -> gr.HTML:
    """Make the widget.

    It tells of `input` as the camera moves, of `release` once it rests, and of `edit` as the
    picture's own camera is moved.
    """
    return gr.HTML(
        value={**START, "lowest": lowest_trained_deg(pipe)},
        html_template=TEMPLATE,
        js_on_load="".join((_HERE / name).read_text(encoding="utf-8") for name in SCRIPTS),
        apply_default_css=False,
        **options,
    )
