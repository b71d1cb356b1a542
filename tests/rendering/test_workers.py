"""Jobs that fail, die or hang take nothing along. Light imports: the processes load this file."""

from __future__ import annotations

import os
import signal
import time

import pytest

from zero123lib.rendering.workers import Done, run_pool


def square_or_worse(job: int) -> int:
    """Work whose jobs end in every way."""
    if job == 1:
        raise ValueError("one is bad")
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 3:
        time.sleep(600)
    if job == 4:
        raise KeyError("a bug")
    if job == 99:
        raise PermissionError(13, "Permission denied", "file.png")
    return job**2


def test_workers_may_fail_die_or_hang_and_the_others_go_on() -> None:
    done: list[Done[int]] = list(run_pool(square_or_worse, range(7), workers=2, timeout_s=10.0))
    reasons = {end.job: end.reason for end in done}
    assert {end.job: end.result for end in done if end.reason is None} == {0: 0, 5: 25, 6: 36}
    assert reasons[1] == "one is bad"
    assert reasons[2] == "its process died with exit code -9"
    assert reasons[3] == "expected to be done in 10 seconds, and was not"
    assert reasons[4] == "KeyError: 'a bug'"


def test_what_would_meet_all_others_ends_the_run() -> None:
    with pytest.raises(PermissionError, match="file.png"):
        list(run_pool(square_or_worse, [99, 0], workers=1, timeout_s=60.0))
