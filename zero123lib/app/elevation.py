"""The estimate of the picture's own elevation: the endpoint, and what the page suggests of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from zero123lib.app import SPACES, inputs
from zero123lib.app.callbacks import one_line_errors
from zero123lib.app.examples import ELEVATION_DEG, example_files
from zero123lib.app.line import BusyError
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.opening import turns_fast
from zero123lib.app.sampling import views_at_once, with_gpu
from zero123lib.app.sessions import Session
from zero123lib.app.settings import GPU_MOST_S
from zero123lib.app.view_service import ViewService, waiting
from zero123lib.app.words import shown
from zero123lib.inversion.confidence import RIGHT_DEG, in_words
from zero123lib.inversion.elevation import ElevationEstimate, elevation_steps
from zero123lib.views.images import Prepared

# Of an estimate's views, so many are a step that others wait for.
_VIEWS_AT_ONCE = 4

TEMPLATE = """<div class="suggested"><span role="status"></span>
<button type="button" hidden>Estimate</button></div>"""
START: dict[str, Any] = {"path": None, "words": "", "offer": None, "ask": False}

# Degrees done and in all, or the estimate once it is there.
Piece = tuple[int, int] | ElevationEstimate


def suggestion(**options: Any) -> gr.HTML:
    """Make the widget; it tells of `input` when its offer is taken, of `submit` to ask for one."""
    return gr.HTML(
        value=START,
        html_template=TEMPLATE,
        js_on_load=(Path(__file__).parent / "elevation.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        **options,
    )


class ElevationService:
    """The endpoint that estimates, and what the page asks about it."""

    def __init__(self, view_service: ViewService) -> None:
        self.view_service = view_service
        self.estimate = make_estimator(view_service.model_cache)

    def elevation(
        self,
        session: Session,
        image: dict[str, Any] | None,
        method: str = "auto",
        model: str | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for one)
    ) -> tuple[float, float | None, str]:
        """Estimate how high the camera of an image stood, from views that the model makes of it.

        Args:
            image: file that shows one object, best on a transparent background.
            method: auto, alpha, u2netp, rembg or none.
            model: which model; the app's own.

        Returns:
            Degrees above the object's level, for `input_elevation`; the probability that it is
            right within 15 degrees, where it is known for the model; both in words.
        """
        found: Piece | str = ""
        with one_line_errors():
            for found in self._pieces(session, image, method, model):
                if isinstance(found, str):
                    progress(None, desc=found)
                elif isinstance(found, tuple):
                    progress(found, desc="Estimating", unit="steps")
        assert isinstance(found, ElevationEstimate)
        return found.elevation_deg, found.confidence, shown(found.notice or said(found))

    def suggest(
        self, session: Session, image: Any, method: str, model: str | None, asked: bool = False
    ) -> Iterator[Any]:
        """Answer the page: what its widget shows, on the way too; nothing without an image.

        Unasked, an estimate is made where it is a matter of seconds and borrows no GPU.
        """
        if image is None:
            yield gr.skip()
            return
        answer = {**START, "path": image.get("path")}
        with one_line_errors():
            if is_example(image):
                yield {**answer, "words": f"An example: known to be {ELEVATION_DEG:g}° up."}
                return
            pipe = self.view_service.model_cache.get(model)
            if not asked and (SPACES is not None or not turns_fast(pipe)):
                yield {**answer, "words": "Its elevation can be estimated.", "ask": True}
                return
            yield {**answer, "words": "Estimating its elevation…"}
            try:
                for found in self._pieces(session, image, method, model):
                    if isinstance(found, str):
                        yield {**answer, "words": found}
                    elif isinstance(found, ElevationEstimate):
                        yield {**answer, "words": shown(said(found)), "offer": offered(found)}
            except BusyError:
                yield {**answer, "words": "The app is busy: ask again in a while.", "ask": True}

    def _pieces(
        self, session: Session, image: Any, method: Any, model: str | None
    ) -> Iterator[Piece | str]:
        """Yield words while it waits, then the estimate's pieces: views of others go before."""
        pipe = self.view_service.model_cache.get(model)
        name = model or self.view_service.model_cache.default_name
        # As the model likes it best, which is what the confidence was calibrated on.
        prepared = self.view_service.condition(session, pipe, image, (None, True, method))
        with self.view_service.line.join() as order:
            for ahead in order.wait():
                yield waiting(ahead)
            yield from order.slices(self.estimate(name, prepared))


def make_estimator(model_cache: ModelCache) -> Any:
    """Return the generator of an estimate's pieces over the models of a model_cache."""

    def estimate(model: str, prepared: Prepared) -> Iterator[Piece]:
        pipe = model_cache.get(model)
        at_once = min(_VIEWS_AT_ONCE, views_at_once(pipe))
        found = yield from elevation_steps(pipe, prepared, views_at_once=at_once)
        yield found

    return with_gpu(estimate, lambda model, prepared: GPU_MOST_S)


def said(found: ElevationEstimate) -> str:
    """Return an estimate in words, with how sure it is."""
    sure = in_words(found.confidence, RIGHT_DEG["elevation"], found.notice)
    return f"Estimated {found.elevation_deg:.0f}° up: {sure}."


def offered(found: ElevationEstimate) -> int | None:
    """Return the degrees to offer: none that the library would not trust.

    Of a model that is not calibrated nobody knows, and the words say so.
    """
    unknown = found.confidence is None and found.notice is None
    return round(found.elevation_deg) if found.trusted or unknown else None


def is_example(image: dict[str, Any]) -> bool:
    """Tell whether an uploaded image is one of the page's examples, whose elevation is known."""
    upload = Path(inputs.upload_path(image))
    examples = [Path(file) for file in example_files()]
    size = upload.stat().st_size
    return any(
        one.stat().st_size == size and one.read_bytes() == upload.read_bytes() for one in examples
    )
