"""`zero123 app`: the Gradio app, from a clone as from an installed wheel."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from zero123lib._choices import AutoEncoding, Device
from zero123lib._optional import MissingExtraError
from zero123lib.cli.options import THE_MODEL, Flag, Model, Reading, whole


def app(
    *,
    model: Annotated[
        str, Parameter(env_var="ZERO123_MODEL", metavar="NAME", group=THE_MODEL)
    ] = "tiny",
    encoding: Annotated[
        AutoEncoding, Parameter(env_var="ZERO123_ENCODING", group=THE_MODEL)
    ] = "auto",
    original_config: Annotated[
        Path | None,
        Parameter(env_var="ZERO123_ORIGINAL_CONFIG", metavar="YAML", group=THE_MODEL),
    ] = None,
    device: Annotated[Device, Parameter(env_var="ZERO123_DEVICE", group=THE_MODEL)] = "auto",
    models: Annotated[str | None, Parameter(env_var="ZERO123_MODELS", metavar="NAMES")] = None,
    host: Annotated[str, Parameter(env_var="GRADIO_SERVER_NAME", metavar="NAME")] = "127.0.0.1",
    port: Annotated[int | None, whole(1, 65535)] = None,
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
        model: a model's name, a folder, or a .ckpt or .safetensors file.
        encoding: pose encoding that it was trained with.
        original_config: official config, for a file of other sizes than the published ones.
        device: where it runs; auto takes a GPU where there is one.
        models: names that visitors may load, comma-separated, or any (any on this machine alone).
        host: address to listen on.
        port: (the first free one from 7860; GRADIO_SERVER_PORT).
        max_queue: requests that may wait before others are told that the app is busy.
        mcp: serve the endpoints as MCP tools too (ZERO123_MCP=1).
        share: make a public link, through Gradio's servers.
    """
    if find_spec("gradio") is None:
        raise MissingExtraError("gradio is not installed: pip install 'zero123lib[app]'")
    chosen = Model(model, Reading(encoding, original_config), device)
    chosen.check()
    from zero123lib.app import settings
    from zero123lib.app.layout import build, launch_options

    options = settings.options(models, max_queue, host=host, share=share)
    mcp = mcp or os.environ.get("ZERO123_MCP", "") not in ("", "0", "false")
    build(chosen.load(), options, device).launch(
        server_name=host,
        server_port=port,
        share=share,  # False unless asked: no public link
        **launch_options(mcp),
    )
