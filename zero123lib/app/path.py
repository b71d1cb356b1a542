"""The widget of a path: keyframes in time, to add, move and remove; to play, scrub, load and save.

It keeps the path itself, in the browser. `input` goes out when the server shall work out its
frames, which come back by the event "path-drawn"; its value is what `PathService.drawn` is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from zero123lib.app import settings
from zero123lib.views.paths import DURATION_S, EASINGS, PATH_PRESETS

_HERE = Path(__file__).parent
FRAMES = 16
START: dict[str, Any] = {"path": None, "count": FRAMES, "edit": 0}

_PRESETS = "".join(
    f'<button type="button" data-preset="{name}">{name.capitalize()}</button>'
    for name in PATH_PRESETS
)
_EASINGS = "".join(f"<option>{name}</option>" for name in EASINGS)
_LEAST, _MOST = settings.DURATION_S

TEMPLATE = f"""<div class="path">
<div class="presets" role="group" aria-label="Paths by name">{_PRESETS}</div>
<div class="line"><button type="button" class="round play" aria-label="Play the path"></button>
<div class="time"><div class="keys" role="group" aria-label="Keyframes"></div>
<input type="range" class="scrub" min="0" max="0" value="0" aria-label="Moment of the path"></div>
</div>
<output aria-live="polite"></output>
<div class="tools"><button type="button" class="add">Add keyframe</button>
<button type="button" class="remove">Remove</button>
<button type="button" class="clear">Clear</button></div>
<div class="settings">
<label>Seconds<input type="number" class="duration" min="{_LEAST:g}" max="{_MOST:g}" step="0.5"
value="{DURATION_S:g}"></label>
<label>Views<input type="number" class="count" min="2" max="{settings.MAX_FRAMES}" step="1"
value="{FRAMES}"></label>
<label>Easing<select class="easing">{_EASINGS}</select></label>
<label class="check"><input type="checkbox" class="closed">Closed loop</label></div>
<div class="tools"><button type="button" class="save">Save</button>
<button type="button" class="load">Load</button>
<input type="file" accept=".json,application/json" hidden aria-label="A transforms.json"></div>
</div>"""


def path_widget(**options: Any) -> gr.HTML:
    """Make the widget."""
    return gr.HTML(
        value=START,
        html_template=TEMPLATE,
        js_on_load=(_HERE / "path.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )
