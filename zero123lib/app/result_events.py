"""What happens when an orbit, a mesh or another model is asked for."""

from __future__ import annotations

from typing import Any, cast

import gradio as gr

from zero123lib._choices import Speed
from zero123lib.app import browser, inputs, parts, results, settings
from zero123lib.app.callbacks import Actions
from zero123lib.app.globe import lowest_trained_deg
from zero123lib.app.looks import LOOKS
from zero123lib.app.mesh_service import OBJ_ZIP, STL, MeshService
from zero123lib.app.path import FRAMES
from zero123lib.app.path_service import PathService
from zero123lib.app.queues import AT_ONCE, LONG, QUIET
from zero123lib.app.sessions import Session
from zero123lib.app.view_events import renders
from zero123lib.app.view_service import planned


def connect_orbit(
    actions: Actions,
    paths: PathService,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    orbit: results.Orbit,
    tabs: gr.Tabs,
) -> dict[str, Any]:
    """Make many views and their files: evenly around, from cameras of one's own, or on a path.

    Returns:
        Their events, by name.
    """
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
        camera.speed,
    ]
    camera.render.click(lambda: gr.Tabs(selected="orbit"), None, tabs, **AT_ONCE)
    # The page's path is known to its widget alone; these are what clients of the endpoint see.
    on_path = [
        gr.Textbox("ring", label="Path", visible=False),
        gr.Number(FRAMES, label="Views", precision=0, visible=False),
    ]
    made = {
        name: button.click(
            function,
            [session, source.image, *cameras, *rest],
            orbit.outputs(),
            js=pace,
            api_name=name,
            scroll_to_output=True,
            show_progress_on=orbit.gallery,
            **LONG,
        )
        for name, button, function, cameras, pace in (
            ("orbit", orbit.button, actions.orbit, [orbit.count], browser.TURN),
            ("views", orbit.own, actions.views, [orbit.azimuths], browser.TURN),
            ("path", camera.render, paths.path, on_path, browser.RENDER),
        )
    }
    for event in made.values():
        event.success(
            lambda seeds: (gr.Row(visible=True), gr.Image(visible=seeds > 1)),
            orbit.seeds,
            [orbit.downloads, orbit.uncertainty],
            **AT_ONCE,
        ).then(
            None,
            [orbit.gallery, orbit.seeds, orbit.player],
            orbit.player,
            js=browser.PLAY,
            **AT_ONCE,
        )
    orbit.stop.click(None, cancels=cast(Any, list(made.values())), **AT_ONCE)
    return made


def connect_path(
    paths: PathService, source: parts.Source, camera: parts.Camera, view: results.View
) -> None:
    """Draw the path as it is edited: the server knows the way between its keyframes."""
    drawn = camera.path.input(
        paths.drawn,
        [camera.path, source.input_elevation],
        camera.drawn,
        preprocess=False,
        trigger_mode="always_last",
        # In the queue: only so the page shows what is wrong with a file.
        concurrency_id="path",
        concurrency_limit=settings.VIEWS_AT_ONCE,
        **QUIET,
    )
    drawn.success(None, camera.drawn, None, js=browser.DRAWN, **AT_ONCE)
    drawn.success(renders, [view.given, camera.drawn], camera.render, preprocess=False, **AT_ONCE)
    drawn.failure(None, None, None, js=browser.REFUSED, **AT_ONCE)


def connect_mesh(
    solid: MeshService,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    mesh: results.Mesh,
) -> Any:
    """Make a mesh in a line of its own: whoever turns an object need not wait for it.

    Returns:
        The event of a finished one.
    """
    asked = [session, source.image, mesh.recipe, camera.seed, source.input_elevation]
    mesh.button.click(
        lambda: (gr.Row(visible=False), gr.Radio(value="texture", visible=False), None),
        None,
        [mesh.downloads, mesh.look, mesh.viewer],
        **AT_ONCE,
    )
    made = mesh.button.click(
        solid.reconstruct,
        [*asked, *source.framing(), source.active, mesh.faces, mesh.texture],
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

    def drawn(session: Session, look: str, up: float) -> Any:
        name, mode = LOOKS[inputs.one_of("look", look, LOOKS)]
        return gr.Model3D(
            solid.latest(session, name),
            display_mode=cast(Any, mode),
            camera_position=results.seen_from_image(up),
        )

    def seen(session: Session, there: str, up: float) -> tuple[Any, ...]:
        others = [solid.latest(session, name) if there else None for name in (OBJ_ZIP, STL)]
        shown = others[-1] is not None
        viewer = drawn(session, "texture", up) if shown else None
        return gr.Row(visible=shown), gr.Radio(visible=shown), viewer, *others

    there.change(
        seen,
        [session, there, source.input_elevation],
        [mesh.downloads, mesh.look, mesh.viewer, *mesh.others],
        **AT_ONCE,
    )
    # Gradio's viewer begins anew with another file: edges it would else keep for ever.
    mesh.look.input(drawn, [session, mesh.look, source.input_elevation], mesh.viewer, **AT_ONCE)
    mesh.stop.click(
        solid.stop, session, mesh.stats, api_name="stop", queue=False, show_progress="hidden"
    )
    return made


def connect_model(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    head: gr.HTML,
) -> None:
    """Take another model once it is there, with its badge and what it does best with."""

    def settle(session: Session, globe: dict[str, Any], speed: Speed) -> tuple[Any, ...]:
        pipe = actions.model_cache.get(session.model)
        return (
            session.model,
            parts.badge(pipe),
            pipe.config["guidance_scale"],
            planned(pipe, speed)[0],
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
        [session, camera.globe, camera.speed],
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
    camera.speed.input(
        lambda session, speed: planned(actions.model_cache.get(session.model), speed)[0],
        [session, camera.speed],
        camera.steps,
        **AT_ONCE,
    ).success(None, None, None, js=browser.REST, **AT_ONCE)
