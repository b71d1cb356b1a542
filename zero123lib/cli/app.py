"""`zero123 app`: the Gradio app, from a clone as from an installed wheel."""

from __future__ import annotations

import errno
import os
import socket
from importlib.util import find_spec
from typing import Annotated

from cyclopts import Parameter

from zero123lib._errors import ArgumentError
from zero123lib._optional import MissingExtraError
from zero123lib.cli.options import Flag, ServedModel, whole


def app(
    *,
    model: ServedModel = ServedModel(),
    models: Annotated[str | None, Parameter(env_var="ZERO123_MODELS", metavar="NAMES")] = None,
    host: Annotated[str, Parameter(env_var="GRADIO_SERVER_NAME", metavar="NAME")] = "127.0.0.1",
    port: Annotated[int | None, whole(1, 65535), Parameter(env_var="GRADIO_SERVER_PORT")] = None,
    max_queue: Annotated[int, whole(1, 10_000), Parameter(env_var="ZERO123_MAX_QUEUE")] = 32,
    mcp: Flag = False,
    share: Flag = False,
) -> None:
    """Serve the app: one image in, the same object from any camera out.

    It needs the extra `app`, and `mcp` for --mcp. `zero123 app`, `make demo`
    and `python app.py` in a clone are the same.

        zero123 app
        zero123 app --model runs/mine/model --port 8000

    Args:
        models: names that visitors may load, comma-separated, or any (any on this machine alone).
        host: address to listen on.
        port: (the first free one from 7860).
        max_queue: requests that may wait before others are told that the app is busy.
        mcp: serve the endpoints as MCP tools too (ZERO123_MCP=1).
        share: make a public link, through Gradio's servers.
    """
    if find_spec("gradio") is None:
        raise MissingExtraError("gradio is not installed: pip install 'zero123lib[app]'")
    mcp = mcp or _asks_for_mcp(os.environ.get("ZERO123_MCP", ""))
    _check_numbers()
    check_place(host, port)
    chosen = model.checked()
    from zero123lib.app import settings
    from zero123lib.app.layout import build, launch_options

    options = settings.options(models, max_queue, host=host, share=share)
    try:
        build(chosen.load(), options, model.device).launch(
            server_name=host,
            server_port=port,
            share=share,  # False unless asked: no public link
            **launch_options(mcp),
        )
    except OSError as error:  # Gradio's, which blames the port whatever it is
        if "empty port" not in str(error):
            raise
        raise ArgumentError("host", "where a port can be listened on", repr(host)) from error


def _asks_for_mcp(word: str) -> bool:
    words = {"": False, "0": False, "false": False, "1": True, "true": True}
    if word.lower() not in words:
        raise ArgumentError("ZERO123_MCP", "1 or 0", repr(word))
    return words[word.lower()]


def _check_numbers() -> None:
    """Raise ArgumentError for what Gradio would stumble over while it is imported."""
    for name in ("GRADIO_NUM_PORTS", "GRADIO_NODE_NUM_PORTS", "GRADIO_ANALYTICS_MAX_EVENTS"):
        value = os.environ.get(name, "1")
        if not value.isdecimal():
            raise ArgumentError(name, "a whole number", repr(value))


def check_place(host: str, port: int | None) -> None:
    """Raise ArgumentError where nothing can listen, before a model is loaded."""
    try:
        (family, kind, _, _, address), *_ = socket.getaddrinfo(
            host, port or 0, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        raise ArgumentError("host", "an address of this machine", repr(host)) from error
    with socket.socket(family, kind) as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(address)
        except OSError as error:
            why = {errno.EADDRINUSE: "which is in use", errno.EACCES: "which is not allowed"}
            if error.errno in why:
                got = f"{port}, {why[error.errno]}"
                raise ArgumentError("port", "a free one", got) from error
            if error.errno == errno.EADDRNOTAVAIL and family == socket.AF_INET:
                raise ArgumentError("host", "an address of this machine", repr(host)) from error
