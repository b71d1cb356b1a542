"""What is known of every request: its number, how long it took, how it ended. For Prometheus."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from zero123lib.app.guard import REQUEST_ID, Message, Receive, Scope, Send
from zero123lib.serving.desk import Desk

# From a small model on a GPU to many views of a large one on a CPU.
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
# Errors by what they are; others go by their status.
KINDS = {
    403: "refused",
    404: "not_found",
    405: "not_found",
    408: "slow_body",
    413: "too_large",
    422: "wrong_input",
    500: "fault",
    501: "missing_extra",
    502: "replica_lost",
    503: "busy",
}
_HEADER = b"x-request-id"
_USABLE = re.compile(rb"[A-Za-z0-9._-]{1,64}")

_logger = logging.getLogger("zero123lib.serving")


class Metrics:
    """What Prometheus is told, of one server.

    Args:
        desk: whose queue is told of.
    """

    def __init__(self, desk: Desk) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "zero123_requests", "Requests answered.", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "zero123_request_seconds",
            "From a request's head to the last byte of its answer, where it was one without error.",
            ("path",),
            buckets=SECONDS,
            registry=registry,
        )
        self.errors = Counter("zero123_errors", "Errors by kind.", ("kind",), registry=registry)
        self.views = Counter("zero123_views", "Views made.", registry=registry)
        self.again = Counter(
            "zero123_requests_made_again", "Made again, as a replica was lost.", registry=registry
        )
        inside = Gauge("zero123_requests_inside", "Taken, not answered yet.", registry=registry)
        inside.set_function(lambda: desk.inside)
        queue = Gauge("zero123_queue_length", "Waiting for a replica.", registry=registry)
        queue.set_function(lambda: desk.waiting)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)

    def ended(self, path: str, status: int, seconds: float) -> None:
        """Note the end of a request."""
        self.requests.labels(path, str(status)).inc()
        if status < 400:
            self.seconds.labels(path).observe(seconds)
        else:
            self.errors.labels(KINDS.get(status, str(status))).inc()


class Watch:
    """An ASGI middleware: gives each request its number, and notes how it ended.

    A number that comes in the header X-Request-ID is kept, where it is short and plain.

    Args:
        metrics: where it is noted.
        echoed: whether answers are told the number that came by whoever passed the request on.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        metrics: Metrics,
        echoed: bool = False,
    ) -> None:
        self.app, self.metrics, self.echoed = app, metrics, echoed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with an eye on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(_HEADER, b"")
        kept = _USABLE.fullmatch(given) is not None
        number = given.decode() if kept else secrets.token_hex(8)
        scope.setdefault("state", {})[REQUEST_ID] = number
        started, status = time.perf_counter(), 499  # unless an answer begins, whoever asked left

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = [] if kept and self.echoed else [(_HEADER, number.encode())]
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # Of all paths that nobody serves, one stands for them.
            path = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - started
            self.metrics.ended(path, status, seconds)
            _logger.info("%s %s: %d in %.3f s", number, path, status, seconds)
