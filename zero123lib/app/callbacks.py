"""What the page and the endpoints do. No request leaves anything behind for another visitor's.

Every public method of `Actions` is an endpoint of that name, but those that only the page asks;
Gradio shows the docstring to whoever calls it, and to an MCP client. The first argument is the
visitor, which Gradio adds itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import torch
from PIL import Image

from zero123lib._choices import Upscale
from zero123lib._errors import RunError
from zero123lib._optional import MissingExtraError
from zero123lib.app import inputs, preparing, settings
from zero123lib.app.guard import failed
from zero123lib.app.line import BusyError
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sampling import Elsewhere
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import ViewService, checked_pose, preview_steps
from zero123lib.app.words import shown
from zero123lib.diffusion.card import about_model
from zero123lib.views.images import CutOutMethod, ImageError
from zero123lib.views.poses import Pose, RelativePose, orbit, preset_pose

# So far the button "random" goes at least.
RANDOM_AT_LEAST_DEG = 40.0


class Actions:
    """The endpoints over the models of a model_cache."""

    def __init__(
        self,
        model_cache: ModelCache,
        places: int = settings.MAX_WAITING,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self.model_cache = model_cache
        self.view_service = ViewService(model_cache, places, elsewhere)

    def prepare(
        self,
        session: Session,
        image: dict[str, Any] | None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        model: str | None = None,
    ) -> tuple[Any, str, Any]:
        """Cut the object out of an image and frame it, as the model will be given it.

        Args:
            image: file that shows one object, best on a transparent background.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha (its own transparency), u2netp (a network), rembg (a larger one) or
                none.
            model: which model; the app's own.

        Returns:
            The image before and after; what to know about the cut-out; what the model is given.
        """
        if image is None:
            return None, "", None
        with one_line_errors():
            pipe = self.model_cache.get(model)
            found, prepared = self.view_service.prepared(
                session, pipe, image, (foreground_ratio, recentre, method)
            )
            notice = self.view_service.notice(model, prepared)
        before_after = preparing.before_after(found)
        return before_after, shown(preparing.note(prepared, notice)), prepared.rgba

    def canvas(self, session: Session, image: Any, method: str) -> Any:
        """Show the image for the brush that fixes its cut-out."""
        with one_line_errors():
            shown = preparing.canvas(self._cut(session, image, method))
        return {"background": shown, "layers": [], "composite": shown}, gr.Group(visible=True)

    def fix(self, session: Session, image: Any, method: str, strokes: Any) -> tuple[Any, ...]:
        """Give the image the transparency that was painted, as a new one."""
        with one_line_errors():
            painted = inputs.painted_layers(strokes)
            fixed = preparing.fixed(self._cut(session, image, method), painted)
        return fixed, "alpha", gr.Group(visible=False)

    def _cut(self, session: Session, image: Any, method: str) -> preparing.Cut:
        """Cut out as the page says; all is cut away where nothing stands out."""
        method = inputs.choice("method", method, CutOutMethod)
        try:
            return self.view_service.cut(session, image, method)
        except ImageError:
            return preparing.nothing(inputs.uploaded_image(image))

    def preview(
        self,
        session: Session,
        image: dict[str, Any] | None,
        elevation: float = 0.0,
        azimuth: float = 0.0,
        zoom: float = 0.0,
        guidance_scale: float | None = None,
        seed: int = 0,
        input_elevation: float | None = None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        model: str | None = None,
    ) -> tuple[Image.Image, str]:
        """Show the object from one other camera, quickly: few steps.

        Args:
            image: file that shows one object, best on a transparent background.
            elevation: degrees above the image's camera.
            azimuth: degrees to the right of the image's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the image; 1 is no guidance; the model's own.
            seed: of the noise.
            input_elevation: of the image's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            model: which model; the app's own.

        Returns:
            The view; where its camera is and what made it.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            steps = preview_steps(self.model_cache.get(model))
            asked = self.view_service.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model
            )
            pose = checked_pose(elevation, azimuth, zoom)
            *_, (picture, caption) = self.view_service.one(asked, pose, live=False)
        return picture, caption

    def view(
        self,
        session: Session,
        image: dict[str, Any] | None,
        elevation: float = 0.0,
        azimuth: float = 0.0,
        zoom: float = 0.0,
        guidance_scale: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        input_elevation: float | None = None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        model: str | None = None,
        speed: str = "exact",
    ) -> Iterator[tuple[Any, str]]:
        """Show the object from one other camera, in full quality, as it comes out of the noise.

        Args:
            image: file that shows one object, best on a transparent background.
            elevation: degrees above the image's camera.
            azimuth: degrees to the right of the image's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the image; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise.
            input_elevation: of the image's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            model: which model; the app's own.
            speed: exact, or balanced or fast, which leave passes of the model out.

        Returns:
            The view; where its camera is and what made it.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.view_service.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model, speed
            )
            pose = checked_pose(elevation, azimuth, zoom)
            session.camera = (inputs.upload_path(image), model, elevation, azimuth, zoom)
            yield from self.view_service.one(asked, pose, live=True)

    def follow(self, session: Session, image: Any, *values: Any) -> Any:
        """Answer the page as `preview` does, or nothing without an image or beside a full view."""
        elevation, azimuth, zoom, *_, model = values
        if image is None:
            return gr.skip(), gr.skip()
        if (image.get("path"), model, elevation, azimuth, zoom) == session.camera:
            return gr.skip(), gr.skip()
        session.camera = None
        return self.preview(session, image, *values)

    def show(self, session: Session, image: Any, *values: Any) -> Iterator[Any]:
        """Answer the page as `view` does, or nothing where there is no image yet."""
        if image is None:
            yield gr.skip(), gr.skip()
            return
        yield from self.view(session, image, *values)

    def views(
        self,
        session: Session,
        image: dict[str, Any] | None,
        azimuths: str | list[float] = settings.DEFAULT_AZIMUTHS,
        elevation: float = 0.0,
        zoom: float = 0.0,
        guidance_scale: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        input_elevation: float | None = None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        seeds: int = 1,
        transparent: bool = False,
        model: str | None = None,
        upscale: int = 1,
        speed: str = "exact",
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for one)
    ) -> Iterator[tuple[Any, ...]]:
        """Show the object in an image from other cameras, one view per azimuth and seed.

        Args:
            image: file that shows one object, best on a transparent background.
            azimuths: degrees to the right of the image's camera, from -360 to 360; a list, or a
                text with commas between.
            elevation: degrees above the image's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the image; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise; the same seed gives the same views.
            input_elevation: of the image's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            seeds: how many, from the first one on; several tell where the model is unsure.
            transparent: take the white background away.
            model: which model; the app's own.
            upscale: 2 or 4 enlarges the views, by Real-ESRGAN animevideov3.
            speed: exact, or balanced or fast, which leave passes of the model out.

        Returns:
            The views, seed by seed; where the seeds disagree, if there are several; a contact
            sheet; a GIF; an MP4; a zip of all of it with the cameras in transforms.json.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.view_service.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model, speed
            )
            up = inputs.number("elevation", elevation, -90.0, 90.0)
            farther = inputs.number("zoom", zoom, -settings.MAX_ZOOM, settings.MAX_ZOOM)
            poses = [RelativePose(up, angle, farther) for angle in inputs.azimuths(azimuths)]
            count = inputs.whole("seeds", seeds, 1, settings.MAX_SEEDS)
            bare = inputs.truth("transparent", transparent)
            larger = inputs.choice("upscale", upscale, Upscale)
            yield from self.view_service.many(session, asked, poses, count, bare, larger, progress)

    def orbit(
        self,
        session: Session,
        image: dict[str, Any] | None,
        count: int = 8,
        elevation: float = 0.0,
        zoom: float = 0.0,
        guidance_scale: float | None = None,
        steps: int | None = None,
        seed: int = 0,
        input_elevation: float | None = None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        seeds: int = 1,
        transparent: bool = False,
        model: str | None = None,
        upscale: int = 1,
        speed: str = "exact",
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Show the object from cameras evenly around it, with the files of the whole turn.

        Args:
            image: file that shows one object, best on a transparent background.
            count: how many cameras, the first where the image's is.
            elevation: degrees above the image's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the image; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise; the same seed gives the same views.
            input_elevation: of the image's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the image's; the model's own.
            recentre: put the object in the middle at that size; else keep the image's framing.
            method: auto, alpha, u2netp, rembg or none.
            seeds: how many, from the first one on; several tell where the model is unsure.
            transparent: take the white background away.
            model: which model; the app's own.
            upscale: 2 or 4 enlarges the views, by Real-ESRGAN animevideov3.
            speed: exact, or balanced or fast, which leave passes of the model out.

        Returns:
            The views, seed by seed; where the seeds disagree, if there are several; a contact
            sheet; a GIF; an MP4; a zip of all of it with the cameras in transforms.json.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.view_service.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model, speed
            )
            number = inputs.whole("count", count, 1, settings.MAX_VIEWS)
            up = inputs.number("elevation", elevation, -90.0, 90.0)
            farther = inputs.number("zoom", zoom, -settings.MAX_ZOOM, settings.MAX_ZOOM)
            poses = orbit(number, up, farther)
            how_often = inputs.whole("seeds", seeds, 1, settings.MAX_SEEDS)
            bare = inputs.truth("transparent", transparent)
            larger = inputs.choice("upscale", upscale, Upscale)
            yield from self.view_service.many(
                session, asked, poses, how_often, bare, larger, progress
            )

    def model(
        self,
        session: Session,
        model: str | None = None,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> str:
        """Load a model, if it is not in memory yet, and say what it is and its licence.

        Args:
            model: a name that this server offers; the app's own.

        Returns:
            One line: name, licence, what it was trained on, size of its images.
        """
        with one_line_errors():
            name = model or self.model_cache.default_name
            if not (isinstance(name, str) and self.model_cache.is_loaded(name)):
                progress(0.0, desc=f"Loading {str(name)[:80]}")
            about = f"{about_model(self.model_cache.get(name))}."
            session.model = name
            return shown(about)

    def about(self, name: Any) -> str:
        """Tell the page what loading a model would bring; nothing is fetched."""
        try:
            return shown(self.model_cache.about(name))
        except ValueError as error:
            return shown(str(error))


def preset(
    name: str, input_elevation: float = 0.0, elevation: float = 0.0, azimuth: float = 0.0
) -> tuple[float, float, float]:
    """Return the elevation, azimuth and zoom of a button.

    "random" draws anew, at least 40 degrees away from the camera at this elevation and azimuth.
    The camera stops straight above and straight below, wherever the image's own is.
    """
    if name == "front":
        return 0, 0, 0
    generator = torch.Generator()
    generator.seed()
    here = Pose(max(-90.0, min(90.0, input_elevation + elevation)), azimuth)
    while True:
        pose = preset_pose(name, generator)
        up = max(-90.0 - input_elevation, min(90.0 - input_elevation, pose.elevation_deg))
        to = max(-90, min(90, round(up))), round(pose.azimuth_deg), pose.radius
        there = Pose(max(-90.0, min(90.0, input_elevation + to[0])), to[1])
        if name != "random" or angle_between_deg(here, there) >= RANDOM_AT_LEAST_DEG:
            return to


def angle_between_deg(a: Pose, b: Pose) -> float:
    """Return the angle between the directions of two cameras, degrees in [0, 180]."""
    up_a, up_b = math.radians(a.elevation_deg), math.radians(b.elevation_deg)
    around = math.radians(a.azimuth_deg - b.azimuth_deg)
    cosine = math.sin(up_a) * math.sin(up_b) + math.cos(up_a) * math.cos(up_b) * math.cos(around)
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn wrong input, a missing extra or a run that cannot go on into a message in the page and
    for a client; of any other fault they are told a number, and the log has its trace."""
    try:
        yield
    except gr.Error:
        raise
    except (ValueError, BusyError, MissingExtraError, RunError) as error:
        words = " ".join(str(error).split())
        raise gr.Error(shown(words), print_exception=False) from error
    except Exception as error:
        raise gr.Error(failed("in an endpoint"), print_exception=False) from error
