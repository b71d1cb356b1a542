"""How near a mesh's images are to an object's: PSNR and LPIPS on white, the mesh shown unlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zero123lib.lpips import lpips_alex
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.render import renderer
from zero123lib.meshes.shading import AMBIENT
from zero123lib.metrics import psnr, silhouette_iou
from zero123lib.views.poses import Pose

# The eight cameras of an object whose other sides are known: 40 and 0 degrees high by turns, at
# azimuths that neither an input nor a ring of 12 views has.
EIGHT = tuple(Pose(20.0 + 20.0 * (-1) ** i, 22.5 + 45.0 * i, 1.85) for i in range(8))


@dataclass(frozen=True)
class MeshScores:
    """Means over images.

    Attributes:
        psnr: of whole images, dB.
        lpips: see :mod:`zero123lib.lpips`.
        iou: of silhouettes, in [0, 1].
    """

    psnr: float
    lpips: float
    iou: float


def mesh_images(mesh: Mesh, cameras: Sequence[Camera]) -> Tensor:
    """Render a mesh without light of its own: its texture has that of the images.

    Returns:
        ``[V, S, S, 4]`` in [0, 1], straight alpha.
    """
    take = renderer(mesh)
    return torch.stack([take(camera, AMBIENT).color for camera in cameras])


def on_white(rgba: Tensor) -> Tensor:
    """Put images with straight alpha ``[..., S, S, 4]`` on white: ``[..., 3, S, S]``."""
    return (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]).movedim(-1, -3)


def mesh_scores(mesh: Mesh, cameras: Sequence[Camera], true: Tensor) -> MeshScores:
    """Compare a mesh with images of the true object.

    Args:
        mesh: with its colours.
        cameras: of the images, each of their size.
        true: straight alpha in [0, 1] ``[V, S, S, 4]``, S at least 31.
    """
    made = mesh_images(mesh, cameras)
    seen, wanted = on_white(made).float(), on_white(true).float()
    return MeshScores(
        float(psnr(seen, wanted).mean()),
        float(lpips_alex()(seen, wanted).mean()),
        float(silhouette_iou(made[..., 3] >= 0.5, true[..., 3] >= 0.5).mean()),
    )
