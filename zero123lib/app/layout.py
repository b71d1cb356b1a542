"""The page: its parts put together, and what happens when something is moved or pressed."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import gradio as gr

from zero123lib._optional import require
from zero123lib.app import browser, parts, settings
from zero123lib.app.callbacks import Actions, preset
from zero123lib.app.examples import ELEVATION_DEG
from zero123lib.app.globe import lowest_trained_deg
from zero123lib.app.guard import Guard
from zero123lib.app.mesh_service import MeshService
from zero123lib.app.model_cache import ModelCache, about
from zero123lib.app.opening import EXAMPLE, Opening
from zero123lib.app.sessions import Session
from zero123lib.app.theme import CSS, JS, THEME
from zero123lib.diffusion.apps import load_pipeline
from zero123lib.diffusion.pipeline import Zero123Pipeline

# One view: these stand in a line of ours, before the steps of long jobs, and are told their place.
ONE_VIEW: dict[str, Any] = {
    "concurrency_id": "one-view",
    "concurrency_limit": settings.VIEWS_AT_ONCE,
    "preprocess": False,
}
# Many views: in the same line, one after the other; of those beyond, Gradio tells the place.
LONG: dict[str, Any] = {
    "concurrency_id": "long",
    "concurrency_limit": settings.LONG_AT_ONCE,
    "preprocess": False,
}
# Whatever cuts out; `preparing.py` does a few at a time.
CUT_OUT: dict[str, Any] = {
    "concurrency_id": "cut-out",
    "concurrency_limit": settings.CUT_OUTS_AT_ONCE,
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
    model_cache = ModelCache(pipe, partial(load_pipeline, device=device), options.models, about)
    actions = Actions(model_cache, options.max_queue)
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
                        view = parts.view(pipe)
                    with gr.Tab("Orbit"):
                        orbit = parts.orbit()
                    with gr.Tab("3D"):
                        mesh = parts.mesh()
        moved = _connect_camera(source, camera, orbit)
        _connect_view(actions, session, source, camera, view, moved)
        _connect_new_image(source, camera, view)
        prepared = _connect_image(actions, session, source, camera, view)
        _connect_ready(prepared, source, camera, view, orbit, mesh)
        _connect_source(source, orbit, mesh)
        _connect_film(Opening(actions.view_service), session, source, camera, view, blocks.load)
        _connect_brush(actions, session, source)
        _connect_orbit(actions, session, source, camera, orbit)
        _connect_mesh(
            MeshService(actions.view_service, options.recipe_overrides, options.max_queue),
            session,
            source,
            camera,
            mesh,
        )
        _connect_model(actions, session, source, camera, head)
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


def _connect_camera(source: parts.Source, camera: parts.Camera, orbit: parts.Orbit) -> Any:
    """Globe and sliders, each setting the other, in the browser; returns what the globe does."""
    moved = camera.globe.input(
        None, camera.globe, camera.sliders(), js=browser.SLIDERS_OF_GLOBE, **AT_ONCE
    )
    gr.on(
        [
            *(slider.change for slider in camera.sliders()),
            source.input_elevation.change,
            orbit.count.change,
        ],
        None,
        [*camera.sliders(), source.input_elevation, orbit.count, camera.globe],
        camera.globe,
        js=browser.GLOBE_OF_SLIDERS,
        **AT_ONCE,
    )
    by_hand = [slider.input for slider in camera.sliders()]
    buttons = [button.click for button in camera.presets.values()]
    gr.on([*by_hand, *buttons], None, None, None, js=browser.TOUCH, **AT_ONCE)
    for name, button in camera.presets.items():
        here = [source.input_elevation, camera.elevation, camera.azimuth]
        button.click(partial(preset, name), here, camera.sliders(), **AT_ONCE).then(
            None, None, None, js=browser.REST, **AT_ONCE
        )
    return moved


def _connect_image(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
) -> Any:
    """Show an image, and how it is framed, as the model is given it; return that event."""
    # The elevation goes with the image: known of an example, level unless told of one's own.
    # So does how it is cut out: an image that was fixed by hand has its own transparency.
    fresh = [source.input_elevation, source.method]
    source.examples.click(lambda: (ELEVATION_DEG, "auto"), None, fresh, **AT_ONCE)
    gr.on([source.image.upload, source.image.input], lambda: (0, "auto"), None, fresh, **AT_ONCE)
    # A large one takes seconds: the page says at once that it is at work.
    gr.on(
        [source.image.change, source.method.input],
        None,
        source.image,
        source.note,
        js="(image) => image ? 'The object is being cut out…' : ''",
        **AT_ONCE,
    )
    return gr.on(
        [
            source.image.change,
            source.ratio.release,
            source.recentre.input,
            source.method.input,
        ],
        actions.prepare,
        [session, source.image, *source.framing(), source.active],
        [source.before_after, source.note, view.given],
        api_name="prepare",
        **CUT_OUT,
        trigger_mode="always_last",
        show_progress="hidden",
    )


def _connect_new_image(source: parts.Source, camera: parts.Camera, view: parts.View) -> None:
    """Another image is seen from its own camera."""
    moved = [*camera.sliders(), camera.globe, view.player]
    source.image.change(None, moved, moved, js=browser.NEW_IMAGE, **AT_ONCE)
    source.apply.click(None, None, None, js=browser.PAINTED, **AT_ONCE)


def _connect_ready(
    prepared: Any,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
    orbit: parts.Orbit,
    mesh: parts.Mesh,
) -> None:
    """What is prepared is shown and can be asked about; without it the buttons are off."""
    shown = [camera.globe, view.image, view.caption]
    buttons = [orbit.button, orbit.own, mesh.button]
    prepared.success(
        None,
        [source.image, view.given, *camera.sliders(), *shown],
        shown,
        js=browser.PREPARED,
        **AT_ONCE,
    ).then(
        lambda image: [gr.Button(interactive=image is not None)] * len(buttons),
        view.given,
        buttons,
        preprocess=False,
        **AT_ONCE,
    )
    prepared.failure(
        None,
        camera.globe,
        [camera.globe, view.image, view.given, source.before_after, view.caption, source.note],
        js=browser.NOT_PREPARED,
        **AT_ONCE,
    ).then(lambda: [gr.Button(interactive=False)] * len(buttons), None, buttons, **AT_ONCE)


def _connect_source(source: parts.Source, orbit: parts.Orbit, mesh: parts.Mesh) -> None:
    """Results say of what they were made, and fade once another image is chosen."""
    for results, starts in ((orbit, [orbit.button, orbit.own]), (mesh, [mesh.button])):
        of = gr.State()
        begun = gr.on(
            [button.click for button in starts],
            lambda image: image,
            source.image,
            of,
            preprocess=False,
            **AT_ONCE,
        )
        shown = [source.image, of], [results.made, results.source]
        begun.then(parts.made_of, *shown, preprocess=False, **AT_ONCE)
        source.image.change(parts.made_of, *shown, preprocess=False, **AT_ONCE)


def _connect_film(
    opening: Opening,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
    load: Any,
) -> None:
    """The page begins with an example, which turns until the visitor takes the camera."""
    # No component has it as its value: that would be the default of all endpoints.
    example = gr.Image(EXAMPLE, type="filepath", image_mode=None, format="png", visible=False)
    begun = [source.image, source.input_elevation]
    begins = load(None, [example, *begun], begun, js=browser.BEGIN, **AT_ONCE)
    begins.then(
        opening.film,
        [session, source.image],
        view.film,
        preprocess=False,
        concurrency_id="opening",
        concurrency_limit=1,
        **QUIET,
    ).success(
        None,
        [view.film, source.image, view.player],
        view.player,
        js=browser.FILM,
        **AT_ONCE,
    )
    gr.on(
        [source.ratio.release, source.recentre.input, source.method.input],
        None,
        view.player,
        view.player,
        js=browser.NO_FILM,
        **AT_ONCE,
    )
    view.player.input(
        None,
        [view.player, camera.globe],
        [view.image, view.caption, *camera.sliders(), camera.globe],
        js=browser.FRAME,
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
    ).failure(None, None, None, js=browser.NOT_PAINTED, **AT_ONCE)


def _connect_view(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: parts.View,
    moved: Any,
) -> None:
    """Let a quick preview follow the camera; the full view comes when it rests."""
    place = [session, source.image, *camera.sliders(), camera.guidance_scale]
    rest = [camera.seed, source.input_elevation, *source.framing(), source.active]
    shown = [view.image, view.caption]
    by_hand: dict[str, Any] = {
        "fn": actions.follow,
        "inputs": [*place, *rest],
        "outputs": shown,
        "trigger_mode": "always_last",
        **ONE_VIEW,
        **QUIET,
    }
    asking = [
        gr.on(
            [slider.input for slider in camera.sliders()],
            **by_hand,
            js=browser.only_ready("sliders"),
        ),
        moved.then(**by_hand, js=browser.only_ready("globe")),
    ]
    view_of_rest = gr.on(
        [camera.globe.release, *(slider.release for slider in camera.sliders())],
        actions.show,
        [*place, camera.steps, *rest],
        shown,
        js=browser.only_ready("view"),
        trigger_mode="always_last",
        **ONE_VIEW,
        **QUIET,
    )
    by_wire = gr.Button(visible=False)
    by_wire.click(actions.preview, [*place, *rest], shown, api_name="preview", **ONE_VIEW)
    by_wire.click(actions.view, [*place, camera.steps, *rest], shown, api_name="view", **ONE_VIEW)
    for event, name in zip([*asking, view_of_rest], ("sliders", "globe", "view"), strict=True):
        event.then(None, None, None, js=browser.answered(name), **AT_ONCE)


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
        source.active,
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
            **LONG,
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
    """Make a mesh in a line of its own: whoever turns an object need not wait for it."""
    asked = [session, source.image, mesh.recipe, camera.seed, source.input_elevation]
    mesh.button.click(
        lambda: (gr.Row(visible=False), None), None, [mesh.downloads, mesh.viewer], **AT_ONCE
    )
    mesh.button.click(
        solid.reconstruct,
        [*asked, *source.framing(), source.active],
        mesh.outputs(),
        api_name="reconstruct",
        preprocess=False,
        concurrency_id="mesh",
        concurrency_limit=None,
        show_progress="hidden",
    )
    # The video follows the mesh, which is to be seen at once. While a generator answers, outputs
    # come again and again, upon which Gradio's viewer would show nothing: it is set once a mesh.
    there = gr.Textbox(visible=False)
    mesh.files[0].change(
        None,
        [mesh.files[0], there],
        there,
        js="(file, there) => (file ? file.path || there : '')",
        **AT_ONCE,
    )

    def seen(session: Session, there: str, up: float) -> tuple[Any, Any]:
        glb = solid.latest(session) if there else None
        return (
            gr.Row(visible=glb is not None),
            gr.Model3D(glb, camera_position=parts.seen_from_image(up)),
        )

    there.change(
        seen, [session, there, source.input_elevation], [mesh.downloads, mesh.viewer], **AT_ONCE
    )
    mesh.stop.click(
        solid.stop, session, mesh.stats, api_name="stop", queue=False, show_progress="hidden"
    )


def _connect_model(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    head: gr.HTML,
) -> None:
    """Another model, with its badge and the settings that it does best with, once it is there."""

    def settle(session: Session, globe: dict[str, Any]) -> tuple[Any, ...]:
        pipe = actions.model_cache.get(session.model)
        return (
            session.model,
            parts.badge(pipe),
            pipe.config["guidance_scale"],
            pipe.config["num_inference_steps"],
            pipe.config["foreground_ratio"],
            gr.Slider(info=parts.elevation_info(pipe)),
            {**globe, "lowest": lowest_trained_deg(pipe)},
        )

    source.model.input(actions.about, source.model, source.about, **AT_ONCE)
    # A download may take an hour, in which others make their orbits.
    loaded = source.load.click(
        actions.model,
        [session, source.model],
        source.about,
        api_name="model",
        preprocess=False,
        concurrency_id="model",
        concurrency_limit=1,
    )
    loaded.success(
        settle,
        [session, camera.globe],
        [
            source.active,
            head,
            camera.guidance_scale,
            camera.steps,
            source.ratio,
            source.input_elevation,
            camera.globe,
        ],
        **AT_ONCE,
    ).success(None, None, None, js=browser.REST, **AT_ONCE)
