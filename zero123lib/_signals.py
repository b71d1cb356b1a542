"""Signals that ask a process to stop: noted, so that the step at hand is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether SIGTERM or SIGINT has come; call it to ask."""

    def __init__(self, second_interrupts: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._second_interrupts = second_interrupts

    def __call__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._second_interrupts and number == signal.SIGINT == self.signal:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals(*, second_interrupts: bool = False) -> Iterator[StopRequest]:
    """Note SIGTERM and SIGINT, in place of dying of them, for as long as it lasts.

    Python hears signals in the main thread alone; elsewhere they stay whose they are.

    Args:
        second_interrupts: whether a second SIGINT is KeyboardInterrupt. Launchers of several
            processes pass on the one that the terminal has sent already.
    """
    request = StopRequest(second_interrupts)
    here = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if here else ()
    before = {number: signal.signal(number, request._note) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
