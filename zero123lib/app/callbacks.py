"""What the page and the endpoints do. No request leaves anything behind for another visitor's.

Every public method of `Actions` with a docstring is an endpoint of that name; Gradio shows the
docstring to whoever calls it, and to an MCP client. The first argument is the visitor, which Gradio
adds itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr
import torch
from PIL import Image

from zero123lib._optional import MissingExtraError
from zero123lib.app import inputs, preparing, settings
from zero123lib.app.sessions import Session
from zero123lib.app.shelf import Shelf
from zero123lib.app.studio import Studio, checked_pose, preview_steps
from zero123lib.diffusion.card import about_model
from zero123lib.views.poses import RelativePose, orbit, preset_pose


class Actions:
    """The endpoints over the models of a shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.studio = Studio(shelf)

    def prepare(
        self,
        session: Session,
        image: dict[str, Any] | None,
        foreground_ratio: float | None = None,
        recentre: bool = True,
        method: str = "auto",
        model: str | None = None,
    ) -> tuple[Any, str, Any]:
        """Cut the object out of a picture and frame it, as the model will be given it.

        Args:
            image: file with a picture of one object, best on a transparent background.
            foreground_ratio: longest side of the object over the picture's; the model's own.
            recentre: put the object in the middle at that size; else keep the picture's framing.
            method: auto, alpha (its own transparency), rembg (a network), classical (by colour) or
                none.
            model: which model; the app's own.

        Returns:
            The picture before and after; what to know about the cut-out; what the model is given.
        """
        if image is None:
            return None, "", None
        with one_line_errors():
            pipe = self.shelf.get(model)
            found, prepared = self.studio.prepared(
                session, pipe, image, (foreground_ratio, recentre, method)
            )
            notice = self.studio.notice(model, prepared)
        return preparing.before_after(found), preparing.note(prepared, notice), prepared.rgba

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
            image: file with a picture of one object, best on a transparent background.
            elevation: degrees above the picture's camera.
            azimuth: degrees to the right of the picture's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the picture; 1 is no guidance; the model's own.
            seed: of the noise.
            input_elevation: of the picture's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the picture's; the model's own.
            recentre: put the object in the middle at that size; else keep the picture's framing.
            method: auto, alpha, rembg, classical or none.
            model: which model; the app's own.

        Returns:
            The view; where its camera is and what made it.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            steps = preview_steps(self.shelf.get(model))
            asked = self.studio.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model
            )
            pose = checked_pose(elevation, azimuth, zoom)
            *_, (picture, caption) = self.studio.one(asked, pose, live=False)
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
    ) -> Iterator[tuple[Image.Image, str]]:
        """Show the object from one other camera, in full quality, as it comes out of the noise.

        Args:
            image: file with a picture of one object, best on a transparent background.
            elevation: degrees above the picture's camera.
            azimuth: degrees to the right of the picture's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the picture; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise.
            input_elevation: of the picture's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the picture's; the model's own.
            recentre: put the object in the middle at that size; else keep the picture's framing.
            method: auto, alpha, rembg, classical or none.
            model: which model; the app's own.

        Returns:
            The view; where its camera is and what made it.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.studio.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model
            )
            pose = checked_pose(elevation, azimuth, zoom)
            session.camera = (inputs.upload_path(image), model, elevation, azimuth, zoom)
            yield from self.studio.one(asked, pose, live=True)

    def follow(self, session: Session, image: Any, *values: Any) -> Any:
        """`preview` for the page: nothing where there is no picture or a full view is there."""
        elevation, azimuth, zoom, *_, model = values
        if image is None:
            return gr.skip(), gr.skip()
        if (image.get("path"), model, elevation, azimuth, zoom) == session.camera:
            return gr.skip(), gr.skip()
        session.camera = None
        return self.preview(session, image, *values)

    def show(self, session: Session, image: Any, *values: Any) -> Iterator[Any]:
        """`view` for the page: nothing where there is no picture yet."""
        if image is None:
            yield gr.skip(), gr.skip()
            return
        yield from self.view(session, image, *values)

    def views(
        self,
        session: Session,
        image: dict[str, Any] | None,
        azimuths: str = settings.DEFAULT_AZIMUTHS,
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
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (how Gradio is asked for one)
    ) -> Iterator[tuple[Any, ...]]:
        """Show the object in a picture from other cameras, one view per azimuth and seed.

        Args:
            image: file with a picture of one object, best on a transparent background.
            azimuths: degrees to the right of the picture's camera, separated by commas.
            elevation: degrees above the picture's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the picture; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise; the same seed gives the same views.
            input_elevation: of the picture's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the picture's; the model's own.
            recentre: put the object in the middle at that size; else keep the picture's framing.
            method: auto, alpha, rembg, classical or none.
            seeds: how many, from the first one on; several tell where the model is unsure.
            transparent: take the white background away.
            model: which model; the app's own.

        Returns:
            The views, seed by seed; where the seeds disagree, if there are several; a contact
            sheet; a GIF; an MP4; a zip of all of it with the cameras in transforms.json.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.studio.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model
            )
            up = inputs.number("elevation", elevation, -90.0, 90.0)
            farther = inputs.number("zoom", zoom, -settings.MAX_ZOOM, settings.MAX_ZOOM)
            poses = [RelativePose(up, angle, farther) for angle in inputs.azimuths(azimuths)]
            count = inputs.whole("seeds", seeds, 1, settings.MAX_SEEDS)
            bare = inputs.truth("transparent", transparent)
            yield from self.studio.many(session, asked, poses, count, bare, progress)

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
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Show the object from cameras evenly around it, with the files of the whole turn.

        Args:
            image: file with a picture of one object, best on a transparent background.
            count: how many cameras, the first where the picture's is.
            elevation: degrees above the picture's camera.
            zoom: distance to add; positive is farther.
            guidance_scale: how closely to follow the picture; 1 is no guidance; the model's own.
            steps: denoising steps; the model's own number.
            seed: of the noise; the same seed gives the same views.
            input_elevation: of the picture's camera, degrees, for a model that asks for it.
            foreground_ratio: longest side of the object over the picture's; the model's own.
            recentre: put the object in the middle at that size; else keep the picture's framing.
            method: auto, alpha, rembg, classical or none.
            seeds: how many, from the first one on; several tell where the model is unsure.
            transparent: take the white background away.
            model: which model; the app's own.

        Returns:
            The views, seed by seed; where the seeds disagree, if there are several; a contact
            sheet; a GIF; an MP4; a zip of all of it with the cameras in transforms.json.
        """
        framing = (foreground_ratio, recentre, method)
        with one_line_errors():
            asked = self.studio.asked(
                session, image, guidance_scale, steps, seed, input_elevation, framing, model
            )
            number = inputs.whole("count", count, 1, settings.MAX_VIEWS)
            up = inputs.number("elevation", elevation, -90.0, 90.0)
            farther = inputs.number("zoom", zoom, -settings.MAX_ZOOM, settings.MAX_ZOOM)
            poses = orbit(number, up, farther)
            how_often = inputs.whole("seeds", seeds, 1, settings.MAX_SEEDS)
            bare = inputs.truth("transparent", transparent)
            yield from self.studio.many(session, asked, poses, how_often, bare, progress)

    def model(
        self,
        model: str | None = None,
        progress: gr.Progress = gr.Progress(track_tqdm=True),  # noqa: B008
    ) -> str:
        """Load a model, if it is not in memory yet, and say what it is and its licence.

        Args:
            model: a name that this server offers; the app's own.

        Returns:
            One line: name, licence, what it was trained on, size of its pictures.
        """
        with one_line_errors():
            name = model or self.shelf.default_name
            if not self.shelf.is_loaded(name):
                progress(0.0, desc=f"Loading {name}")
            return about_model(self.shelf.get(model)) + "."


def preset(name: str, input_elevation: float = 0.0) -> tuple[float, float, float]:
    """Elevation, azimuth and zoom of a button; "random" draws anew.

    The camera stops straight above and straight below, wherever the picture's own is.
    """
    generator = torch.Generator()
    generator.seed()
    pose = preset_pose(name, generator)
    up = max(-90.0 - input_elevation, min(90.0 - input_elevation, pose.elevation_deg))
    return max(-90, min(90, round(up))), round(pose.azimuth_deg), pose.radius


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Wrong input, or an extra that is missing, becomes a message in the page and for a client."""
    try:
        yield
    except (ValueError, MissingExtraError) as error:
        raise gr.Error(" ".join(str(error).split()), print_exception=False) from error
