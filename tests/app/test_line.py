"""Who goes first: an interactive order waits at most one slice of a long one, and none starves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
from gradio_client import Client, handle_file

from zero123lib.app import line
from zero123lib.app.examples import example_files
from zero123lib.app.line import BusyError, Line, Order


def work(log: list[str], name: str, slices: int, begun: Event | None = None) -> Iterator[None]:
    """So many slices, written down as they end."""
    for _ in range(slices):
        if begun is not None:
            begun.set()
        time.sleep(0.05)
        log.append(name)
        yield


def carry_out(
    order: Order, log: list[str], name: str, slices: int, begun: Event | None = None
) -> None:
    with order:
        for _ in order.wait():
            pass
        for _ in order.slices(work(log, name, slices, begun)):
            pass


def test_an_interactive_order_waits_for_one_slice_of_a_long_one() -> None:
    at, log, begun = Line(8), [], Event()
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(carry_out, at.join(), log, "long", 20, begun)
        begun.wait()
        order = at.join(interactive=True)
        log.append("joined")
        carry_out(order, log, "view", 3)
        long.result()
    joined, first = log.index("joined"), log.index("view")
    assert log[first : first + 3] == ["view"] * 3 and log[joined:first].count("long") <= 1
    assert log.count("long") == 20


def test_a_long_order_is_not_starved_by_interactive_ones() -> None:
    at, log = Line(64), []
    names = [*["view"] * (2 * line.PASSES), "long", *["view"] * (line.PASSES - 1)]
    orders = [at.join(interactive=name == "view") for name in names]
    with ThreadPoolExecutor(len(names)) as pool:
        ends = [
            pool.submit(carry_out, order, log, name, 2 if name == "long" else 1)
            for order, name in zip(orders, names, strict=True)
        ]
        for end in ends:
            end.result()
    assert log.index("long") < len(log) - 3, "it came last"


def test_whoever_waits_is_told_how_many_go_first_and_too_many_are_sent_away() -> None:
    at = Line(1)
    with at.join() as first, at.join() as second:
        steps = first.slices(work([], "first", 2))
        next(steps)
        assert next(second.wait()) == 1
        with pytest.raises(BusyError, match="busy: 1 wait already"):
            at.join()
        list(steps)
    with at.join() as third:
        assert list(third.wait()) == []


def test_as_many_orders_are_worked_at_as_there_are_models() -> None:
    """Each of the first two slices ends once both have begun; the third order has to wait."""
    at, both = Line(1, at_once=2), Barrier(2)

    def together() -> Iterator[None]:
        both.wait(60)
        yield

    with at.join() as first, at.join() as second, at.join() as third:
        assert (at.ahead(first), at.ahead(second), at.ahead(third)) == (0, 0, 1)
        with pytest.raises(BusyError, match="busy: 1 wait already"):
            at.join()
        with ThreadPoolExecutor(2) as pool:
            ends = [pool.submit(list, order.slices(together())) for order in (first, second)]
            assert [end.result() for end in ends] == [[None], [None]]


def test_whoever_goes_away_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "GRACE_S", 0.2)
    at, log = Line(8), []
    gone = at.join(interactive=True)
    steps = gone.slices(work(log, "gone", 9))
    next(steps)  # and nobody ever asks for more
    carry_out(at.join(), log, "long", 1)
    assert log == ["gone", "long"]


def test_a_view_is_there_before_another_visitors_orbit(url: str) -> None:
    image = handle_file(example_files()[1])
    orbit = Client(url, verbose=False).submit(image, 8, steps=100, api_name="/orbit")
    while not orbit.outputs():
        assert not orbit.done()
        time.sleep(0.1)
    view, _ = Client(url, verbose=False).predict(image, 0, 30, api_name="/view")
    assert view and not orbit.done()
    orbit.cancel()
