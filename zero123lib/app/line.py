"""Who goes first: orders for a model or some, in line; interactive ones before long ones.

An order is worked at in slices and holds nothing between them, so that a visitor who has gone holds
up nobody. Whoever waits can be told how many go first.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Condition
from typing import TypeVar

from zero123lib._errors import RunError

Slice = TypeVar("Slice")

# Between two slices, an order that goes first keeps its place for so long.
GRACE_S = 3.0
# Where interactive orders come without end, a long one gets a slice after so many of them.
PASSES = 4
# Whoever waits is told so after, and again every:
_TOLD_AFTER_S, _TOLD_EVERY_S = 0.3, 1.0
_LOOK_EVERY_S = 0.1


class BusyError(RunError):
    """More wait than may."""


class Order:
    """One request's place in a line; leaves it at the end of a `with`."""

    def __init__(self, line: Line, interactive: bool, ticket: int) -> None:
        self._line, self._interactive, self._ticket = line, interactive, ticket
        self.waits = False
        self.passed = 0
        self.seen = time.monotonic()

    @property
    def rank(self) -> tuple[int, int]:
        """Return what orders are sorted by; the lowest goes first."""
        if self.passed >= PASSES:
            return -1, self._ticket
        return 0 if self._interactive else 1, self._ticket

    def __enter__(self) -> Order:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.leave(self, self._interactive)

    def wait(self) -> Iterator[int]:
        """Yield how many go first, soon and then each second, until none does."""
        told_at = time.monotonic() + _TOLD_AFTER_S
        while ahead := self._line.ahead(self):
            if time.monotonic() >= told_at:
                told_at = time.monotonic() + _TOLD_EVERY_S
                yield ahead
            else:
                time.sleep(_LOOK_EVERY_S)

    def slices(self, work: Iterable[Slice]) -> Iterator[Slice]:
        """Yield what `work` does, each of its items made in a turn of its own."""
        steps = iter(work)
        try:
            while True:
                with self._line.turn(self):
                    try:
                        done = next(steps)
                    except StopIteration:
                        return
                yield done
        finally:
            if isinstance(steps, Generator):
                steps.close()


class Line:
    """A line of orders.

    Args:
        places: how many may wait; the next one is told that the app is busy.
        at_once: how many are worked at together: one for each model.
    """

    def __init__(self, places: int, at_once: int = 1) -> None:
        self._places, self._at_once = places, at_once
        self._orders: list[Order] = []
        self._holders: list[Order] = []
        self._tickets = count()
        self._changed = Condition()

    def join(self, interactive: bool = False) -> Order:
        """Take a place.

        Raises:
            BusyError: there is none left.
        """
        with self._changed:
            waiting = len(self._there()) - self._at_once
            if waiting >= self._places:
                raise BusyError(f"The app is busy: {waiting} wait already. Try again in a while.")
            order = Order(self, interactive, next(self._tickets))
            self._orders.append(order)
            return order

    def leave(self, order: Order, counts: bool) -> None:
        """Give the place up; one that `counts` has passed those that are long."""
        with self._changed:
            if order in self._orders:
                self._orders.remove(order)
            for other in self._orders:
                other.passed += counts and not other._interactive
            self._changed.notify_all()

    def ahead(self, order: Order) -> int:
        """Count those that go first, and those that are being worked at."""
        with self._changed:
            order.seen = time.monotonic()
            return self._too_many(order)

    @contextmanager
    def turn(self, order: Order) -> Iterator[None]:
        """Wait for the turn of an order, and hold it."""
        with self._changed:
            order.waits = True
            try:
                while self._too_many(order):
                    self._changed.wait(_LOOK_EVERY_S)
            finally:
                order.waits = False
                order.seen = time.monotonic()
            self._holders.append(order)
        try:
            yield
        finally:
            with self._changed:
                self._holders.remove(order)
                order.passed, order.seen = 0, time.monotonic()
                self._changed.notify_all()

    def _there(self) -> list[Order]:
        """List those that somebody still asks for."""
        now = time.monotonic()
        return [
            one
            for one in self._orders
            if one in self._holders or one.waits or now - one.seen < GRACE_S
        ]

    def _too_many(self, order: Order) -> int:
        """Count how many there are too many before an order for it to have its turn."""
        before = [one for one in self._there() if one.rank < order.rank]
        return max(0, len({*before, *self._holders} - {order}) - self._at_once + 1)
