"""What is reconstructed: one photo or several, which a model turns, or images from all sides."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.fields.silhouettes import Silhouette
from zero123lib.reconstruction.cameras import OrbitCamera
from zero123lib.reconstruction.input_view import InputView
from zero123lib.reconstruction.posed import PosedViews
from zero123lib.reconstruction.recipes import Recipe
from zero123lib.views.cameras import camera_to_world
from zero123lib.views.poses import Pose, RelativePose

# Where the turntable stands that shows images from all sides.
_OVERVIEW = OrbitCamera(Pose(0.0, 0.0, 1.85))


@dataclass(frozen=True, eq=False)
class Photo:
    """One photo, or several, and the model that knows the other sides.

    Attributes:
        view: the photo.
        others: more of the same object, whose cameras lie as theirs were found to lie.
    """

    view: InputView
    pipe: Zero123Pipeline
    others: tuple[InputView, ...] = ()

    @property
    def photos(self) -> list[InputView]:
        """Return all photos."""
        return [self.view, *self.others]

    @property
    def input_poses(self) -> list[RelativePose]:
        """Return the photos' cameras, relative to the first one's."""
        return [one.camera.pose.relative_to(self.camera.pose) for one in self.photos]

    @property
    def camera(self) -> OrbitCamera:
        """Return the image's camera."""
        return self.view.camera

    @property
    def device(self) -> torch.device:
        """Return where the model runs, and so all that is made of what it says."""
        return self.pipe._execution_device

    @property
    def silhouettes(self) -> tuple[Tensor, Tensor, float]:
        """Return the known outline as alpha ``[1, S, S]``, its camera, the field of view."""
        return (
            self.view.rgba[None, ..., 3],
            camera_to_world([self.camera.pose]),
            self.camera.fov_deg,
        )

    def silhouette(self, recipe: Recipe) -> Silhouette | None:
        """Return the outline to hold to, where the recipe does, ``embedded.keep_silhouette``."""
        if not recipe.embedded.keep_silhouette:
            return None
        masks, cameras, fov_deg = self.silhouettes
        return Silhouette(masks[0], cameras[0], fov_deg)

    def belongs_to(self) -> dict[str, str]:
        """Name what may not differ between the parts of one run."""
        return {
            "model": self.pipe.model_name,
            "input elevation": f"{self.camera.pose.elevation_deg:g} degrees",
            "image": _digest(self.view.rgba, self.view.prepared.tensor),
            **self._others_belong_to(),
        }

    def _others_belong_to(self) -> dict[str, str]:
        if not self.others:
            return {}
        cameras = camera_to_world([one.camera.pose for one in self.others])
        return {"other photos": _digest(cameras, *(one.rgba for one in self.others))}


@dataclass(frozen=True, eq=False)
class Posed:
    """Images whose cameras are known, all alike: no model is asked.

    Attributes:
        device: where the field is fitted and asked.
    """

    views: PosedViews
    device: torch.device
    view: None = None
    pipe: None = None

    @property
    def camera(self) -> OrbitCamera:
        """Return a camera that shows all of the object."""
        return _OVERVIEW

    @property
    def silhouettes(self) -> tuple[Tensor, Tensor, float]:
        """Return all images' outlines, alpha ``[V, S, S]``, the cameras, the field of view."""
        views = self.views
        return views.images[..., 3], views.cameras_to_world, views.fov_deg

    def silhouette(self, recipe: Recipe) -> Silhouette | None:
        """Return None: none of the images decides over the others."""
        return None

    def belongs_to(self) -> dict[str, str]:
        """Name what may not differ between the parts of one run."""
        views = self.views
        return {"views": _digest(views.images, views.cameras_to_world, torch.tensor(views.fov_deg))}


Subject = Photo | Posed


def _digest(*tensors: Tensor) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
