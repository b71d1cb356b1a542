"""What the page begins with: an example that turns, made once by the model that serves."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from zero123lib.app import inputs, settings
from zero123lib.app.callbacks import one_line_errors
from zero123lib.app.examples import ELEVATION_DEG, FOLDER
from zero123lib.app.line import BusyError
from zero123lib.app.view_service import Asked, ViewService, sampling
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose, camera_label, wrap_azimuth_deg

EXAMPLE = FOLDER / "duck.png"
FRAMES = 18
_WEBP_QUALITY = 92


class Opening:
    """The turn of the first example."""

    def __init__(self, view_service: ViewService) -> None:
        self.view_service = view_service
        self._frames: list[dict[str, Any]] = []
        self._lock = Lock()

    def film(self, image: dict[str, Any] | None) -> dict[str, Any]:
        """Return the frames of a turn around the example, for the player.

        There are none of any other image, where a turn is slow, and while the app is busy.
        """
        pipe = self.view_service.model_cache.default
        with one_line_errors():
            if image is None or not turns_fast(pipe) or not is_example(image):
                return {}
        with self._lock:
            try:
                self._frames = self._frames or self._make(pipe)
            except BusyError:
                return {}
        return {"frames": self._frames, "path": image["path"]}

    def _make(self, pipe: Zero123Pipeline) -> list[dict[str, Any]]:
        steps = min(pipe.config["num_inference_steps"], settings.PREVIEW_STEPS)
        # From the file that comes with the app: what is shown to all is nobody's upload.
        asked = Asked(
            pipe.model_name,
            pipe,
            pipe.prepare(EXAMPLE),
            steps,
            pipe.config["guidance_scale"],
            0,
            ELEVATION_DEG,
        )
        turn = [wrap_azimuth_deg(360.0 * number / FRAMES) for number in range(FRAMES)]
        poses = [RelativePose(azimuth_deg=azimuth_deg) for azimuth_deg in turn]
        what = sampling(asked, poses, seeds=1, live=False)
        with self.view_service.line.join() as order:
            *_, shown = order.slices(self.view_service.sample(asked.model, asked.prepared, what))
        by = f"{steps} steps · {pipe.model_name} ({pipe.licence or 'licence not stated'})"
        return [
            {
                "image": address(view),
                "caption": f"{camera_label(pose)} · {by}",
                "camera": [pose.elevation_deg, pose.azimuth_deg, pose.radius],
            }
            for pose, view in zip(poses, shown.images or [], strict=True)
        ]


def is_example(image: dict[str, Any]) -> bool:
    """Tell whether an uploaded image is the page's first example."""
    return Path(inputs.upload_path(image)).read_bytes() == EXAMPLE.read_bytes()


def turns_fast(pipe: Zero123Pipeline) -> bool:
    """Tell whether a turn is a matter of seconds: a small model, or a GPU."""
    return pipe.image_size <= 128 or pipe.device.type != "cpu"


def address(view: Image.Image) -> str:
    """Return an image as a data address."""
    buffer = io.BytesIO()
    view.save(buffer, "WEBP", quality=_WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
