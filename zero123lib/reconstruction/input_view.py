"""The input view, and what the model makes of it, as images with alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Condition, Zero123Pipeline
from zero123lib.reconstruction.cameras import OrbitCamera, input_camera
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.images import MOST_DARKNESS, ImageSource, Prepared, alpha_from_white
from zero123lib.views.poses import Pose

# Views that are made at once: a stop is heard between them.
VIEWS_AT_ONCE = 4
# A made pixel this much darker than white is no noise of the sampler.
LEAST_DARKNESS = 0.08
_LEAST_PIXELS = 16


@dataclass(frozen=True, eq=False)
class InputView:
    """The image that all comes from.

    Attributes:
        prepared: as the model is conditioned on it.
        rgba: float32 ``[S, S, 4]`` in [0, 1], straight alpha.
        camera: its camera.
        detail: the same at more pixels, ``[D, D, 4]``; None where the photo has no more.
    """

    prepared: Prepared
    rgba: Tensor
    camera: OrbitCamera
    detail: Tensor | None = None

    @property
    def darkness(self) -> float:
        """Tell how much darker than white the object's light parts are, to take that for object.

        A fifth of its pixels are lighter. Between `LEAST_DARKNESS` and `MOST_DARKNESS`.
        """
        inside = self.rgba[self.rgba[..., 3] >= 0.5][:, :3]
        light = float((1 - inside.amin(-1)).quantile(0.2))
        return min(max(light, LEAST_DARKNESS), MOST_DARKNESS)

    @property
    def on_white(self) -> Tensor:
        """Return the colours on white ``[S, S, 3]``."""
        return self.rgba[..., :3] * self.rgba[..., 3:] + 1 - self.rgba[..., 3:]


def input_view(
    image: ImageSource | Tensor | Prepared,
    recipe: Recipe,
    pipe: Zero123Pipeline,
    elevation_deg: float,
) -> InputView:
    """Return the image, framed, with what is see-through in it.

    An image that is opaque everywhere, as one that is framed already may be, has its white taken
    for see-through.

    Raises:
        ValueError: the image cannot be read, or there is no object in it.
    """
    if isinstance(image, Prepared):
        prepared = image
    else:
        prepared = pipe.prepare(image, recipe.embedded.preprocess)
    rgba = torch.from_numpy(np.array(prepared.rgba, np.float32) / 255)
    detail = None
    if prepared.detail is not None and prepared.detail.width > len(rgba):
        detail = torch.from_numpy(np.array(prepared.detail, np.float32) / 255)
    if bool((rgba[..., 3] >= 254 / 255).all()):
        rgba = alpha_from_white((prepared.tensor + 1) / 2)
        if detail is not None:
            detail = alpha_from_white(detail[..., :3].movedim(-1, 0))
    pixels = int((rgba[..., 3] >= 0.5).sum())
    if pixels < _LEAST_PIXELS:
        raise ArgumentError(
            "image",
            f"an object of at least {_LEAST_PIXELS} pixels",
            f"{pixels} that are neither transparent nor white; cut the object out, "
            "or frame it larger",
        )
    return InputView(prepared, rgba, input_camera(recipe, elevation_deg), detail)


def made_views(
    pipe: Zero123Pipeline,
    condition: Condition,
    recipe: Recipe,
    camera: OrbitCamera,
    poses: Sequence[Pose],
    seed: int,
    done: int = 0,
) -> Iterator[Tensor]:
    """Yield the model's views, `VIEWS_AT_ONCE` at a time.

    Args:
        camera: the input's camera.
        poses: absolute; the model is told how they lie to the input's.
        done: how many there are already, a multiple of `VIEWS_AT_ONCE`.

    Yields:
        ``[N, 3, S, S]`` in [0, 1] on white, on the CPU.
    """
    views = recipe.embedded.views
    for first in range(done, len(poses), VIEWS_AT_ONCE):
        some = poses[first : first + VIEWS_AT_ONCE]
        noise = np.random.SeedSequence([seed, first]).generate_state(1)
        made = pipe.views(
            condition,
            [pose.relative_to(camera.pose) for pose in some],
            num_inference_steps=views.steps,
            guidance_scale=recipe.guidance.guidance_scale,
            sampler=views.sampler,
            generator=torch.Generator().manual_seed(int(noise[0])),
            condition_elevation_deg=camera.pose.elevation_deg,
        )
        yield ((made + 1) / 2).cpu()
