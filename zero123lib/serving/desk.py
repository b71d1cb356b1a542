"""Where requests wait for a replica: as many as may, until the server is asked to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zero123lib.app.line import BusyError


class Desk:
    """Counts requests in and out. It belongs to one event loop.

    Args:
        at_once: how many may be with the replicas together.
        places: how many may wait beside; the next one is told that the server is busy.
    """

    def __init__(self, at_once: int, places: int) -> None:
        self.places = places
        self.waiting = self.inside = 0
        self.draining = False
        self._free = asyncio.Semaphore(at_once)
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a replica, and hold a place there.

        Raises:
            BusyError: too many wait, or the server stops.
        """
        if self.draining:
            raise BusyError("The server stops and takes no more requests. Try again in a while.")
        if self.waiting >= self.places:
            raise BusyError(
                f"The server is busy: {self.waiting} wait already. Try again in a while."
            )
        self.inside += 1
        try:
            self.waiting += 1
            try:
                await self._free.acquire()
            finally:
                self.waiting -= 1
            try:
                yield
            finally:
                self._free.release()
        finally:
            self.inside -= 1
            async with self._left:
                self._left.notify_all()

    async def drain(self, patience_s: float) -> int:
        """Take no more requests, and wait for those that are there; how many are left in the end.

        Args:
            patience_s: to wait at most.
        """
        self.draining = True
        try:
            async with asyncio.timeout(patience_s), self._left:
                await self._left.wait_for(lambda: not self.inside)
        except TimeoutError:
            pass
        return self.inside
