"""What a request is answered with: views as a file, or why there are none."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from zero123lib._errors import RunError
from zero123lib._optional import MissingExtraError
from zero123lib.app import outputs
from zero123lib.app.guard import failed
from zero123lib.app.line import BusyError
from zero123lib.views.folder import png, view_files
from zero123lib.views.poses import Pose


@dataclass(frozen=True)
class Answer:
    """Views.

    Attributes:
        body: of the answer.
        media_type: of the body.
        views: how many there are in it.
        notice: what to know of them, if anything.
        name: of the file, where it is one.
    """

    body: bytes
    media_type: str
    views: int
    notice: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Refusal:
    """Why there are no views: an HTTP status, and one line."""

    status: int
    detail: str


@dataclass(frozen=True, eq=False)
class Views:
    """Views and what they were made of.

    Attributes:
        condition: the image as the model saw it.
        images: seed by seed, camera by camera; RGB or RGBA.
        cameras: of one seed's views, absolute.
        labels: of one seed's views.
        seeds: of the noise.
        made_by: program, model, licence and settings.
        notice: of an image that is unlike those that the model was trained on.
    """

    condition: Image.Image
    images: Sequence[Image.Image]
    cameras: Sequence[Pose]
    labels: Sequence[str]
    seeds: Sequence[int]
    made_by: dict[str, Any]
    notice: str | None

    def answer(self, form: str) -> Answer:
        """Return the views as "png", "zip" or "json"."""
        count = len(self.images)
        if form == "png":
            return Answer(png(self.images[0]), "image/png", 1, self.notice)
        if form == "zip":
            return Answer(self._zip(), "application/zip", count, self.notice, "views.zip")
        return Answer(self._json(), "application/json", count, self.notice)

    def _zip(self) -> bytes:
        """Return the folder that `zero123 views` writes, as a zip."""
        files = view_files(
            self.images,
            list(self.cameras) * len(self.seeds),
            condition=self.condition,
            labels=["your picture", *outputs.captions(self.labels, self.seeds)],
            made_by=self.made_by,
        )
        buffer = BytesIO()
        outputs.write_zip(buffer, files)
        return buffer.getvalue()

    def _json(self) -> bytes:
        placed = [(seed, camera) for seed in self.seeds for camera in self.cameras]
        views = [
            {
                "seed": seed,
                "elevation_deg": camera.elevation_deg,
                "azimuth_deg": camera.azimuth_deg,
                "radius": camera.radius,
                "png": base64.b64encode(png(image)).decode(),
            }
            for (seed, camera), image in zip(placed, self.images, strict=True)
        ]
        told = {"views": views, "made_by": self.made_by, "notice": self.notice}
        return json.dumps(told).encode()


def refusal(error: Exception, request_id: str) -> Refusal:
    """Return what to tell of an error; of a fault of the server's own its number alone.

    Args:
        error: the exception that is being handled.
        request_id: under which the log has its trace.
    """
    words = " ".join(str(error).split())
    if isinstance(error, BusyError):
        return Refusal(503, words)
    if isinstance(error, MissingExtraError):
        return Refusal(501, words)
    if isinstance(error, ValueError):
        return Refusal(422, words)
    if isinstance(error, RunError):
        return Refusal(500, words)
    return Refusal(500, failed("views", request_id))
