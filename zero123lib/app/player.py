"""The player: frames in turn, each with its camera, to play, to stop and to scrub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

TEMPLATE = """<div class="player" hidden>{screen}<button type="button" aria-label="Play"></button>
<input type="range" min="0" max="0" value="0" aria-label="Frame"></div>"""
START: dict[str, Any] = {"frames": [], "at": 0, "begin": False}
FRAME_MS = 240


def player(screen: bool = False, **options: Any) -> gr.HTML:
    """Make the widget; it tells of `input` at each of its frames: image, caption, camera.

    With a screen it shows them itself.
    """
    template = TEMPLATE.replace("{screen}", '<img class="screen" alt="">' if screen else "")
    return gr.HTML(
        value={**START, "frame_ms": FRAME_MS},
        html_template=template,
        js_on_load=(Path(__file__).parent / "player.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )
