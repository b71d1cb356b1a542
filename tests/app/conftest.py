"""The app, served once per model for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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
def told() -> Zero123Pipeline:
    """A model that has to be told the elevation of the picture's camera."""
    pipe = Zero123Pipeline.from_pretrained("tiny")
    pipe.set_progress_bar_config(disable=True)
    pipe.register_to_config(encoding="stable-zero123", model_name="told")
    return pipe


@pytest.fixture(scope="session")
def url(pipe: Zero123Pipeline) -> Iterator[str]:
    """Where the app is served, in this process."""
    with served(pipe) as local_url:
        yield local_url


@pytest.fixture(scope="session")
def told_url(told: Zero123Pipeline) -> Iterator[str]:
    """Where the app of the other model is served."""
    with served(told) as local_url:
        yield local_url


@contextmanager
def served(pipe: Zero123Pipeline) -> Iterator[str]:
    blocks = build(pipe)
    options = {**launch_options(), "share": False, "ssr_mode": False, "quiet": True}
    _, local_url, share_url = blocks.launch(prevent_thread_lock=True, **options)
    assert not share_url
    yield local_url
    blocks.close()
