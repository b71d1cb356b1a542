"""Doubt: the spread of seeds, against closed forms, and seeds that make what they make alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from zero123lib._errors import ArgumentError
from zero123lib.diffusion.doubt import DoubtfulViews, doubtful_views, spread
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose


def test_spread_is_the_standard_deviation_over_seeds_and_its_mean_square_over_channels() -> None:
    two = torch.zeros(2, 3, 2, 2)
    two[1, 0] = 1.0  # one channel of three differs by 1: its deviation is one half
    torch.testing.assert_close(spread(two), torch.full((2, 2), (0.25 / 3) ** 0.5))
    assert float(spread(torch.rand(1, 3, 4, 4).expand(5, -1, -1, -1)).max()) == 0
    ends = torch.cat([torch.zeros(2, 3, 1, 1), torch.ones(2, 3, 1, 1)])
    assert spread(ends).tolist() == [[0.5]]


def test_a_view_is_doubted_by_what_it_shows() -> None:
    """White around an object does not make it surer."""
    views = torch.ones(2, 1, 3, 8, 8)
    views[:, :, :, :2, :2] = torch.tensor([-1.0, -0.5])[:, None, None, None, None]
    small = DoubtfulViews(views)
    torch.testing.assert_close(small.view_doubt, torch.tensor([0.125]))
    assert float(small.doubt[0, 4:].max()) == 0
    assert float(DoubtfulViews(torch.ones(3, 2, 3, 4, 4)).view_doubt.max()) == 0


def test_a_seed_makes_what_it_makes_alone(
    make_pipeline: Callable[..., Zero123Pipeline], image: torch.Tensor
) -> None:
    pipe = make_pipeline()
    condition, poses = pipe.encode(pipe.prepare(image)), [RelativePose(0, 40), RelativePose(20, 90)]
    found = doubtful_views(pipe, condition, poses, [3, 5], num_inference_steps=2)
    assert found.views.shape[:2] == (2, 2)
    for place, seed in enumerate((3, 5)):
        alone = pipe.views(
            condition,
            poses,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(seed),
        )
        torch.testing.assert_close(found.views[place], alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.mean, found.views.mean(0))


@pytest.mark.parametrize(("own", "least"), [(1, 4), (7, 7)])
def test_doubt_takes_four_steps_and_more_of_a_model_that_wants_them(
    make_pipeline: Callable[..., Zero123Pipeline], image: torch.Tensor, own: int, least: int
) -> None:
    pipe = make_pipeline(num_inference_steps=own)
    condition, poses = pipe.encode(pipe.prepare(image)), [RelativePose(0, 40)]
    found = doubtful_views(pipe, condition, poses, [3, 5])
    told = doubtful_views(pipe, condition, poses, [3, 5], num_inference_steps=least)
    assert torch.equal(found.views, told.views)


def test_one_seed_is_no_doubt(
    make_pipeline: Callable[..., Zero123Pipeline], image: torch.Tensor
) -> None:
    pipe = make_pipeline()
    wrongs: list[Any] = [[1], None, [1, "b"], [1, 2.5]]
    for wrong in wrongs:
        with pytest.raises(ArgumentError, match="^seeds: expected a "):
            doubtful_views(pipe, pipe.encode(pipe.prepare(image)), [RelativePose()], wrong)
