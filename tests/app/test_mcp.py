"""The app's endpoints as tools of the Model Context Protocol, asked by its own client."""

from __future__ import annotations

import ast
import asyncio
import base64
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from PIL import Image

from tests.app.conftest import served
from tests.app.test_app import ENDPOINTS
from zero123lib.app.examples import example_files
from zero123lib.diffusion.pipeline import Zero123Pipeline
from zero123lib.views.poses import RelativePose


def asked(url: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a session with the server at that address answers."""

    async def ask() -> Any:
        async with (
            streamablehttp_client(f"{url}gradio_api/mcp/") as (reading, writing, _),
            ClientSession(reading, writing) as session,
        ):
            await session.initialize()
            return await question(session)

    # A browser that is open in this process keeps its loop in this thread.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, ask()).result()


def pixels(data: str) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


# Tools have no visitors: each call starts anew, as the warning says.
@pytest.mark.filterwarnings("ignore:This MCP server includes a tool that has a gr.State")
def test_tools_are_the_endpoints_and_make_the_librarys_views(pipe: Zero123Pipeline) -> None:
    image = Path(example_files()[0])
    data = "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
    words = {"azimuths": "90", "elevation": 10, "guidance_scale": 2.5, "steps": 2, "seed": 7}
    with served(pipe, mcp=True) as url:
        tools = asked(url, lambda session: session.list_tools()).tools
        answer = asked(url, lambda session: session.call_tool("views", {"image": data, **words}))
        seen = asked(
            url,
            lambda session: session.call_tool(
                "view", {"image": data, "elevation": 10, "azimuth": 90, "steps": 2, "seed": 7}
            ),
        )
        refused = asked(
            url, lambda session: session.call_tool("views", {"image": str(image), **words})
        )
        found = {f"/{tool.name}": list(tool.inputSchema["properties"]) for tool in tools}
        # Gradio writes an answer of several values as Python does.
        gallery = ast.literal_eval(answer.content[0].text)[0]
        made = np.asarray(Image.open(BytesIO(urlopen(gallery[0]["image"]["url"]).read())))
    assert found == ENDPOINTS
    assert all(tool.description for tool in tools)
    assert refused.isError, "a path would be one of the server's own files"
    expected, *_ = pipe(
        str(image),
        [RelativePose(10, 90)],
        num_inference_steps=2,
        guidance_scale=2.5,
        generator=torch.Generator().manual_seed(7),
        return_dict=False,
    )
    assert np.array_equal(made, np.asarray(expected[0]))
    # A model sees images, not addresses.
    (given,) = [part for part in answer.content if part.type == "image"]
    assert np.array_equal(pixels(given.data), made)
    assert seen.content[0].type == "image" and seen.content[0].mimeType == "image/png"
    assert pixels(seen.content[0].data).shape == made.shape
    assert seen.content[-1].text.startswith("90° right, 10° up · 2 steps")
