"""C() against the straight lines that it is, and against threestudio's own steps in words."""

from __future__ import annotations

import pytest

from zero123lib.reconstruction.schedules import C, largest


def test_a_number_is_itself_at_every_step() -> None:
    assert [C(0.1, step) for step in (0, 7, 10**6)] == [0.1] * 3
    assert C(3, 5) == 3 == largest(3)


def test_four_numbers_hold_then_run_straight_then_hold() -> None:
    schedule = [50, 0.7, 0.3, 200]
    assert C(schedule, 0) == C(schedule, 50) == 0.7
    assert C(schedule, 125) == pytest.approx(0.5)
    assert C(schedule, 200) == C(schedule, 10_000) == pytest.approx(0.3)
    assert largest(schedule) == 0.7


def test_three_numbers_begin_at_step_0() -> None:
    for step in (0, 30, 77, 100, 500):
        assert C([1.0, 3.0, 100], step) == C([0, 1.0, 3.0, 100], step)
    assert C([1.0, 3.0, 100], 25) == pytest.approx(1.5)


def test_pairs_after_the_fourth_go_on_from_the_point_before() -> None:
    schedule = [100, 7.0, 5.0, 150, 10.0, 200]  # stable-zero123's normal smoothness
    expected = {0: 7, 100: 7, 125: 6, 150: 5, 160: 6, 175: 7.5, 200: 10, 900: 10}
    assert {step: C(schedule, step) for step in expected} == pytest.approx(expected)
    assert largest(schedule) == 10
    long = [0, 0.0, 1.0, 10, 0.0, 20, 4.0, 40]
    assert [C(long, step) for step in (5, 10, 15, 20, 30, 40)] == pytest.approx(
        [0.5, 1, 0.5, 0, 2, 4]
    )


def test_an_end_with_a_point_counts_epochs() -> None:
    schedule = [0, 0.0, 8.0, 4.0]
    assert C(schedule, step=10**6, epoch=1) == pytest.approx(2.0)
    assert C(schedule, step=10**6) == 0.0
    assert C([0, 0.0, 8.0, 4], step=1) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("schedule", "complaint"),
    [
        ([], "expected a number"),
        ([1, 2], "expected a number"),
        ([0, 1.0, 2.0, 10, 5.0], "expected a number"),
        ([0, 1.0, 2.0, 10, 5.0, 20, 3.0], "expected a number"),
        ([10, 1.0, 2.0, 10], "ascend"),
        ([0, 1.0, 2.0, 10, 5.0, 5], "ascend"),
        ([0, 1.0, float("nan"), 10], "finite"),
        ([0, True, 2.0, 10], "finite"),
        ([0, "a", 2.0, 10], "finite"),
    ],
)
def test_other_lists_are_refused(schedule: list, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        C(schedule, 0)
