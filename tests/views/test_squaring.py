"""Images of any pinhole, shown as square ones see them: the same along every ray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from zero123lib.views.cameras import camera_to_world, focal_px
from zero123lib.views.folder import PosedImage
from zero123lib.views.poses import Pose
from zero123lib.views.squaring import squared, squared_about_object
from zero123lib.views.transforms import Pinhole

CAMERA = camera_to_world(Pose(10.0, 20.0, 2.0))


def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colours by direction: smooth, opaque within a disc of slopes about (0.1, -0.05)."""
    red, green = 0.5 + 0.4 * np.sin(9 * x), 0.5 + 0.4 * np.cos(7 * y)
    alpha = ((x - 0.1) ** 2 + (y + 0.05) ** 2 < 0.25**2).astype(float)
    return np.stack([red, green, 0.5 + 0 * x, alpha], -1)


def taken(camera: Pinhole) -> PosedImage:
    """What a pinhole sees of the pattern, y down."""
    columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    seen = pattern((columns - camera.cx) / camera.fl_x, (rows - camera.cy) / camera.fl_y)
    image = Image.fromarray((seen * 255).round().astype(np.uint8))
    return PosedImage("a", image, CAMERA, camera)


def expected(size: int, fov_deg: float) -> torch.Tensor:
    ticks = (np.arange(size) + 0.5 - size / 2) / focal_px(size, fov_deg)
    x, y = np.meshgrid(ticks, ticks)
    return torch.from_numpy(pattern(x, y)).float()


OFF_CENTRE = Pinhole(160, 100, 150.0, 140.0, 70.0, 55.0)


def check_same(image: torch.Tensor, fov_deg: float) -> None:
    """Within the object, away from its outline and the image's border."""
    wanted = expected(len(image), fov_deg)
    inner = torch.nn.functional.avg_pool2d(wanted[None, ..., 3], 5, 1, 2)[0] > 0.999
    assert inner.sum() > 100
    assert (image - wanted)[inner].abs().max() < 0.02
    assert (image[..., 3] - wanted[..., 3]).abs().mean() < 0.01


def test_squares_pass_unchanged() -> None:
    square = taken(Pinhole(64, 64, 90.0, 90.0, 32.0, 32.0))
    images, angles = squared([square, square])
    assert torch.equal(images[1], torch.from_numpy(np.array(square.image)).float() / 255)
    assert angles == pytest.approx([2 * np.degrees(np.arctan(32 / 90))] * 2)


@pytest.mark.parametrize("size", [None, 96])
def test_another_pinhole_is_moved_and_scaled(size: int | None) -> None:
    images, angles = squared(
        [taken(OFF_CENTRE), taken(Pinhole(150, 150, 170.0, 170.0, 75.0, 75.0))], size
    )
    assert images.shape == (2, size or 160, size or 160, 4)
    # All of an image is seen: to its farthest border from the axis.
    assert np.tan(np.radians(angles[0] / 2)) == pytest.approx(90 / 150)
    for image, angle in zip(images, angles, strict=True):
        check_same(image, angle)


def test_about_the_object_all_have_one_field_of_view_that_just_shows_it() -> None:
    images, fov_deg = squared_about_object(
        [taken(OFF_CENTRE), taken(Pinhole(400, 300, 300.0, 300.0, 200.0, 150.0))], 80
    )
    assert np.tan(np.radians(fov_deg / 2)) == pytest.approx(0.35 * 1.1, rel=0.03)
    for image in images:
        check_same(image, fov_deg)


def test_what_an_image_cuts_off_goes_on_beyond_it() -> None:
    cut = taken(Pinhole(60, 100, 150.0, 150.0, 30.0, 50.0))
    whole = taken(Pinhole(160, 160, 150.0, 150.0, 80.0, 80.0))
    images, fov_deg = squared_about_object([cut, whole], 96)
    ticks = (np.arange(96) + 0.5 - 48) / focal_px(96, fov_deg)
    beyond = torch.from_numpy(ticks > 0.21)
    row = images[0, 48]
    assert bool((row[beyond] == row[beyond][0]).all()) and float(row[beyond][0, 3]) == 1.0


def test_an_object_must_be_there() -> None:
    nothing = PosedImage("a", Image.new("RGBA", (8, 8)), CAMERA, Pinhole(8, 8, 9.0, 9.0, 4.0, 4.0))
    with pytest.raises(
        ValueError, match="views: expected an object in the images' alpha, got none"
    ):
        squared_about_object([nothing], 8)
