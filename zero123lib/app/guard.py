"""The door: what Gradio's server would do for a stranger and this app has no use for.

Gradio fetches addresses of the web for whoever asks, through checks of its own; this app needs
none of that and refuses before any address is looked at, in a request's path and in its body.
Bodies are bounded before they are read, in bytes and in time.
Whatever is refused, here or by Gradio, is one line in the log. A fault of the server's own is told
with a number, under which the log has its trace.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from zero123lib.app import settings
from zero123lib.app.settings import MAX_BODY_BYTES, MAX_UPLOAD_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Development aids and fetchers of Gradio's.
_CLOSED = ("/proxy=", "/vibe-", "/undo-vibe-edit", "/dev/", "/profiling", "/monitoring", "/runs/")

# The key of a scope's state that holds the number of a request, where it has one.
REQUEST_ID = "request_id"

_logger = logging.getLogger("zero123lib.app.guard")


class Refused(Exception):
    """A body that is not taken: it is larger, or takes longer, than was announced or allowed."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status, self.detail = status, detail


class Guard:
    """An ASGI middleware around Gradio's app, or another one.

    Args:
        app: what is guarded.
        uploads: how the paths end whose bodies may hold an image.
    """

    def __init__(
        self,
        app: Callable[[Scope, Receive, Send], Awaitable[None]],
        uploads: tuple[str, ...] = ("/upload",),
    ) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with a bound on the body and an eye on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = str(scope.get("path", ""))
        if is_closed(path):
            await refuse(scope, send, 403, "Not served here.")
            return
        most = MAX_UPLOAD_BYTES if path.rstrip("/").endswith(self.uploads) else MAX_BODY_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            await drained(receive, most)
            await refuse(scope, send, 413, f"Expected at most {most} bytes.")
            return
        if most == MAX_BODY_BYTES and scope["method"] == "POST":
            try:
                body = await whole(receive, most)
            except Refused as error:
                await refuse(scope, send, error.status, error.detail)
                return
            if names_address(body):
                await refuse(scope, send, 403, "image: expected an uploaded file, got an address")
                return
            receive = replayed(body, receive)
        await self._pass_on(scope, bounded(receive, most), send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the app answer; a body that breaks off, and a fault, are answered here."""
        answered = gone = False
        refused: Refused | None = None

        async def heard() -> Message:
            nonlocal gone, refused
            try:
                message = await receive()
            except Refused as error:
                refused = error
                raise
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def watched(message: Message) -> None:
            nonlocal answered
            if refused is not None and not answered:
                return  # FastAPI makes an answer of its own of what a body raises
            if message["type"] == "http.response.start":
                answered = True
                if message["status"] >= 400 and message["status"] != 404:
                    tell(scope, message["status"])
            await send(message)

        try:
            await self.app(scope, heard, watched)
        except Exception:
            if refused is not None:
                pass  # told below
            elif gone:  # whoever asked, in the middle of it
                _logger.warning("left: %s %r", scope["method"], scope["path"][:200])
            else:
                said = failed(scope["path"][:200], scope.get("state", {}).get(REQUEST_ID))
                if not answered:
                    await refuse(scope, send, 500, said)
        if refused is not None and not answered:
            await refuse(scope, send, refused.status, refused.detail)


def is_closed(path: str) -> bool:
    """Tell whether nobody may ask for it: fetchers of the web, development aids."""
    # A file may well lie under a folder `dev` or `runs`: that is no address of Gradio's.
    route, *wanted = re.split("/file[=/]", unquote(path), maxsplit=1)
    if any(part in f"{route}/" for part in _CLOSED):
        return True
    return any("://" in place for place in wanted)


def bounded(receive: Receive, most: int) -> Receive:
    """Wrap `receive` so that it gives up after so many bytes, whatever was announced, and when the
    last of them is late."""
    seen, more = 0, True
    end = asyncio.get_running_loop().time() + settings.MAX_BODY_S

    async def receive_some() -> Message:
        nonlocal seen, more
        try:
            async with asyncio.timeout_at(end if more else None):
                message = await receive()
        except TimeoutError as error:
            raise Refused(408, f"Expected all of it in {settings.MAX_BODY_S:g} s.") from error
        seen += len(message.get("body", b""))
        if seen > most:
            raise Refused(413, f"Expected at most {most} bytes.")
        more = message.get("more_body", False)
        return message

    return receive_some


async def whole(receive: Receive, most: int) -> bytes:
    """Return the whole body of a request."""
    receive_some, parts, more = bounded(receive, most), [], True
    while more:
        message = await receive_some()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(parts)


async def drained(receive: Receive, most: int) -> None:
    """Read on a little and throw it away: who still sends would not hear the answer."""
    try:
        await whole(receive, 2 * most)
    except Refused:
        return


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return `receive` of a body that has been read already, and of what comes after it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


def names_address(body: bytes) -> bool:
    """Tell whether a request would have the server take a file from an address of the web."""
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # Gradio refuses what is no JSON
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and "://" in path:
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


def failed(what: str, number: str | None = None) -> str:
    """Log the exception that is being handled, and return what to tell of it: its number alone.

    Args:
        what: was asked.
        number: of the request, where it has one.
    """
    number = number or secrets.token_hex(4)
    _logger.exception("request %s failed: %r", number, what)
    return f"The server failed at this. Its log has the reason, under request {number}."


async def refuse(scope: Scope, send: Send, status: int, detail: str) -> None:
    """Answer with one line of JSON, as Gradio words its refusals."""
    tell(scope, status)
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def tell(scope: Scope, status: int) -> None:
    """Write one line in the log; what a stranger wrote is quoted, so that it stays one."""
    _logger.warning("refused with %d: %s %r", status, scope["method"], scope["path"][:200])
