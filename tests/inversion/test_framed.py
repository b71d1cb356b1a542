"""Framing, closed forms; and the search, on views whose cameras can be read off them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from zero123lib import Zero123Pipeline
from zero123lib.inversion.framed import FramedViews, framed
from zero123lib.inversion.losses import draws, encoded
from zero123lib.views.framing import dark_boxes

SIZE = 64


def block(left: int, top: int, width: int, height: int) -> Tensor:
    """A coloured block on white ``[3, 64, 64]``, its upper half of another colour."""
    image = torch.ones(3, SIZE, SIZE)
    colors = torch.tensor([[-0.5, 0.2, -0.9], [0.5, -0.8, -0.1]])[..., None, None]
    image[:, top : top + height, left : left + width] = colors[0]
    image[:, top : top + height // 2, left : left + width] = colors[1]
    return image


def test_boxes_are_of_what_is_darker_than_white() -> None:
    images = torch.stack([block(8, 16, 24, 32), torch.ones(3, SIZE, SIZE)])
    found = dark_boxes(images, 0.1)
    expected = torch.tensor([[20.0, 32.0, 32.0], [32.0, 32.0, 64.0]]) / SIZE
    torch.testing.assert_close(found, expected)


def test_framed_images_do_not_tell_where_and_how_large_an_object_was() -> None:
    images = torch.stack([block(8, 16, 24, 32), block(30, 4, 12, 16), block(2, 2, 45, 60)])
    first, small, large = framed(images)
    assert first.shape == (3, 3, 16, 16)
    for other in (small, large):
        assert float((first - other).abs().mean()) < 0.04
    upside_down = framed(images[:1].flip(2))[0]
    assert float((first - upside_down).abs().mean()) > 0.15


def test_placed_images_tell_where_an_object_was_and_not_how_large() -> None:
    middle, half, aside = framed(
        torch.stack([block(16, 20, 32, 24), block(24, 26, 16, 12), block(8, 20, 32, 24)]),
        placed=True,
    )
    assert float((middle - half).abs().mean()) < 0.04
    assert float((middle - aside).abs().mean()) > 0.15


@dataclass
class Prepared:
    tensor: Tensor
    preprocess: str = "auto"


@dataclass
class Photo:
    prepared: Prepared


class Readable(FramedViews):
    """Views with a gradient that turns with the azimuth and leans with the elevation, and whose
    size is that of an object at the camera's distance."""

    cameras: Tensor

    def views(self, source: int, source_cameras: Tensor, target_cameras: Tensor) -> Tensor:
        true = target_cameras - source_cameras + self.cameras[source]
        return torch.stack([shown(one) for one in true])


def shown(camera: Tensor) -> Tensor:
    elevation, azimuth = torch.deg2rad(camera[:2]).tolist()
    half = int(24 / (1.85 + float(camera[2])) * 1.85)
    ticks = torch.linspace(-1, 1, 2 * half)
    azimuth = torch.tensor(azimuth)
    ramp = ticks[None] * azimuth.cos() * 0.5, ticks[None] * azimuth.sin() * 0.5
    lean = ticks[:, None] * elevation * 0.5
    inside = torch.stack([one.expand(2 * half, -1) for one in (*ramp, lean.expand(-1, 2 * half))])
    image = torch.ones(3, 96, 96)
    image[:, 48 - half : 48 + half, 48 - half : 48 + half] = inside - 0.3
    return image


@pytest.fixture
def views() -> Readable:
    cameras = torch.tensor([[10.0, 0.0, 0.0], [31.0, -97.0, 0.2], [-5.0, 143.0, -0.2]])
    photos: Any = [Photo(Prepared(shown(one))) for one in cameras]
    nothing: Any = None
    made = Readable(nothing, photos, nothing, 8)
    made.cameras = cameras - torch.tensor([10.0, 0.0, 0.0])
    made.cameras[:, 0] += 10.0
    return made


def test_the_search_ends_at_the_true_cameras(views: Readable) -> None:
    begin = torch.tensor([[[10.0, 0.0, 0.0], [35.0, -80.0, 0.0], [-15.0, 140.0, 0.0]]])
    told: list[int] = []
    found = views.refined(begin, 4, (-89.0, 89.0), lambda: told.append(1))[0]
    turns = (found - views.cameras)[:, :2].abs()
    assert float(turns.max()) < 3 and len(told) == 4
    assert float(views.total(found[None], [0, 1, 2])) < float(views.total(begin, [0, 1, 2]))
    far = views.refined(begin, 4, (-89.0, 20.0), lambda: None)[0]
    assert float(far[1, 0]) == 20.0


def test_distances_follow_from_sizes(views: Readable) -> None:
    found = views.with_radii(views.cameras * torch.tensor([1.0, 1.0, 0.0]))
    assert found[:, 2].tolist() == pytest.approx([0.0, 0.2, -0.2], abs=0.08)


def test_tables_are_least_near_the_true_cameras(views: Readable) -> None:
    told: list[int] = []
    tables = views.landscapes(10.0, lambda: told.append(1))
    assert len(tables) == 6 and len(told) == 3
    best = tables[0, 1].best()
    assert abs(float(best[0]) - 21.0) <= 12.5 and abs(float(best[1]) + 97.0) <= 10.0


def test_a_mean_view_does_not_depend_on_what_it_is_compared_with(pipe: Zero123Pipeline) -> None:
    """It is made of noise alone, in one evaluation."""
    random = torch.Generator().manual_seed(1)
    size = pipe.image_size
    pictures = [torch.rand(3, size, size, generator=random) * 2 - 1 for _ in range(3)]
    photos = [encoded(pipe, pipe.prepare(one)) for one in pictures]
    noises = draws(pipe, [999, 999], torch.Generator().manual_seed(0))
    here, there = torch.zeros(1, 3), torch.tensor([[10.0, 40.0, 0.0]])
    one, other = (
        FramedViews(pipe, [photos[0], photo], noises, 8).views(0, here, there)
        for photo in photos[1:]
    )
    assert torch.equal(one, other) and one.shape == (1, 3, size, size)
    each = [FramedViews(pipe, photos[:2], [noise], 8).views(0, here, there) for noise in noises]
    torch.testing.assert_close(one, torch.stack(each).mean(0))
    assert not torch.allclose(each[0], each[1], atol=1e-3)
