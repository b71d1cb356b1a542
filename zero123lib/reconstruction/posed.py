"""Images of known cameras: what a field is fitted to, and what gives its mesh colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zero123lib.meshes.mesh import Camera
from zero123lib.reconstruction.input_view import InputView
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.images import alpha_from_white
from zero123lib.views.poses import Pose

# Where the input is to count nothing.
_LEAST_WEIGHT = 1e-6


@dataclass(frozen=True)
class World:
    """Where the world of images lies in that of the field: ``(point - centre) * scale``.

    Attributes:
        centre: a point of the images' world, which is the field's origin.
        scale: the field's unit in one of the images' world.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def cameras_from(self, cameras_to_world: Tensor) -> Tensor:
        """Move cameras ``[V, 4, 4]`` of the images' world into the field's."""
        moved = cameras_to_world.clone()
        moved[:, :3, 3] = (moved[:, :3, 3] - moved.new_tensor(self.centre)) * self.scale
        return moved

    def back(self, points: Tensor) -> Tensor:
        """Move points ``[..., 3]`` of the field into the images' world."""
        return points / self.scale + points.new_tensor(self.centre)


@dataclass(frozen=True, eq=False)
class PosedViews:
    """Square images of one object, and their cameras.

    Attributes:
        images: straight alpha in [0, 1] ``[V, S, S, 4]``, on the CPU but for :meth:`to`.
        cameras_to_world: OpenGL ``[V, 4, 4]``; the object is about the origin.
        fov_deg: of all cameras, degrees.
        weights: how much each image counts ``[V]``, above 0.
        first_is_true: whether the first image is the input, and a model made the others of it. They
            are guesses, and where they contradict the input, it decides.
        world: where that of the images as they came lies; what is made goes back there.
        detail: the first image at more pixels ``[D, D, 4]``, where there are more.
    """

    images: Tensor
    cameras_to_world: Tensor
    fov_deg: float
    weights: Tensor
    first_is_true: bool = False
    world: World = World()
    detail: Tensor | None = None

    @property
    def cameras(self) -> list[Camera]:
        """Return the cameras as meshes are rendered from them."""
        size = self.images.shape[1]
        return [Camera(one, size, self.fov_deg) for one in self.cameras_to_world]

    def to(self, device: torch.device | str) -> PosedViews:
        """Return the same with all that a field is fitted to on a device."""
        return replace(
            self,
            images=self.images.to(device),
            cameras_to_world=self.cameras_to_world.to(device),
            weights=self.weights.to(device),
        )

    @classmethod
    def of_input(
        cls,
        recipe: Recipe,
        photos: Sequence[InputView],
        made: Tensor,
        poses: Sequence[Pose],
    ) -> PosedViews:
        """Collect the photos and the views that were made of them.

        The first photo decides where others contradict it: their cameras were found, not given.

        Args:
            recipe: says how much the input counts, ``embedded.fit.input_weight``.
            made: on white ``[N, 3, S, S]`` in [0, 1].
            poses: of these and of others.
        """
        view = photos[0]
        darkness = recipe.embedded.views.opaque_darkness or view.darkness
        count = len(photos)
        weights = torch.ones(count + len(made))
        weights[:count] = max(recipe.embedded.fit.input_weight, _LEAST_WEIGHT)
        rgba = torch.stack([one.rgba for one in photos])
        return cls(
            torch.cat([rgba, alpha_from_white(made, darkness)]),
            camera_to_world([*(one.camera.pose for one in photos), *poses[: len(made)]]),
            view.camera.fov_deg,
            weights,
            first_is_true=True,
            detail=view.detail,
        )
