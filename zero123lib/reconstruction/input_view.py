"""The input view, and what the model makes of it, as images with alpha."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.pipeline import Condition, Zero123Pipeline
from zero123lib.diffusion.several import check_input_count
from zero123lib.reconstruction.cameras import OrbitCamera, input_camera
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.images import MOST_DARKNESS, ImageSource, Prepared, alpha_from_white
from zero123lib.views.poses import Pose, RelativePose

# Views that are made at once: a stop is heard between them.
VIEWS_AT_ONCE = 4
# A made pixel this much darker than white is no noise of the sampler.
LEAST_DARKNESS = 0.08
_LEAST_PIXELS = 16


@dataclass(frozen=True, eq=False)
class InputView:
    """An image that all comes from.

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


def check_photos(
    recipe: Recipe, photos: Sequence[object], input_poses: Sequence[RelativePose] | None
) -> Sequence[RelativePose]:
    """Return the cameras of photos, relative to the first one's; of one photo alone it is zero.

    Raises:
        ArgumentError: there is not one for each, the first is not zero, or the recipe has no use
            for several photos.
    """
    if len(photos) == 1 and input_poses is None:
        return [RelativePose()]
    check_input_count(len(photos), input_poses)
    if len(photos) > 1 and recipe.embedded.stages[0] != "views":
        expected = "one whose first stage is views, for several photos"
        raise ArgumentError("recipe", expected, f"{recipe.name}: {list(recipe.embedded.stages)}")
    assert input_poses is not None, "checked above"
    return input_poses


def input_views(
    images: Sequence[ImageSource | Tensor | Prepared],
    recipe: Recipe,
    pipe: Zero123Pipeline,
    elevation_deg: float,
    input_poses: Sequence[RelativePose],
) -> list[InputView]:
    """Return photos of one object, see :func:`input_view`, the first at the recipe's camera.

    Args:
        input_poses: of the photos, relative to the first one's.

    Raises:
        ValueError: an image is of no use, or a camera lies beyond a pole or behind the object.
    """
    first = input_view(images[0], recipe, pipe, elevation_deg)
    found, camera = [first], first.camera
    for place, (image, pose) in enumerate(zip(images, input_poses, strict=True)):
        if place:
            try:
                view = input_view(image, recipe, pipe, elevation_deg)
            except ArgumentError as error:
                raise error.renamed(f"image[{place}]") from error
            try:
                there = camera.pose.moved(pose)
            except ArgumentError as error:
                raise error.renamed(f"input_poses[{place}].{error.name}") from error
            found.append(replace(view, camera=replace(camera, pose=there)))
    return found


def made_views(
    pipe: Zero123Pipeline,
    conditions: Sequence[Condition],
    input_poses: Sequence[RelativePose],
    recipe: Recipe,
    camera: OrbitCamera,
    poses: Sequence[Pose],
    seed: int,
    done: int = 0,
) -> Iterator[Tensor]:
    """Yield the model's views, `VIEWS_AT_ONCE` at a time.

    Args:
        conditions, input_poses: the photos, and their cameras relative to the first one's.
        camera: the first photo's camera.
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
            conditions,
            [pose.relative_to(camera.pose) for pose in some],
            input_poses=input_poses,
            num_inference_steps=views.steps,
            guidance_scale=recipe.guidance.guidance_scale,
            sampler=views.sampler,
            generator=torch.Generator().manual_seed(int(noise[0])),
            condition_elevation_deg=camera.pose.elevation_deg,
        )
        yield ((made + 1) / 2).cpu()
