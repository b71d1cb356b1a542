"""Whether posed images show a mesh: its silhouettes beside theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zero123lib._errors import ArgumentError
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.rasterize import rasterizer
from zero123lib.metrics import silhouette_iou

# Mean IoU of silhouettes. True images of a mesh have 0.95 and more, a model's views of an object
# and its reconstruction about 0.8; a camera turned by a quarter or a wrong scale leaves less.
GOOD_IOU, LEAST_IOU = 0.7, 0.3


@dataclass(frozen=True, eq=False)
class Agreement:
    """Says how well images fit a mesh.

    Attributes:
        cameras: of the images, in the mesh's world.
        ious: of the mesh's silhouette with each image's alpha, in [0, 1] ``[V]``.
        normalised: whether the cameras as they were given stand around the mesh centred, with a
            longest side of 1, as `zero123 mesh render` shows it, and not around the mesh as it is.
    """

    cameras: tuple[Camera, ...]
    ious: Tensor
    normalised: bool

    @property
    def mean(self) -> float:
        """Return the mean of the IoUs."""
        return float(self.ious.mean())

    @property
    def numbers(self) -> str:
        """Return the IoUs in words."""
        least = int(self.ious.argmin())
        return (
            f"a mean IoU of {self.mean:.2f} with the mesh's silhouettes, the least "
            f"{float(self.ious[least]):.2f} (image {least})"
        )

    @property
    def warning(self) -> str | None:
        """Return a sentence where the fit is poor, else None."""
        if self.mean >= GOOD_IOU:
            return None
        return (
            f"the images fit the mesh poorly: {self.numbers}, where {GOOD_IOU:g} is expected; "
            "colours will be misplaced"
        )


def agreement(
    mesh: Mesh, images: Tensor, cameras: Sequence[Camera], backend: str = "auto"
) -> Agreement:
    """Compare a mesh's silhouettes with those of images.

    Where they fit poorly, and fit the mesh once it is centred and its longest side made 1, the
    cameras are brought into the mesh's own world.

    Args:
        images: straight alpha ``[V, S, S, 4]`` in [0, 1].
        cameras: of the images, each of their size.
        backend: of `rasterizer`.

    Raises:
        ArgumentError: the images fit the mesh in neither way.
    """
    found = Agreement(tuple(cameras), silhouette_ious(mesh, images, cameras, backend), False)
    if found.mean >= GOOD_IOU:
        return found
    moved = tuple(_around(mesh, camera) for camera in cameras)
    other = Agreement(moved, silhouette_ious(mesh, images, moved, backend), True)
    best = max(found, other, key=lambda one: one.mean)
    if best.mean < LEAST_IOU:
        raise ArgumentError(
            "images",
            f"images of the mesh, whose silhouettes have an IoU of {LEAST_IOU:g} or more with its",
            f"{best.numbers}: are they of this mesh, with the same axis up?",
        )
    return best


def silhouette_ious(
    mesh: Mesh, images: Tensor, cameras: Sequence[Camera], backend: str = "auto"
) -> Tensor:
    """Measure the IoU of a mesh's silhouettes with images' alpha ``[V]``; one half counts."""
    look = rasterizer(mesh, backend)
    covered = torch.stack([look(camera).face_ids[0] >= 0 for camera in cameras])
    return silhouette_iou(covered, images[..., 3].to(covered.device) >= 0.5).float()


def _around(mesh: Mesh, camera: Camera) -> Camera:
    """Move a camera that stands around the normalised mesh to where it stands around the mesh."""
    low, high = mesh.vertices.detach().amin(0), mesh.vertices.detach().amax(0)
    longest = float((high - low).max())
    moved = camera.camera_to_world.clone()
    centre = 0.5 * (low + high).to(moved)
    moved[:3, 3] = moved[:3, 3] * longest + centre
    return replace(camera, camera_to_world=moved, near=camera.near * longest)
