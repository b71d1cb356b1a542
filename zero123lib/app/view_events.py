"""What happens when the image, the camera or the view is moved or pressed."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from zero123lib.app import browser, parts, results, settings
from zero123lib.app.callbacks import Actions, preset
from zero123lib.app.elevation import ElevationService
from zero123lib.app.examples import ELEVATION_DEG
from zero123lib.app.opening import EXAMPLE, Opening
from zero123lib.app.queues import AT_ONCE, CUT_OUT, LONG, ONE_VIEW, QUIET


def connect_camera(source: parts.Source, camera: parts.Camera, orbit: results.Orbit) -> Any:
    """Let globe and sliders set each other, in the browser; return what the globe does."""
    moved = camera.globe.input(
        None, camera.globe, camera.sliders(), js=browser.SLIDERS_OF_GLOBE, **AT_ONCE
    )
    camera.globe.edit(
        None, camera.globe, source.input_elevation, js=browser.SOURCE_OF_GLOBE, **AT_ONCE
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


def connect_image(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: results.View,
    again: Any,
) -> Any:
    """Show an image, and how it is framed, as the model is given it; return that event.

    It is also made once the event `again` comes.
    """
    # The elevation goes with the image: known of an example, level unless told of one's own.
    # So does how it is cut out: an image that was fixed by hand has its own transparency.
    fresh = [source.input_elevation, source.method]
    source.examples.click(lambda: (ELEVATION_DEG, "auto"), None, fresh, **AT_ONCE)
    gr.on([source.image.upload, source.image.input], lambda: (0, "auto"), None, fresh, **AT_ONCE)
    source.image.change(
        None, source.image, source.which, js='(image) => image?.path ?? ""', **AT_ONCE
    )
    # A large one takes seconds: the page says at once that it is at work.
    gr.on(
        [source.which.change, source.method.input],
        None,
        source.image,
        source.note,
        js="(image) => image ? 'The object is being cut out…' : ''",
        **AT_ONCE,
    )
    return gr.on(
        [
            source.which.change,
            source.ratio.release,
            source.recentre.input,
            source.method.input,
            again,
        ],
        actions.prepare,
        [session, source.image, *source.framing(), source.active],
        [source.before_after, source.note, view.given],
        api_name="prepare",
        **CUT_OUT,
        trigger_mode="always_last",
        show_progress="hidden",
    )


def connect_elevation(
    elevations: ElevationService,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    prepared: Any,
) -> None:
    """Suggest the elevation of a new image's camera; who wants it takes it."""
    asked = [session, source.image, source.method, source.active]
    how: dict[str, Any] = {
        "inputs": asked,
        "outputs": camera.suggestion,
        "preprocess": False,
        "trigger_mode": "always_last",
        "concurrency_id": "elevation",
        "concurrency_limit": settings.LONG_AT_ONCE,
        **QUIET,
    }
    prepared.success(elevations.suggest, js=browser.SUGGEST, **how)
    camera.suggestion.submit(partial(elevations.suggest, asked=True), **how)
    camera.suggestion.input(
        None, camera.suggestion, source.input_elevation, js=browser.TAKE, **AT_ONCE
    ).then(None, None, None, js=browser.REST, **AT_ONCE)
    by_wire = gr.Button(visible=False)
    outputs = [
        gr.Number(label="Elevation, degrees", visible=False),
        gr.Number(label="Probability that it is right within 15 degrees", visible=False),
        gr.Textbox(label="In words", visible=False),
    ]
    by_wire.click(elevations.elevation, asked, outputs, api_name="elevation", **LONG)


def connect_new_image(source: parts.Source, camera: parts.Camera, view: results.View) -> None:
    """Show another image from its own camera."""
    moved = [*camera.sliders(), camera.globe, view.player]
    source.which.change(
        None, [source.image, *moved], moved, js=browser.NEW_IMAGE, preprocess=False, **AT_ONCE
    )
    source.apply.click(None, None, None, js=browser.PAINTED, **AT_ONCE)


def connect_ready(
    prepared: Any,
    source: parts.Source,
    camera: parts.Camera,
    view: results.View,
    orbit: results.Orbit,
    mesh: results.Mesh,
) -> None:
    """Show what is prepared, which can be asked about; without it switch the buttons off."""
    shown = [camera.globe, view.image, view.caption]
    buttons = [orbit.button, orbit.own, mesh.button, camera.render]
    prepared.success(
        None,
        [source.image, view.given, *camera.sliders(), *shown],
        shown,
        js=browser.PREPARED,
        **AT_ONCE,
    ).then(
        lambda image, drawn: [
            *[gr.Button(interactive=image is not None)] * len(buttons[:-1]),
            renders(image, drawn),
        ],
        [view.given, camera.drawn],
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


def renders(image: Any, drawn: Any) -> Any:
    """Let a path be rendered where there are both an image and a path, as it was last drawn."""
    return gr.Button(interactive=image is not None and bool((drawn or {}).get("path")))


def connect_source(
    source: parts.Source, camera: parts.Camera, orbit: results.Orbit, mesh: results.Mesh
) -> None:
    """Say of what results were made, and let them fade once another image is chosen."""
    for result, starts in (
        (orbit, [orbit.button, orbit.own, camera.render]),
        (mesh, [mesh.button]),
    ):
        of = gr.State()
        begun = gr.on(
            [button.click for button in starts],
            lambda image: image,
            source.image,
            of,
            preprocess=False,
            **AT_ONCE,
        )
        shown = [source.image, of], [result.made, result.source]
        begun.then(results.made_of, *shown, preprocess=False, **AT_ONCE)
        source.image.change(results.made_of, *shown, preprocess=False, **AT_ONCE)


def connect_film(
    opening: Opening,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: results.View,
    load: Any,
) -> None:
    """Begin with an example, which turns until the visitor takes the camera."""
    # No component has it as its value: that would be the default of all endpoints.
    example = gr.Image(str(EXAMPLE), type="filepath", image_mode=None, format="png", visible=False)
    begun = [source.image, source.input_elevation]
    begins = load(None, [example, *begun], begun, js=browser.BEGIN, **AT_ONCE)
    begins.then(
        opening.film,
        source.image,
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


def connect_brush(actions: Actions, session: gr.State, source: parts.Source) -> None:
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


def connect_view(
    actions: Actions,
    session: gr.State,
    source: parts.Source,
    camera: parts.Camera,
    view: results.View,
    moved: Any,
) -> Any:
    """Let a quick preview follow the camera; return the full view, which comes when it rests."""
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
        [*place, camera.steps, *rest, camera.speed],
        shown,
        js=browser.only_ready("view"),
        trigger_mode="always_last",
        **ONE_VIEW,
        **QUIET,
    )
    by_wire = gr.Button(visible=False)
    by_wire.click(actions.preview, [*place, *rest], shown, api_name="preview", **ONE_VIEW)
    full = [*place, camera.steps, *rest, camera.speed]
    by_wire.click(actions.view, full, shown, api_name="view", **ONE_VIEW)
    for event, name in zip([*asking, view_of_rest], ("sliders", "globe", "view"), strict=True):
        event.then(None, None, None, js=browser.answered(name), **AT_ONCE)
    return view_of_rest
