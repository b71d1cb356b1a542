"""Intervals hold the true mean as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from zero123lib.evaluation.bootstrap import mean_interval


@pytest.mark.parametrize("objects", [5, 30])
@pytest.mark.parametrize(
    ("draw", "mean"),
    [
        (lambda random, n: random.normal(19, 2, n), 19.0),
        (lambda random, n: random.beta(8, 2, n), 0.8),
        (lambda random, n: random.gamma(4, 0.01, n), 0.04),
    ],
    ids=["PSNR", "SSIM", "Chamfer"],
)
def test_intervals_cover_in_93_to_97_of_100(draw, mean, objects) -> None:
    random, held = np.random.default_rng(7), 0
    for seed in range(1000):
        found = mean_interval(draw(random, objects), seed, draws=500)
        assert found.low is not None and found.high is not None
        held += found.low <= mean <= found.high
    assert 930 <= held <= 970


def test_what_has_no_spread_has_a_point_and_few_objects_have_no_interval() -> None:
    same = mean_interval([0.5] * 8)
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    assert mean_interval([1.0, 2.0, 3.0, 4.0]).low is None
    some = [1.0, 2.0, 4.0, 8.0, 9.0]
    assert mean_interval(some) == mean_interval(some)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")] * 4])
def test_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="values: expected finite numbers"):
        mean_interval(values)
