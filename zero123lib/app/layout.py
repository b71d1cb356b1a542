"""The page: its parts put together."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from zero123lib._optional import require
from zero123lib.app import parts, results, settings
from zero123lib.app.callbacks import Actions
from zero123lib.app.elevation import ElevationService
from zero123lib.app.guard import Guard
from zero123lib.app.mesh_service import MeshService
from zero123lib.app.model_cache import ModelCache, about
from zero123lib.app.opening import Opening
from zero123lib.app.path_service import PathService
from zero123lib.app.result_events import (
    connect_mesh,
    connect_model,
    connect_orbit,
    connect_path,
)
from zero123lib.app.sampling import Elsewhere
from zero123lib.app.sessions import Session
from zero123lib.app.theme import CSS, JS, THEME
from zero123lib.app.view_events import (
    connect_brush,
    connect_camera,
    connect_elevation,
    connect_film,
    connect_image,
    connect_new_image,
    connect_ready,
    connect_source,
    connect_view,
)
from zero123lib.app.visit import connect_begins, connect_visit, visit
from zero123lib.diffusion.apps import load_pipeline
from zero123lib.diffusion.pipeline import Zero123Pipeline


def build(
    pipe: Zero123Pipeline,
    options: settings.Options | None = None,
    device: str = "auto",
    elsewhere: Elsewhere | None = None,
) -> gr.Blocks:
    """Build the app around a loaded model.

    Args:
        pipe: the app's own model.
        options: what the operator decides.
        device: where visitors' models go.
        elsewhere: makes the views in place of the models here, if anything does.
    """
    options = options or settings.Options()
    model_cache = ModelCache(pipe, partial(load_pipeline, device=device), options.models, about)
    actions = Actions(model_cache, options.max_queue, elsewhere)
    blocks = gr.Blocks(
        title="zero123lib", analytics_enabled=False, delete_cache=settings.DELETE_CACHE_S
    )
    with blocks:
        session = gr.State(
            Session(), time_to_live=settings.SESSION_S, delete_callback=Session.close
        )
        head = gr.HTML(parts.badge(pipe), elem_id="head", apply_default_css=False)
        with gr.Row(elem_id="stage"):
            with gr.Column(scale=5, min_width=300, elem_id="of-picture"):
                source = parts.source(model_cache)
            with gr.Column(scale=5, min_width=300, elem_id="of-camera"):
                camera = parts.camera(pipe)
            with gr.Column(scale=9, min_width=320, elem_id="of-object"):
                parts.heading("The object")
                with gr.Tabs() as tabs:
                    with gr.Tab("View", id="view"):
                        view = results.view(pipe)
                    with gr.Tab("Orbit", id="orbit"):
                        orbit = results.orbit()
                    with gr.Tab("3D", id="3d"):
                        mesh = results.mesh(pipe)
        strip = visit(elem_id="visit", label="Results of this visit")
        connect_begins(source, camera, orbit, mesh)
        moved = connect_camera(source, camera, orbit)
        viewed = connect_view(actions, session, source, camera, view, moved)
        connect_new_image(source, camera, view)
        prepared = connect_image(actions, session, source, camera, view, strip.release)
        connect_ready(prepared, source, camera, view, orbit, mesh)
        connect_source(source, camera, orbit, mesh)
        connect_elevation(ElevationService(actions.view_service), session, source, camera, prepared)
        connect_film(Opening(actions.view_service), session, source, camera, view, blocks.load)
        connect_brush(actions, session, source)
        paths = PathService(actions.view_service)
        connect_path(paths, source, camera, view)
        done = connect_orbit(actions, paths, session, source, camera, orbit, tabs)
        meshed = connect_mesh(
            MeshService(actions.view_service, options.recipe_overrides, options.max_queue),
            session,
            source,
            camera,
            mesh,
        )
        connect_model(actions, session, source, camera, head)
        done = {**done, "view": viewed, "mesh": meshed}
        connect_visit(strip, source, camera, view, orbit, mesh, tabs, done)
    blocks.queue(max_size=options.max_queue, default_concurrency_limit=8)
    return blocks


def launch_options(mcp: bool = False) -> dict[str, Any]:
    """Return what `launch` is given wherever the app runs."""
    if mcp:
        require("mcp", "mcp")
        from zero123lib.app.tools import give_images

        give_images()
    return {
        "theme": THEME,
        "css": CSS,
        "js": JS,
        "max_file_size": settings.MAX_FILE_SIZE,
        "footer_links": ["api", "gradio"],
        "state_session_capacity": settings.MAX_SESSIONS,
        "max_threads": settings.THREADS,
        "app_kwargs": {"middleware": [(Guard, (), {})]},
        "mcp_server": mcp,
    }
