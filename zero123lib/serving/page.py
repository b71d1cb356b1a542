"""The app's page beside the API: one process, whose views the replicas make.

A visitor's session, uploads and place in the queue are that process's alone, so all that a page
asks goes to it, and no request has to find its way back to one of many. It has the model too, for
what needs more of it than views: cut-outs as the model wants them, elevations and meshes.
"""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI

from zero123lib.app import settings
from zero123lib.app.layout import build, launch_options
from zero123lib.app.sampling import Elsewhere
from zero123lib.diffusion.pipeline import Zero123Pipeline


def page(pipe: Zero123Pipeline, elsewhere: Elsewhere, max_queue: int) -> FastAPI:
    """Build the app around a model, as ASGI that any server may mount.

    Args:
        pipe: the model.
        elsewhere: the replicas.
        max_queue: requests that may wait.
    """
    blocks = build(pipe, settings.Options(max_queue), elsewhere=elsewhere)
    how = launch_options()
    # What `launch` sets, and a mount has no word for.
    blocks.state_session_capacity = how.pop("state_session_capacity")
    blocks.max_threads = how.pop("max_threads")
    return gr.mount_gradio_app(FastAPI(openapi_url=None), blocks, "", ssr_mode=False, **how)
