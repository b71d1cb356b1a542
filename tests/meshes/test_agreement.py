"""Images of a mesh fit it, wherever it is and however large; others are refused with numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from shapes import box, sphere

from zero123lib.meshes.agreement import agreement, silhouette_ious
from zero123lib.meshes.mesh import Camera, Mesh
from zero123lib.meshes.render import render
from zero123lib.meshes.shading import AMBIENT
from zero123lib.views.poses import Pose

SIZE = 48
CAMERAS = [Camera.at(Pose(20.0, turn, 1.85), SIZE) for turn in (0.0, 60.0, 130.0, 250.0)]


def images(mesh: Mesh, cameras: list[Camera] = CAMERAS) -> torch.Tensor:
    return torch.stack([render(mesh, camera, AMBIENT, 2, "open3d").color for camera in cameras])


def brick() -> Mesh:
    return box(1.0, 0.4, 0.3)


def test_a_mesh_fits_its_own_images(backend: str) -> None:
    found = agreement(brick(), images(brick()), CAMERAS, backend)
    assert found.ious.min() > 0.9 and not found.normalised and found.warning is None
    assert list(found.cameras) == CAMERAS


def test_an_iou_is_that_of_the_areas() -> None:
    """A ball seen by a camera sees a disc: areas go with the square of tan of its half angle."""
    angles = [torch.asin(torch.tensor(radius / 1.85)) for radius in (0.3, 0.5)]
    expected = float((angles[0].tan() / angles[1].tan()) ** 2)
    found = silhouette_ious(sphere(0.3, 5), images(sphere(0.5, 5)), CAMERAS)
    assert found.tolist() == pytest.approx([expected] * 4, abs=0.02)


def test_images_of_the_normalised_mesh_fit_it_wherever_it_is() -> None:
    far = replace(brick(), vertices=brick().vertices * 40.0 + torch.tensor([100.0, -7.0, 3.0]))
    found = agreement(far, images(brick()), CAMERAS)
    assert found.normalised and found.ious.min() > 0.9
    # From there the cameras see the mesh as it is.
    again = images(far, list(found.cameras))
    assert (again - images(brick())).abs().mean() < 2e-3


def test_a_poor_fit_is_told_and_a_hopeless_one_refused_with_numbers() -> None:
    turned = [Camera.at(Pose(20.0, turn + 60.0, 1.85), SIZE) for turn in (0.0, 60.0, 130.0, 250.0)]
    poor = agreement(brick(), images(brick(), turned), CAMERAS)
    least = int(poor.ious.argmin())
    assert poor.warning is not None and "0.7 is expected" in poor.warning
    assert f"a mean IoU of {poor.mean:.2f}" in poor.warning
    assert f"the least {float(poor.ious[least]):.2f} (image {least})" in poor.warning
    away = images(brick()).roll(24, 2)
    told = r"images: expected images of the mesh.* 0\.3 or more.*mean IoU of 0\.\d\d"
    with pytest.raises(ValueError, match=told):
        agreement(brick(), away, CAMERAS)
