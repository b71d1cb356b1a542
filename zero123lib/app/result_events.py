"""What happens when an orbit, a mesh or another model is asked for."""

from __future__ import annotations

from typing import Any, cast

import gradio as gr

from zero123lib.app import browser, parts, results
from zero123lib.app.callbacks import Actions
from zero123lib.app.globe import lowest_trained_deg
from zero123lib.app.mesh_service import MeshService
from zero123lib.app.queues import AT_ONCE, LONG
from zero123lib.app.sessions import Session


def connect_orbit(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    orbit: results.Orbit,
) -> None:
    """Make many views and their files, evenly around or from cameras of one's own."""
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


def connect_mesh(
    solid: MeshService,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    mesh: results.Mesh,
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
            gr.Model3D(glb, camera_position=results.seen_from_image(up)),
        )

    there.change(
        seen, [session, there, source.input_elevation], [mesh.downloads, mesh.viewer], **AT_ONCE
    )
    mesh.stop.click(
        solid.stop, session, mesh.stats, api_name="stop", queue=False, show_progress="hidden"
    )


def connect_model(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    head: gr.HTML,
) -> None:
    """Take another model once it is there, with its badge and what it does best with."""

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
