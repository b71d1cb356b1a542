"""Paths of the camera: what the page draws of one, and the endpoint that makes its views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gradio as gr

from zero123lib._choices import Upscale
from zero123lib._errors import ArgumentError
from zero123lib.app import inputs, settings
from zero123lib.app.callbacks import one_line_errors
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import ViewService, checked_pose
from zero123lib.views.paths import (
    PATH_PRESETS,
    CameraPath,
    path_content,
    path_files_content,
    path_from_content,
    path_from_transforms,
    preset_path,
)
from zero123lib.views.poses import Pose, RelativePose, absolute_poses

# The globe draws so many pieces of the way.
CURVE = 120


class PathService:
    """The endpoint of paths, and what the page asks about them."""

    def __init__(self, view_service: ViewService) -> None:
        self.view_service = view_service

    def path(
        self,
        session: Session,
        image: dict[str, Any] | None,
        path: str | dict[str, Any] = "ring",
        count: int = 16,
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
        """Show the object from cameras along a path, with the files of the whole film.

        Every view is the one that `view` makes from its camera.

        Args:
            image: file that shows one object, best on a transparent background.
            path: ring, spiral, rise, sway or zoom; or the content of a transforms.json, or of its
                camera_path.
            count: how many cameras, at even times.
            elevation: where a path by name begins, degrees above the image's camera.
            zoom: the same of its distance; positive is farther.
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
            sheet; a GIF; an MP4; a zip of all of it with cameras and keyframes in transforms.json.
        """
        with one_line_errors():
            frames = inputs.whole("count", count, 1, settings.MAX_FRAMES)
            start = checked_pose(elevation, 0.0, zoom)
            asked = self.view_service.asked(
                session,
                image,
                guidance_scale,
                steps,
                seed,
                input_elevation,
                (foreground_ratio, recentre, method),
                model,
                speed,
            )
            way = wanted_path(path, start, asked.source)
            how_often = inputs.whole("seeds", seeds, 1, settings.MAX_SEEDS)
            bare = inputs.truth("transparent", transparent)
            larger = inputs.choice("upscale", upscale, Upscale)
            poses = way.sample(frames)
            yield from self.view_service.many(
                session, asked, poses, how_often, bare, larger, progress, way
            )

    def drawn(self, asked: Any, input_elevation: Any) -> dict[str, Any]:
        """Tell the page of a path: its keyframes, the cameras of its frames, a file of it.

        Args:
            asked: the page's: the path, by name or content, or nothing; `count` of the frames;
                `start`, where a path by name begins; `edit`, which comes back; `save` for a file.
            input_elevation: of the image's camera, degrees.
        """
        with one_line_errors():
            source = Pose(inputs.number("input_elevation", input_elevation, -90.0, 90.0))
            asked = asked if isinstance(asked, Mapping) else {}
            answer = {"edit": asked.get("edit")}
            if asked.get("path") is None:
                return {**answer, "path": None, "frames": [], "curve": []}
            start = asked.get("start")
            start = start if isinstance(start, list) and len(start) == 3 else [0, 0, 0]
            count = inputs.whole("count", asked.get("count"), 1, settings.MAX_FRAMES)
            way = wanted_path(asked["path"], checked_pose(*start), source)
            frames, curve = (
                [[p.elevation_deg, p.azimuth_deg, p.radius] for p in poses]
                for poses in (way.sample(count), way.poses([i / CURVE for i in range(CURVE + 1)]))
            )
            if asked.get("save"):
                answer["file"] = path_files_content(way, source, count)
            return {**answer, "path": path_content(way), "frames": frames, "curve": curve}


def wanted_path(given: Any, start: RelativePose, source: Pose) -> CameraPath:
    """Make the path that a request names or holds.

    Args:
        given: a preset's name, or the content of a transforms.json or of its camera_path.
        start: where a preset begins.
        source: the image's own camera.

    Raises:
        ArgumentError: it is none, or has more keyframes or goes farther than the app does.
    """
    if isinstance(given, str) and given in PATH_PRESETS:
        up = source.elevation_deg
        bounds = max(-90.0, -90.0 - up), min(90.0, 90.0 - up)
        return preset_path(given, start, bounds)
    if not isinstance(given, Mapping):
        expected = f"{', '.join(PATH_PRESETS)}, or the content of a transforms.json"
        raise ArgumentError("path", expected, inputs.short(given))
    if "keyframes" in given:
        way = path_from_content(given, "path")
    else:
        way = path_from_transforms(given, source)
    if len(way.keyframes) > settings.MAX_KEYFRAMES:
        expected = f"at most {settings.MAX_KEYFRAMES} keyframes"
        raise ArgumentError("path", expected, str(len(way.keyframes)))
    inputs.number("path.duration_s", way.duration_s, *settings.DURATION_S)
    for index, one in enumerate(way.keyframes):
        try:
            pose = one.pose
            checked_pose(pose.elevation_deg, pose.azimuth_deg, pose.radius)
        except ArgumentError as error:
            raise error.within(f"path.keyframes[{index}]") from error
    absolute_poses(source, [one.pose for one in way.keyframes], "path")
    return way
