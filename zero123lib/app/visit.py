"""The strip of results: each brings its picture, camera and settings back; browsers keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from zero123lib.app import browser, parts, results
from zero123lib.app.queues import AT_ONCE

TEMPLATE = """<section class="visit" aria-labelledby="visit-name" hidden>
<h2 class="part" id="visit-name">Results of this visit</h2>
<p>Each brings back its picture, camera and settings. They stay in this browser, for a day.
<button type="button" class="forget">Forget them</button></p>
<ol></ol></section>"""


# Where each kind of result is.
TABS = {"view": "view", "orbit": "orbit", "views": "orbit", "path": "orbit", "mesh": "3d"}


def visit(**options: Any) -> gr.HTML:
    """Make the widget; it tells of `input` when one is chosen, of `release` to prepare anew."""
    return gr.HTML(
        value={"kind": "", "image": None, "settings": [], "path": None},
        html_template=TEMPLATE,
        js_on_load=(Path(__file__).parent / "visit.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )


def settings(
    source: parts.Source, camera: parts.Camera, orbit: results.Orbit, mesh: results.Mesh
) -> list[Any]:
    """List what a result is made by, besides its picture; the camera first."""
    return [
        *camera.sliders(),
        source.input_elevation,
        *source.framing(),
        camera.guidance_scale,
        camera.steps,
        camera.seed,
        camera.speed,
        orbit.count,
        orbit.seeds,
        orbit.transparent,
        orbit.upscale,
        orbit.azimuths,
        mesh.recipe,
        mesh.faces,
        mesh.texture,
    ]


def connect_begins(
    source: parts.Source, camera: parts.Camera, orbit: results.Orbit, mesh: results.Mesh
) -> None:
    """Note what a result is made of as it is asked for.

    To be called before whatever makes it is connected: the page takes one after the other.
    """
    rests = [camera.globe.release, *(slider.release for slider in camera.sliders())]
    for kind, events in (
        ("view", rests),
        ("orbit", [orbit.button.click]),
        ("views", [orbit.own.click]),
        ("path", [camera.render.click]),
        ("mesh", [mesh.button.click]),
    ):
        asked = [source.image, *settings(source, camera, orbit, mesh)]
        js = browser.begun(kind)
        gr.on(events, None, asked, None, js=js, preprocess=False, **AT_ONCE)


def connect_visit(
    strip: gr.HTML,
    source: parts.Source,
    camera: parts.Camera,
    view: results.View,
    orbit: results.Orbit,
    mesh: results.Mesh,
    tabs: gr.Tabs,
    done: dict[str, Any],
) -> None:
    """Keep what is made, and bring it back.

    Args:
        strip: the widget.
        done: what ends a result, by its kind.
    """
    shown = {"view": view.image, "mesh": mesh.image}
    for kind, event in done.items():
        event.success(
            None,
            [shown.get(kind, orbit.gallery), view.caption],
            None,
            js=browser.made(kind),
            preprocess=False,
            **AT_ONCE,
        )
    strip.input(
        None,
        [strip, camera.globe, source.image],
        [source.image, camera.globe, *settings(source, camera, orbit, mesh)],
        js=browser.RESTORE,
        preprocess=False,
        **AT_ONCE,
    ).then(lambda chosen: gr.Tabs(selected=TABS[chosen["kind"]]), strip, tabs, **AT_ONCE).then(
        None, strip, None, js=browser.RESTORED, **AT_ONCE
    )
