"""What a replica does: from the bytes of an image to its views, one request after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from zero123lib.app import outputs, settings
from zero123lib.app.line import Line
from zero123lib.app.model_cache import ModelCache
from zero123lib.app.sampling import Sampling, Shown, make_sampler
from zero123lib.app.sessions import Session
from zero123lib.app.view_service import (
    check_number_of_images,
    conditioned,
    origin,
    sampling,
    settled,
)
from zero123lib.diffusion.apps import load_pipeline, view_labels
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.serving.answers import Answer, Refusal, Views, refusal
from zero123lib.serving.asking import Asking
from zero123lib.views.images import Prepared
from zero123lib.views.loading import load_image
from zero123lib.views.poses import absolute_poses


class ViewMaker:
    """Views of a model, and nothing kept of a request but the image that came last.

    Args:
        pipe: the model.
    """

    def __init__(self, pipe: Zero123Pipeline) -> None:
        self.pipe = pipe
        self.sample = make_sampler(ModelCache(pipe, load_pipeline))
        # Whoever asks for one image from many cameras, in many requests, has it cut out once.
        self._last = Session()
        # One step of one request at a time; those of few views go before those of many.
        self._line = Line(settings.MAX_WAITING)

    def make(self, content: bytes, name: str, asking: Asking, request_id: str) -> Answer | Refusal:
        """Make the views of an image, or say why not; no error goes further.

        Args:
            content: of the image's file.
            name: of the file, for messages.
            asking: cameras and settings.
            request_id: under which the log has what is told by a number.
        """
        try:
            return self.views(content, name, asking).answer(asking.format)
        except Exception as error:
            return refusal(error, request_id)

    def views(self, content: bytes, name: str, asking: Asking) -> Views:
        """Make the views of an image.

        Raises:
            ValueError: the image or a setting cannot be used.
        """
        pipe, poses = self.pipe, asking.poses()
        check_number_of_images(len(poses), asking.seeds)
        framing = (asking.foreground_ratio, asking.recentre, asking.method)
        key = hashlib.sha256(content).digest()

        def read() -> Image.Image:
            return load_image(content, settings.MAX_PIXELS, repr(name[:200]))

        asked = settled(
            pipe.model_name,
            pipe,
            lambda: conditioned(self._last, pipe, read, key, framing),
            lambda: (key, framing),
            guidance_scale=asking.guidance_scale,
            steps=asking.steps,
            seed=asking.seed,
            input_elevation=asking.input_elevation,
            speed=asking.speed,
        )
        cameras = absolute_poses(asked.source, poses, "elevations")
        # The sampler of full quality, which is shown as it goes elsewhere; here nobody looks on.
        full = sampling(asked, poses, asking.seeds, live=True)
        what = replace(full, live=False, upscale=asking.upscale)
        *_, shown = self.sampled(asked.prepared, what)
        images = shown.images or []
        if asking.transparent:
            images = [outputs.without_background(image) for image in images]
        return Views(
            asked.prepared.image,
            images,
            cameras,
            view_labels(asked.prepared, poses, what.upscale),
            what.seeds,
            origin(asked, what),
            pipe.notice(asked.prepared),
        )

    def sampled(self, prepared: Prepared, what: Sampling) -> Iterator[Shown]:
        """Sample views for whoever has prepared the image; see `zero123lib.app.sampling`."""
        with self._line.join(interactive=len(what.poses) * len(what.seeds) == 1) as order:
            yield from order.slices(self.sample(self.pipe.model_name, prepared, what))
