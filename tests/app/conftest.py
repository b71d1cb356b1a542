"""The app with the bundled model, served once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.layout import build, launch_options
from zero123lib.diffusion.pipeline import Zero123Pipeline


@pytest.fixture(scope="session")
def pipe() -> Zero123Pipeline:
    """The bundled model."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def url(pipe: Zero123Pipeline) -> Iterator[str]:
    """Where the app is served, in this process."""
    blocks = build(pipe)
    options = {**launch_options(), "share": False, "ssr_mode": False, "quiet": True}
    _, local_url, share_url = blocks.launch(prevent_thread_lock=True, **options)
    assert not share_url
    yield local_url
    blocks.close()
