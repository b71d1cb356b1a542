"""The page: its parts put together, and what happens when something is moved or pressed."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import gradio as gr

from zero123lib.app import parts, settings
from zero123lib.app.callbacks import Actions, preset
from zero123lib.app.examples import ELEVATION_DEG
from zero123lib.app.globe import GLOBE_OF_SLIDERS, SLIDERS_OF_GLOBE, object_image
from zero123lib.app.guard import Guard
from zero123lib.app.mesh_service import MeshService
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sessions import Session
from zero123lib.app.theme import CSS, JS, THEME
from zero123lib.diffusion.apps import load_pipeline
from zero123lib.diffusion.pipeline import Zero123Pipeline

# Whatever needs the model, one at a time.
MODEL: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "preprocess": False}
# Whatever cuts out, a few at a time.
CUT_OUT: dict[str, Any] = {
    "concurrency_id": "cut-out",
    "concurrency_limit": 2,
    "preprocess": False,
}
QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
AT_ONCE: dict[str, Any] = {**QUIET, "queue": False}


def build(
    pipe: Zero123Pipeline, options: settings.Options | None = None, device: str = "auto"
) -> gr.Blocks:
    """Build the app around a loaded model.

    Args:
        pipe: the app's own model.
        options: what the operator decides.
        device: where visitors' models go.
    """
    options = options or settings.Options()
    model_cache = ModelCache(pipe, partial(load_pipeline, device=device), options.models)
    actions = Actions(model_cache)
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
                with gr.Tabs():
                    with gr.Tab("View"):
                        view = parts.view()
                    with gr.Tab("Orbit"):
                        orbit = parts.orbit()
                    with gr.Tab("3D"):
                        mesh = parts.mesh()
        _connect_camera(source, camera, orbit)
        _connect_image(actions, session, source, camera, view)
        _connect_brush(actions, session, source)
        _connect_view(actions, session, source, camera, view)
        _connect_orbit(actions, session, source, camera, orbit)
        _connect_mesh(
            MeshService(actions.view_service, options.recipe_overrides),
            session,
            source,
            camera,
            mesh,
        )
        _connect_model(actions, source, camera, head)
    blocks.queue(max_size=options.max_queue, default_concurrency_limit=8)
    return blocks


def launch_options(mcp: bool = False) -> dict[str, Any]:
    """Return what `launch` is given wherever the app runs."""
    return {
        "theme": THEME,
        "css": CSS,
        "js": JS,
        "max_file_size": settings.MAX_FILE_SIZE,
        "footer_links": ["api", "gradio"],
        "state_session_capacity": settings.MAX_SESSIONS,
        "app_kwargs": {"middleware": [(Guard, (), {})]},
        "mcp_server": mcp,
    }


def _connect_camera(source: parts.Source, camera: parts.Camera, orbit: parts.Orbit) -> None:
    """Globe and sliders, each setting the other, in the browser."""
    camera.globe.input(None, camera.globe, camera.sliders(), js=SLIDERS_OF_GLOBE, **AT_ONCE)
    gr.on(
        [
            *(slider.change for slider in camera.sliders()),
            source.input_elevation.change,
            orbit.count.change,
        ],
        None,
        [*camera.sliders(), source.input_elevation, orbit.count, camera.globe],
        camera.globe,
        js=GLOBE_OF_SLIDERS,
        **AT_ONCE,
    )
    for name, button in camera.presets.items():
        button.click(partial(preset, name), source.input_elevation, camera.sliders(), **AT_ONCE)


def _connect_image(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
) -> None:
    """Show an image, and how it is framed, as the model is given it."""
    # The elevation goes with the image: known of an example, level unless told of one's own.
    # So does how it is cut out: an image that was fixed by hand has its own transparency.
    fresh = [source.input_elevation, source.method]
    source.examples.click(lambda: (ELEVATION_DEG, "auto"), None, fresh, **AT_ONCE)
    gr.on([source.image.upload, source.image.input], lambda: (0, "auto"), None, fresh, **AT_ONCE)
    framed = gr.State()
    gr.on(
        [
            source.image.change,
            source.ratio.release,
            source.recentre.input,
            source.method.input,
        ],
        actions.prepare,
        [session, source.image, *source.framing(), source.model],
        [source.before_after, source.note, framed],
        api_name="prepare",
        **CUT_OUT,
        trigger_mode="always_last",
        show_progress="hidden",
    ).then(
        lambda image: (
            gr.update(image="" if image is None else object_image(image)),
            image,
            "Your picture, as the model is given it. Drag it."
            if image
            else "Choose a picture, and the object appears here.",
        ),
        framed,
        [camera.globe, view.image, view.caption],
        **AT_ONCE,
    )


def _connect_brush(actions: Actions, session: gr.State, source: parts.Source) -> None:
    """Let the cut-out be fixed by hand: the image comes back with what was painted."""
    source.fix.click(
        actions.canvas,
        [session, source.image, source.method],
        [source.brush, source.painting],
        **CUT_OUT,
        **QUIET,
    )
    source.apply.click(
        actions.fix,
        [session, source.image, source.method, source.brush],
        [source.image, source.method, source.painting],
        **CUT_OUT,
        **QUIET,
    )


def _connect_view(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
) -> None:
    """Let a quick preview follow the camera; the full view comes when it rests."""
    place = [session, source.image, *camera.sliders(), camera.guidance_scale]
    rest = [camera.seed, source.input_elevation, *source.framing(), source.model]
    shown = [view.image, view.caption]
    gr.on(
        [slider.change for slider in camera.sliders()],
        actions.follow,
        [*place, *rest],
        shown,
        trigger_mode="always_last",
        **MODEL,
        **QUIET,
    )
    gr.on(
        [
            camera.globe.release,
            *(slider.release for slider in camera.sliders()),
            *(button.click for button in camera.presets.values()),
        ],
        actions.show,
        [*place, camera.steps, *rest],
        shown,
        trigger_mode="always_last",
        **MODEL,
        **QUIET,
    )
    by_wire = gr.Button(visible=False)
    by_wire.click(actions.preview, [*place, *rest], shown, api_name="preview", **MODEL)
    by_wire.click(actions.view, [*place, camera.steps, *rest], shown, api_name="view", **MODEL)


def _connect_orbit(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    orbit: parts.Orbit,
) -> None:
    """Many views and their files, evenly around or from cameras of one's own."""
    rest = [
        camera.elevation,
        camera.zoom,
        camera.guidance_scale,
        camera.steps,
        camera.seed,
        source.input_elevation,
        *source.framing(),
        orbit.seeds,
        orbit.transparent,
        source.model,
        orbit.upscale,
    ]
    made = [
        button.click(
            function,
            [session, source.image, cameras, *rest],
            orbit.outputs(),
            api_name=name,
            scroll_to_output=True,
            show_progress_on=orbit.gallery,
            **MODEL,
        )
        for name, button, function, cameras in (
            ("orbit", orbit.button, actions.orbit, orbit.count),
            ("views", orbit.own, actions.views, orbit.azimuths),
        )
    ]
    for event in made:
        event.success(
            lambda seeds: (gr.Row(visible=True), gr.Image(visible=seeds > 1)),
            orbit.seeds,
            [orbit.downloads, orbit.uncertainty],
            **AT_ONCE,
        )
    orbit.stop.click(None, cancels=cast(Any, made), **AT_ONCE)


def _connect_mesh(
    solid: MeshService,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    mesh: parts.Mesh,
) -> None:
    """Make a mesh in a queue of its own: whoever turns an object need not wait for it."""
    asked = [session, source.image, mesh.recipe, camera.seed, source.input_elevation]
    mesh.button.click(
        lambda: (gr.Row(visible=False), None), None, [mesh.downloads, mesh.viewer], **AT_ONCE
    )
    mesh.button.click(
        solid.reconstruct,
        [*asked, *source.framing(), source.model],
        mesh.outputs(),
        api_name="reconstruct",
        preprocess=False,
        concurrency_id="mesh",
        concurrency_limit=1,
        show_progress="hidden",
    ).success(
        # A generator's last answer comes twice, upon which Gradio's viewer shows nothing.
        lambda glb, up: (
            gr.Row(visible=glb is not None),
            gr.Model3D(glb, camera_position=parts.seen_from_image(up)),
        ),
        [mesh.files[0], source.input_elevation],
        [mesh.downloads, mesh.viewer],
        **AT_ONCE,
    )
    mesh.stop.click(
        solid.stop, session, mesh.stats, api_name="stop", queue=False, show_progress="hidden"
    )


def _connect_model(
    actions: Actions, source: parts.Source, camera: parts.Camera, head: gr.HTML
) -> None:
    """Another model, with its badge and the settings that it does best with."""

    def settle(name: str) -> tuple[Any, ...]:
        pipe = actions.model_cache.get(name)
        return (
            parts.badge(pipe),
            pipe.config["guidance_scale"],
            pipe.config["num_inference_steps"],
            pipe.config["foreground_ratio"],
            gr.Slider(info=parts.elevation_info(pipe)),
        )

    source.load.click(actions.model, source.model, source.about, api_name="model", **MODEL).success(
        settle,
        source.model,
        [head, camera.guidance_scale, camera.steps, source.ratio, source.input_elevation],
        **AT_ONCE,
    )
